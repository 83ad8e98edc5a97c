/**
 * Micro enclaves: a page of hand-written code without a runtime, for attacks that need every register, SSA frame and
 * page of an enclave to be their own. RDI chooses what one entry does; see {@link OP}.
 */
import {
  ATTRIBUTES_MODE64BIT,
  PT_REG,
  PT_TCS,
  SECINFO_R,
  SECINFO_W,
  SECINFO_X,
  SIGSTRUCT,
  TCS,
} from '@nestedsgx/arch';
import { type ExitInfo, Gate } from '@nestedsgx/cpu/host';
import type { GuestConnection, SgxDevice } from '@nestedsgx/guest';
import type { EnclaveImage, PageRun, SignOptions } from '@nestedsgx/image';
import { type SigningKey, signImage } from '@nestedsgx/image/node';
import { CallPool } from '@nestedsgx/os';
import { type Prepared, prepare, type Steps } from './stepwise.js';
import type { VictimImage } from './victim.js';

const PAGE = 4096;

/** What an entry does (RDI). All but UNDEFINED, SPIN and CALL end with EEXIT. */
export const OP = Object.freeze({
  /** Nothing. */
  NOTHING: 0,
  /** [RSI] := RDX. */
  WRITE: 1,
  /** RSI := [RSI]. */
  READ: 2,
  /** UD2. */
  UNDEFINED: 3,
  /** Never leaves. */
  SPIN: 4,
  /** ENCLU with RBX = RSI, RCX = RDX, RDX = R8, RAX = R9; RSI := RAX, RDX := ZF | CF << 8. */
  LEAF: 5,
  /** RDX := CSSA at entry, R8 := RSP, R9 := RBP. */
  STATE: 6,
  /** Increments [RSI] until the u32 at [RDX] is not 0; RSI := [RSI]. */
  HAMMER: 7,
  /** Jumps to RSI. */
  CALL: 8,
});

/*
 * entry: mov %rcx,%r10; mov %rax,%r11; cmp $8,%edi; ja out; jump through a table of offsets
 * write: mov %rdx,(%rsi); jmp out        read: mov (%rsi),%rsi; jmp out        undefined: ud2        spin: jmp spin
 * leaf:  mov %rsi,%rbx; mov %rdx,%rcx; mov %r8,%rdx; mov %r9,%rax; enclu; mov %rax,%rsi; setz %dl; setc %dh; jmp out
 * state: mov %r11,%rdx; mov %rsp,%r8; mov %rbp,%r9; jmp out
 * hammer: incq (%rsi); cmpl $0,(%rdx); je hammer; mov (%rsi),%rsi; jmp out        call: jmp *%rsi
 * out:   mov %r10,%rbx; xor %ecx,%ecx; mov $4,%eax; enclu; ud2
 */
const CODE = Buffer.from(
  '4989ca4989c383ff087757488d056200000089f948630c884801c8ffe0488916eb40488b36eb3b0f0bebfe4889f34889d14c89c24c89c8' +
    '0f01d74889c60f94c20f92c60fb7d2eb1a4c89da4989e04989e9eb0f48ff06833a0074f8488b36eb02ffe64c89d331c9b8040000000f01' +
    'd70f0b0f1f00eeffffffa9ffffffaeffffffb3ffffffb5ffffffb7ffffffd4ffffffdfffffffecffffff',
  'hex',
);

/** Offset of {@link MicroOptions.code}; OP.CALL goes there. */
export const EXTRA_CODE = 0x800;

/** Code that leaves by EEXIT, as the end of the micro enclave's own. */
export const EXIT_CODE = CODE.subarray(0x62, 0x71);

const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

/** Shape of a micro enclave. */
export interface MicroOptions {
  /** Threads (TCS); 1. */
  threads?: number;
  /** SSA frames of each, one page; 2. */
  nssa?: number;
  /** Writable pages before the last one; 1. */
  dataPages?: number;
  /** Bytes of the ELRANGE; 1 MiB. */
  size?: number;
  miscselect?: number;
  /** More code, at {@link EXTRA_CODE} in the code page. */
  code?: Uint8Array;
  /** What the first data page holds. */
  data?: Uint8Array;
  /** What the last page holds. */
  last?: Uint8Array;
  sign?: SignOptions;
  /** The signature's ATTRIBUTES.FLAGS beside MODE64BIT. */
  flags?: bigint;
}

/** A signed micro image. Offsets are from BASEADDR. */
export interface MicroImage extends VictimImage {
  readonly threads: number;
  /** Offset of the first data page. */
  readonly data: number;
  /** Offsets of each thread's TCS and of its first SSA frame. */
  readonly tcs: (thread: number) => number;
  readonly ssa: (thread: number) => number;
  /** First offset that no page has. */
  readonly free: number;
}

