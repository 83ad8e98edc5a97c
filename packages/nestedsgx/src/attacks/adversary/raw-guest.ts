/**
 * Guest RAM as a hostile guest has it: a mapping of its own, and GHCB pages written by hand. Nothing here is shared with
 * package guest, whose checks an attacker would not make.
 */
import {
  CAA_ANSWER,
  CAA_CALL_PENDING,
  CAA_RING,
  caaGpa,
  DOORBELL_GPA,
  DOORBELL_WAKE,
  ghcbGpa,
  VCPU_GPA,
  VCPU_STRIDE,
} from '@nestedsgx/machine';
import { close, connectUnix, futexWake, type Mapping, mmap, recvFds, sendFds } from '@nestedsgx/os';

/** A number, or a string for 64-bit values beyond 2^53 ("0x…"). */
export type U64 = number | string;

/** One VMGEXIT. What is left out is zero; `valid` is the bitmap (by default all fields below). */
export interface Exit {
  code?: U64;
  info1?: U64;
  info2?: U64;
  rax?: U64;
  rcx?: U64;
  rdx?: U64;
  r8?: U64;
  r9?: U64;
  scratch?: U64;
  /** Written to the shared buffer, base64. */
  shared?: string;
  /** Leaves call_pending alone when false. */
  pending?: boolean;
}

/** What came back. Numbers are exact below 2^53. */
export interface ExitAnswer {
  answered: boolean;
  served: boolean;
  info1: number;
  info2: number;
  rax: number;
  rcx: number;
  rdx: number;
  r8: number;
}

const AT = { rax: 0x1f8, rcx: 0x308, rdx: 0x310, r8: 0x340, r9: 0x348 } as const;
const SW = { code: 0x390, info1: 0x398, info2: 0x3a0, scratch: 0x3a8 } as const;
const VALID = 0x3f0;
const SHARED = 0x800;
const VERSION = 0xffa;
const RUN_VMPL = 0x8000_0018;
const PAGE = 4096;

/** A share of the machine that this process attached itself. */
export interface RawShare {
  vcpu: number;
  slice: { gpa: number; length: number };
  epc: { first: number; count: number };
}

/** A raw mapping of all guest RAM. */
export class RawGuest {
  readonly mapping: Mapping;
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly words: Int32Array;

  constructor(
    readonly fd: number,
    readonly base: number,
    readonly size: number,
  ) {
    this.mapping = mmap({ fd, length: size, address: base, prot: 'rw', shared: true });
    this.bytes = this.mapping.bytes;
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, size);
    this.words = new Int32Array(this.bytes.buffer, this.bytes.byteOffset, size / 4);
  }

  /** Rings the doorbell as anybody who maps it can. */
  ring(): void {
    Atomics.add(this.words, (DOORBELL_GPA + DOORBELL_WAKE) / 4, 1);
    futexWake(this.base + DOORBELL_GPA + DOORBELL_WAKE, 8);
  }

  /** Fills the GHCB of `vcpu`, rings, and waits at most `timeoutMs` for the answer. */
  exit(vcpu: number, exit: Exit, timeoutMs = 2000): ExitAnswer {
    const ghcb = ghcbGpa(vcpu);
    const caa = caaGpa(vcpu);
    const put = (offset: number, value: U64 = 0) =>
      this.view.setBigUint64(ghcb + offset, BigInt(value), true);
    const get = (offset: number) => Number(this.view.getBigUint64(ghcb + offset, true));
    this.bytes.fill(0, ghcb + VALID, ghcb + VALID + 16);
    for (const offset of [...Object.values(AT), ...Object.values(SW)])
      this.bytes[ghcb + VALID + (offset >> 6)] |= 1 << ((offset >> 3) & 7);
    for (const name of Object.keys(AT) as (keyof typeof AT)[]) put(AT[name], exit[name]);
    put(SW.code, exit.code ?? RUN_VMPL);
    put(SW.info1, exit.info1);
    put(SW.info2, exit.info2);
    put(SW.scratch, exit.scratch);
    if (exit.shared !== undefined) this.bytes.set(Buffer.from(exit.shared, 'base64'), ghcb + SHARED);
    this.view.setUint16(ghcb + VERSION, 2, true);
    this.view.setUint32(ghcb + 0xffc, 0, true);
    if (exit.pending !== false) this.bytes[caa + CAA_CALL_PENDING] = 1;
    const ring = (Atomics.load(this.words, (caa + CAA_RING) / 4) + 1) | 0;
    Atomics.store(this.words, (caa + CAA_RING) / 4, ring);
    this.ring();
    const answered = this.#awaitWord((caa + CAA_ANSWER) / 4, ring, timeoutMs);
    return {
      answered,
      served: this.bytes[caa + CAA_CALL_PENDING] === 0,
      info1: get(SW.info1),
      info2: get(SW.info2),
      rax: get(AT.rax),
      rcx: get(AT.rcx),
      rdx: get(AT.rdx),
      r8: get(AT.r8),
    };
  }

  /** An SVSM call: RAX = protocol << 32 | call. */
  call(
    vcpu: number,
    protocol: number,
    call: number,
    rcx?: U64,
    rdx?: U64,
    r8?: U64,
    timeoutMs?: number,
  ): ExitAnswer {
    return this.exit(vcpu, { rax: protocol * 2 ** 32 + call, rcx, rdx, r8 }, timeoutMs);
  }

  #awaitWord(index: number, value: number, timeoutMs: number): boolean {
    const deadline = performance.now() + timeoutMs;
    for (let spins = 0; Atomics.load(this.words, index) !== value; spins++) {
      if (spins > 200) Atomics.wait(PAUSE, 0, 0, 0.2);
      if (performance.now() > deadline) return false;
    }
    return true;
  }
}

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** A connection of this process to the machine's socket. */
export class RawSocket {
  constructor(readonly fd: number) {}

  static connect(path: string): RawSocket {
    return new RawSocket(connectUnix(path));
  }

  /** Sends bytes and gives the next message, or null when none comes or the machine hung up. */
  exchange(bytes: Uint8Array, fds: readonly number[] = [], timeoutMs = 2000): Record<string, unknown> | null {
    sendFds(this.fd, bytes, fds, 200);
    return this.receive(timeoutMs);
  }

  receive(timeoutMs: number): Record<string, unknown> | null {
    const got = recvFds(this.fd, 65_536, 8, timeoutMs);
    if (got === null || got.eof) return null;
    for (const fd of got.fds) close(fd);
    return JSON.parse(new TextDecoder().decode(got.bytes)) as Record<string, unknown>;
  }

  /** Attaches as a guest. The descriptor of guest RAM is not needed: this process has its own. */
  attach(sliceBytes: number, epcBytes: number): RawShare {
    const request = { op: 'attach', slice: sliceBytes, epc: epcBytes };
    const reply = this.exchange(new TextEncoder().encode(JSON.stringify(request)));
    if (reply?.ok !== true) throw new Error(`attach refused: ${String(reply?.message ?? 'no answer')}`);
    const vcpus = reply.vcpus as { id: number }[];
    return {
      vcpu: vcpus[0]!.id,
      slice: reply.slice as RawShare['slice'],
      epc: reply.epc as RawShare['epc'],
    };
  }

  close(): void {
    close(this.fd);
  }
}

/** True when `gpa` lies in the pages of virtual CPUs. */
export function isVcpuPage(gpa: number): boolean {
  return gpa >= VCPU_GPA && gpa < VCPU_GPA + 256 * VCPU_STRIDE;
}

export { PAGE };
