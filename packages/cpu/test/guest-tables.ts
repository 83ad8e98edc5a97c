import { GATE, REVOKE, VM_ROOT_LA57 } from '../src/host/index.js';
import { type BenchMachine, type EnclaveOptions, RAM_BYTES, type TestEnclave } from './bench-machine.js';

const PAGE = 4096;

/** Bits of x86-64 page-table entries. */
export const PTE = Object.freeze({ P: 1n, W: 2n, U: 4n, A: 0x20n, D: 0x40n, PS: 0x80n, NX: 1n << 63n });
/** What a kernel gives a page that its process has written to. */
export const USER = PTE.P | PTE.W | PTE.U | PTE.A | PTE.D;
/** Address of the word that interrupts the guest, from gPA 0. */
export const WAKE_WORD_GPA = 0x3000;
const TABLES_GPA = 0x80_0000;

/** A guest's kernel, as far as its page tables go: writes them into guest RAM, and takes mappings back. */
export class GuestTables {
  readonly words: BigUint64Array;
  readonly bytes: Uint8Array;
  root: number;
  #next = TABLES_GPA;

  constructor(
    machine: BenchMachine,
    readonly levels: 4 | 5 = 4,
  ) {
    this.bytes = machine.ram.view(0, RAM_BYTES);
    this.words = new BigUint64Array(this.bytes.buffer, this.bytes.byteOffset, RAM_BYTES / 8);
    this.bytes.fill(0, TABLES_GPA, TABLES_GPA + 0x20_0000);
    this.root = this.table();
  }

  /** CR3, and whether there are five levels. */
  get cr3(): bigint {
    return BigInt(this.root) | BigInt(this.levels === 5 ? VM_ROOT_LA57 : 0);
  }

  /** An empty table. */
  table(): number {
    const at = this.#next;
    this.#next += PAGE;
    return at;
  }

  /** The entry of `va` at `level` (1: 4 KiB); tables above are made with all rights unless they are there. */
  entry(va: number, level = 1): number {
    let table = this.root;
    for (let at: number = this.levels; ; at--) {
      const index = Number((BigInt(va) >> BigInt(12 + 9 * (at - 1))) & 511n);
      const word = table / 8 + index;
      if (at === level) return word;
      if ((this.words[word]! & PTE.P) === 0n) this.words[word] = BigInt(this.table()) | USER;
      table = Number(this.words[word]! & 0xf_ffff_ffff_f000n);
    }
  }

  set(va: number, gpa: number, flags = USER, level = 1): void {
    this.words[this.entry(va, level)] = BigInt(gpa) | flags | (level > 1 ? PTE.PS : 0n);
  }
}

/** An enclave whose gates carry the root of these tables, with its REVOKE page. */
export class GuestEnclave {
  readonly enclave: TestEnclave;
  readonly revokeWords: Int32Array;
  readonly #revokeQuads: BigUint64Array;

  constructor(machine: BenchMachine, tables: GuestTables, options: EnclaveOptions) {
    const gates = machine.nextGate;
    this.enclave = machine.start({ ...options, revoke: true });
    const count = this.enclave.gates.length;
    for (let i = 0; i < count; i++) tables.words[(gates + i * PAGE + GATE.at.requestRoot) / 8] = tables.cr3;
    const at = gates + count * PAGE;
    const { buffer, byteOffset } = tables.bytes;
    this.revokeWords = new Int32Array(buffer, byteOffset + at, PAGE / 4);
    this.#revokeQuads = new BigUint64Array(buffer, byteOffset + at, PAGE / 8);
  }

  get mapped(): number {
    return Atomics.load(this.revokeWords, REVOKE.at.mapped / 4);
  }

  /** What mmu_notifier does around a change of page tables. */
  invalidate(machine: BenchMachine, from: number, to: number, change: () => void): void {
    const words = this.revokeWords;
    Atomics.add(words, REVOKE.at.invalidating / 4, 1);
    Atomics.add(words, REVOKE.at.generation / 4, 1);
    if (this.mapped !== 0) {
      this.#revokeQuads[REVOKE.at.start / 8] = BigInt(from);
      this.#revokeQuads[REVOKE.at.end / 8] = BigInt(to);
      const seq = (Atomics.add(words, REVOKE.at.seq / 4, 1) + 1) | 0;
      machine.wake(words.byteOffset - machine.ram.view(0, 1).byteOffset + REVOKE.at.seq);
      const until = performance.now() + 2000;
      while (Atomics.load(words, REVOKE.at.ackSeq / 4) !== seq)
        if (performance.now() > until) throw new Error('the runner does not take its mappings back');
    }
    change();
    Atomics.sub(words, REVOKE.at.invalidating / 4, 1);
  }
}