/** Makes and signs an image. */
export function microImage(signer: SigningKey, options: MicroOptions = {}): MicroImage {
  const { threads = 1, nssa = 2, dataPages = 1, size = 2 ** 20, miscselect = 0 } = options;
  const data = PAGE;
  const first = data + dataPages * PAGE;
  const tcs = (thread: number) => first + thread * (1 + nssa) * PAGE;
  const ssa = (thread: number) => tcs(thread) + PAGE;
  const page = tcs(threads);
  const attributes = { FLAGS: ATTRIBUTES_MODE64BIT | (options.flags ?? 0n), XFRM: 3n };
  const run = (offset: number, secinfoFlags: number, bytes: Uint8Array): PageRun => ({
    offset,
    secinfoFlags,
    data: bytes,
    measured: true,
  });
  const image: EnclaveImage = {
    format: 'sgxs',
    size,
    ssaFrameSize: 1,
    miscselect,
    attributes,
    tcs: threads,
    *pages(): Iterable<PageRun> {
      const code = new Uint8Array(PAGE);
      code.set(CODE);
      if (options.code !== undefined) code.set(options.code, EXTRA_CODE);
      yield run(0, SECINFO_R | SECINFO_X | (PT_REG << 8), code);
      const contents = new Uint8Array(dataPages * PAGE);
      if (options.data !== undefined) contents.set(options.data);
      yield run(data, READ_WRITE, contents);
      for (let i = 0; i < threads; i++) {
        const bytes = TCS.encode({
          OSSA: BigInt(ssa(i)),
          NSSA: nssa,
          OENTRY: 0n,
          FSLIMIT: 0xffff_ffff,
          GSLIMIT: 0xffff_ffff,
        });
        yield run(tcs(i), PT_TCS << 8, bytes);
        yield run(ssa(i), READ_WRITE, new Uint8Array(nssa * PAGE));
      }
      const last = new Uint8Array(PAGE);
      if (options.last !== undefined) last.set(options.last);
      yield run(page, READ_WRITE, last);
    },
  };
  const sigstruct = signImage(image, signer, {
    attributes,
    miscselect,
    date: '20260101',
    isvProdId: 1,
    isvSvn: 1,
    ...options.sign,
  });
  return { image, sigstruct, description: null, page, threads, data, tcs, ssa, free: page + PAGE };
}

/** Registers of one entry. */
export interface MicroCall {
  rsi?: number | bigint;
  rdx?: number | bigint;
  r8?: number | bigint;
  r9?: number | bigint;
  rsp?: number | bigint;
  rbp?: number | bigint;
}

/** A running micro enclave, entered through gates of its own. */
export class Micro {
  readonly #gates: Gate[];
  #pool: CallPool | null = null;
  readonly #prepared: Prepared;

  private constructor(
    readonly connection: GuestConnection,
    readonly layout: MicroImage,
    prepared: Prepared,
    gates: Gate[],
  ) {
    this.#prepared = prepared;
    this.#gates = gates;
  }

  /** Builds, initialises and opens it. @throws SgxIoctlError */
  static load(device: SgxDevice, layout: MicroImage, steps: Steps = {}): Micro {
    const prepared = prepare(device, layout, steps);
    try {
      prepared.file.init(layout.sigstruct);
      return Micro.of(device.connection, layout, prepared);
    } catch (error) {
      prepared.give();
      throw error;
    }
  }

  /** The enclave of `prepared`, initialised by whatever means. */
  static of(connection: GuestConnection, layout: MicroImage, prepared: Prepared): Micro {
    const gates = Array.from(
      { length: prepared.threads },
      (_, i) => new Gate(prepared.gates.address + i * PAGE, { peerPidfd: connection.cvmPidfd }),
    );
    return new Micro(connection, layout, prepared, gates);
  }

  get file() {
    return this.#prepared.file;
  }

  get base(): number {
    return this.file.base;
  }

  get secs(): number {
    return this.file.secs;
  }

  /** gPA of the gate page of a thread. */
  gate(thread = 0): number {
    return this.#prepared.gates.gpa + thread * PAGE;
  }

  /** EPC frame behind an offset from BASEADDR. @throws Error when the driver knows of none */
  frameOf(offset: number): number {
    const extent = this.file.pages.find(offset);
    if (extent === undefined) throw new Error(`no page at offset 0x${offset.toString(16)}`);
    return extent.gpa + (offset - extent.offset);
  }

