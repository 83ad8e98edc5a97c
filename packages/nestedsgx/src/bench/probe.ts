/** The probe enclave: one thread, a few pages and no runtime, to measure transitions by themselves. */
import { readFileSync } from 'node:fs';
import { PT_REG, PT_TCS, SECINFO_R, SECINFO_W, SECINFO_X, TCS } from '@nestedsgx/arch';
import { DESCRIPTOR_CALL, EXIT_KIND, Gate } from '@nestedsgx/cpu/host';
import type { EnclaveImage, PageRun } from '@nestedsgx/image';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { close } from '@nestedsgx/os';
import { buildEnclave, type Cvm } from '@nestedsgx/sdk';
import { nativePart } from './floor.js';

const PAGE = 4096;
const ELRANGE = 16 * PAGE;
const REGULAR = PT_REG << 8;
const RW = SECINFO_R | SECINFO_W;

/** Commands of the probe's code (native/probe.S). */
export const PROBE = Object.freeze({
  RETURN: 0,
  INT3: 1,
  UD2: 2,
  PAGE_FAULT: 3,
  EREPORT: 4,
  EGETKEY: 5,
  EACCEPT: 6,
  EMODPE: 7,
  EACCEPTCOPY: 8,
  HOST_CALLS: 9,
});

let signingKey: Promise<string> | undefined;

/** A key for benchmark enclaves, made once per process. */
export function benchKey(): Promise<string> {
  signingKey ??= generateKey().then(({ privateKeyPem }) => privateKeyPem);
  return signingKey;
}

/** Pages in memory as a signed image. `size` is the ELRANGE in bytes. */
export async function imageOfRuns(size: number, runs: () => Iterable<PageRun>): Promise<EnclaveImage> {
  const image: EnclaveImage = {
    format: 'sgxs',
    size,
    ssaFrameSize: 1,
    miscselect: 0,
    attributes: { FLAGS: 4n, XFRM: 3n },
    tcs: 1,
    pages: runs,
  };
  return { ...image, sigstruct: signImage(image, await benchKey()) };
}

/** A TCS page: entry at offset 0 of the ELRANGE, two SSA frames of one page each at `ossa`. */
export function tcsPage(ossa: number): Uint8Array {
  return TCS.encode({ OSSA: BigInt(ossa), NSSA: 2, OENTRY: 0n, FSLIMIT: 0xfff, GSLIMIT: 0xfff });
}

/** Choices for a probe. */
export interface ProbeOptions {
  /** Bytes of the ELRANGE, a power of two; what lies behind the first 64 KiB is free. */
  readonly elrange?: number;
  /** ATTRIBUTES.DEBUG. */
  readonly debug?: boolean;
  /** It may be granted descriptors, over `grants`. */
  readonly descriptors?: boolean;
}

/** The signed image of the probe. */
export async function probeImage(elrange = ELRANGE): Promise<EnclaveImage> {
  const code = new Uint8Array(readFileSync(nativePart('probe.bin')));
  const runs: PageRun[] = [
    { offset: 0, secinfoFlags: REGULAR | SECINFO_R | SECINFO_X, data: code.slice(0, PAGE), measured: true },
    { offset: PAGE, secinfoFlags: REGULAR | RW, data: code.slice(PAGE, 2 * PAGE), measured: true },
    { offset: 2 * PAGE, secinfoFlags: PT_TCS << 8, data: tcsPage(3 * PAGE), measured: true },
    { offset: 3 * PAGE, secinfoFlags: REGULAR | RW, data: new Uint8Array(2 * PAGE), measured: true },
  ];
  return imageOfRuns(elrange, () => runs);
}

/** A loaded probe. Its gate must be used from one thread. */
export class Probe implements Disposable {
  readonly #gate: Gate;
  readonly #close: () => void;
  /** BASEADDR. */
  readonly base: number;
  /** gPA of the SECS. */
  readonly secs: number;
  /** Its grant socket. */
  readonly grants: number | null;

  private constructor(
    gate: Gate,
    file: { base: number; secs: number },
    grants: number | null,
    close: () => void,
  ) {
    this.grants = grants;
    this.#gate = gate;
    this.#close = close;
    this.base = file.base;
    this.secs = file.secs;
  }

  /** Loads a probe into a confidential VM. @throws what loading an enclave throws */
  static async load(cvm: Cvm, options: ProbeOptions = {}): Promise<Probe> {
    const image = await probeImage(options.elrange);
    const { connection, device } = await cvm.guest();
    const built = buildEnclave(
      device,
      { image, sigstruct: image.sigstruct as Uint8Array, description: undefined },
      {
        debug: options.debug ?? false,
        provision: false,
        maxThreads: 1,
        descriptors: options.descriptors,
      },
    );
    const grants = options.descriptors ? await built.file.takeGrants() : null;
    const gate = new Gate(built.gates.address, { peerPidfd: connection.cvmPidfd, spinCycles: 48_000 });
    return new Probe(gate, built.file, grants, () => {
      if (grants !== null) close(grants);
      gate.close();
      built.file.close();
      connection.memory.free(built.gates);
    });
  }

  /** EENTER with a command that ends with EEXIT. */
  call(command: number, count = 1): void {
    const kind = this.#gate.enter(command, count);
    if (kind !== EXIT_KIND.EEXIT || this.#gate.exitRdi32 !== 0)
      throw new Error(`command ${command} of the probe ended with exit ${kind}, ${this.#gate.exitRdi32}`);
  }

  /** A leaf on `count` pages from linear address `page` on, with a SECINFO of these flags. */
  onPages(command: number, page: number, count: number, flags: number): void {
    this.#gate.setRegisters({ rdx: page, r8: flags });
    this.call(command, count);
  }

  /** A system call `count` times, on what it was granted; `call` is its address, as probe.S has it. */
  hostCalls(call: number, count: number): void {
    this.#gate.setRegisters({ rdx: call, r8: DESCRIPTOR_CALL });
    this.call(PROBE.HOST_CALLS, count);
  }

  /** EENTER with a command that ends with an exception. */
  fault(command: number): void {
    const kind = this.#gate.enter(command, 0);
    if (kind !== EXIT_KIND.AEX) throw new Error(`command ${command} of the probe ended with exit ${kind}`);
  }

  /** ERESUME into code that raises the next exception. */
  readonly resume = (): void => {
    if (this.#gate.resume() !== EXIT_KIND.AEX) throw new Error('the probe raised no exception');
  };

  [Symbol.dispose](): void {
    this.#close();
  }
}
