import type { ThreadStart } from '@nestedsgx/arch';
import { close, type Mapping, memfdCreate, mmap } from '@nestedsgx/os';
import { CONTROL, CONTROL_TCS, controlBytes, TCS_FLAG } from '../layout/control.js';
import { writeFields } from '../layout/writer.js';

const NOBODY = { tcs: 0n, ssa: 0n, entry: 0n, fsBase: 0n, gsBase: 0n, nssa: 0, startCssa: 0, tcsFlags: 0 };

/** The memory that the monitor's process shares with one runner (CONTROL, then one CONTROL_TCS for each thread). */
export class ControlMemory {
  #fd: number;
  readonly bytes: number;
  readonly threads: number;
  /** Where it is mapped in this process. */
  readonly address: number;
  readonly #mapping: Mapping;
  #words: Int32Array;
  #quads: BigUint64Array;

  /** @throws OsError */
  constructor(threads: number) {
    this.threads = threads;
    this.bytes = controlBytes(threads);
    this.#fd = memfdCreate('nsgx-control', { size: this.bytes, seal: true });
    this.#mapping = mmap({ fd: this.#fd, length: this.bytes, prot: 'rw', shared: true });
    this.address = this.#mapping.address;
    const { buffer, byteOffset, byteLength } = this.#mapping.bytes;
    this.#words = new Int32Array(buffer, byteOffset, byteLength / 4);
    this.#quads = new BigUint64Array(buffer, byteOffset, byteLength / 8);
  }

  /** The memory file, until {@link closeFile}. */
  get fd(): number {
    return this.#fd;
  }

  /** Once the runner has mapped it nobody needs the file. */
  closeFile(): void {
    if (this.#fd < 0) return;
    close(this.#fd);
    this.#fd = -1;
  }

  /** Offset of a thread's structure. */
  tcs(thread: number): number {
    return CONTROL.size + thread * CONTROL_TCS.size;
  }

  load(offset: number): number {
    return Atomics.load(this.#words, offset >> 2) >>> 0;
  }

  store(offset: number, value: number): void {
    Atomics.store(this.#words, offset >> 2, value | 0);
  }

  /** Adds to a word and returns the sum. */
  add(offset: number, value: number): number {
    return (Atomics.add(this.#words, offset >> 2, value) + value) >>> 0;
  }

  loadQuad(offset: number): bigint {
    return this.#quads[offset >> 3]!;
  }

  storeQuad(offset: number, value: bigint): void {
    this.#quads[offset >> 3] = BigInt.asUintN(64, value);
  }

  /** Writes what a thread has to know of its TCS, and makes it known. `base` is BASEADDR. */
  setThread(thread: number, base: number, start: ThreadStart | null, cssa: number): void {
    const at = this.tcs(thread);
    const linear = (offset: number) => BigInt(base) + BigInt(offset);
    const values =
      start === null
        ? NOBODY
        : {
            tcs: linear(start.tcsOffset),
            ssa: linear(start.ossa),
            entry: linear(start.oentry),
            fsBase: linear(start.ofsbase),
            gsBase: linear(start.ogsbase),
            nssa: start.nssa,
            startCssa: cssa,
            tcsFlags: (start.debugOptIn ? TCS_FLAG.DBGOPTIN : 0) | (start.aexNotify ? TCS_FLAG.AEXNOTIFY : 0),
          };
    const { buffer, byteOffset, byteLength } = this.#words;
    writeFields(CONTROL_TCS, values, new Uint8Array(buffer, byteOffset, byteLength), at);
    // The runner stores CSSA from the thread's next entry on; it is asked for before that.
    this.store(at + CONTROL_TCS.at.cssa, start === null ? 0 : cssa);
    this.add(at + CONTROL_TCS.at.generation, 1);
  }

  /** Takes the memory away; its last state stays readable. */
  detach(): void {
    this.closeFile();
    if (!this.#mapping.mapped) return;
    const last = this.#mapping.bytes.slice();
    this.#words = new Int32Array(last.buffer);
    this.#quads = new BigUint64Array(last.buffer);
    this.#mapping.unmap();
  }
}