  /** Enters and waits for what comes of it. */
  enter(op: number, call: MicroCall = {}, thread = 0): ExitInfo {
    const gate = this.#gates[thread]!;
    const { rsi = 0, rdx = 0, r8 = 0, r9 = 0, rsp = 0, rbp = 0 } = call;
    gate.setRegisters({ rdx, r8, r9, rsp, rbp });
    return gate.exit(gate.enter(op, rsi));
  }

  /** Enters without waiting: a thread of its own waits for the exit. */
  begin(op: number, call: MicroCall = {}, thread = 0): Promise<ExitInfo> {
    this.#pool ??= new CallPool(8);
    return this.#gates[thread]!.enterAsync(this.#pool, 2, { rdi: op, ...call });
  }

  /** ERESUME without waiting, with registers that it must not look at. */
  beginResume(thread = 0, call: MicroCall = {}): Promise<ExitInfo> {
    this.#pool ??= new CallPool(8);
    return this.#gates[thread]!.enterAsync(this.#pool, 3, { rdi: OP.NOTHING, ...call });
  }

  /** ERESUME. */
  resume(thread = 0): ExitInfo {
    const gate = this.#gates[thread]!;
    return gate.exit(gate.resume());
  }

  /** ENCLU from inside: RAX, or what happened. */
  leaf(number: number, rbx: number, rcx = 0, rdx = 0, thread = 0): string | number {
    const exit = this.enter(OP.LEAF, { rsi: rbx, rdx: rcx, r8: rdx, r9: number }, thread);
    return exit.kind === 'EEXIT' ? Number(exit.rsi) : exitName(exit);
  }

  /** A u64 of the enclave's memory at an offset, as the enclave reads it, or what happened. */
  read(offset: number, thread = 0): bigint | string {
    const exit = this.enter(OP.READ, { rsi: this.base + offset }, thread);
    return exit.kind === 'EEXIT' ? exit.rsi : exitName(exit);
  }

  /** Writes a u64; true when the enclave came back. */
  write(offset: number, value: bigint | number, thread = 0): boolean {
    return this.enter(OP.WRITE, { rsi: this.base + offset, rdx: value }, thread).kind === 'EEXIT';
  }

  /** Writes bytes (a multiple of eight). */
  writeBytes(offset: number, bytes: Uint8Array, thread = 0): boolean {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    for (let at = 0; at < bytes.length; at += 8)
      if (!this.write(offset + at, view.getBigUint64(at, true), thread)) return false;
    return true;
  }

  /** Reads bytes (a multiple of eight). @throws Error when a read does not come back */
  readBytes(offset: number, length: number, thread = 0): Uint8Array {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    for (let at = 0; at < length; at += 8) {
      const word = this.read(offset + at, thread);
      if (typeof word === 'string') throw new Error(`reading inside ended with ${word}`);
      view.setBigUint64(at, word, true);
    }
    return bytes;
  }

  /** MRENCLAVE as signed. */
  get mrenclave(): Uint8Array {
    return SIGSTRUCT.decode(this.layout.sigstruct).ENCLAVEHASH;
  }

  /** The gate page of a thread, as the host sees it. */
  gateBytes(thread = 0): Uint8Array {
    return this.#prepared.gates.bytes.subarray(thread * PAGE, (thread + 1) * PAGE);
  }

  /** KICK of a thread: the interrupt. */
  kick(thread = 0): void {
    this.file.kick(thread);
  }

  /** Ends it. Entries under way come back lost. */
  async close(): Promise<void> {
    this.#prepared.file.close();
    await this.#pool?.close();
    for (const gate of this.#gates) gate.close();
    this.#prepared.give();
  }
}

const VECTORS: Readonly<Record<number, string>> = { 6: '#UD', 13: '#GP', 14: '#PF', 32: 'interrupt' };

/** An exit in a word: `EEXIT`, `#UD`, `entry #GP`, `lost`. */
export function exitName(exit: ExitInfo): string {
  if (exit.kind === 'LOST') return 'lost';
  if (exit.kind === 'EEXIT') return 'EEXIT';
  const name = VECTORS[exit.vector] ?? `vector ${exit.vector}`;
  return exit.kind === 'AEX' ? name : `entry ${name}`;
}

/** Kicks a thread until it has left: a kick that comes before the entry is complete is nobody's. */
export async function interrupt(micro: Micro, inside: Promise<ExitInfo>, thread = 0): Promise<ExitInfo> {
  let exit: ExitInfo | null = null;
  const noted = inside.then((value) => {
    exit = value;
  });
  for (let i = 0; i < 500 && exit === null; i++) {
    micro.kick(thread);
    await Promise.race([noted, new Promise<void>((resolve) => setTimeout(resolve, 1 + (i >> 3)))]);
  }
  if (exit === null) throw new Error('a thread did not leave in spite of many interrupts');
  return exit;
}
