/** The little of ELF that runs a function of an enclave's file in an ordinary process: the same object code, outside. */
import { readFileSync } from 'node:fs';
import { type Mapping, mmap, mprotect } from '@nestedsgx/os';

const PT_LOAD = 1;
const SHT_SYMTAB = 2;
const PAGE = 4096;

/** Functions of an ELF file, mapped at an address of this process. They must not need relocations or a runtime. */
export class MappedElf implements Disposable {
  readonly #mapping: Mapping;
  readonly #symbols: ReadonlyMap<string, number>;

  /** @throws Error when the file is no 64-bit little-endian ELF with symbols */
  constructor(path: string) {
    const bytes = readFileSync(path);
    if (bytes.readUInt32BE(0) !== 0x7f454c46 || bytes[4] !== 2 || bytes[5] !== 1)
      throw new Error(`${path} is not an ELF file for x86-64`);
    const segments = programHeaders(bytes).filter(({ type }) => type === PT_LOAD);
    const end = Math.max(...segments.map(({ address, inMemory }) => address + inMemory));
    // Only code and what it reads lies low; a heap behind it is not needed here.
    this.#mapping = mmap({ length: Math.ceil(end / PAGE) * PAGE, prot: 'rw', shared: false });
    for (const { offset, address, inFile } of segments)
      this.#mapping.bytes.set(bytes.subarray(offset, offset + inFile), address);
    mprotect(this.#mapping.address, this.#mapping.length, 'rx');
    this.#symbols = symbolTable(bytes);
  }

  /** Address of a function. @throws Error when there is none of that name */
  addressOf(name: string): number {
    const at = this.#symbols.get(name);
    if (at === undefined) throw new Error(`the ELF file has no symbol ${name}`);
    return this.#mapping.address + at;
  }

  [Symbol.dispose](): void {
    this.#mapping.unmap();
  }
}

interface Segment {
  type: number;
  offset: number;
  address: number;
  inFile: number;
  inMemory: number;
}

function u64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
}

function programHeaders(bytes: Buffer): Segment[] {
  const table = u64(bytes, 32);
  return Array.from({ length: bytes.readUInt16LE(56) }, (_, i) => {
    const at = table + i * bytes.readUInt16LE(54);
    return {
      type: bytes.readUInt32LE(at),
      offset: u64(bytes, at + 8),
      address: u64(bytes, at + 16),
      inFile: u64(bytes, at + 32),
      inMemory: u64(bytes, at + 40),
    };
  });
}

function symbolTable(bytes: Buffer): Map<string, number> {
  const table = u64(bytes, 40);
  const entry = bytes.readUInt16LE(58);
  const symbols = new Map<string, number>();
  for (let i = 0; i < bytes.readUInt16LE(60); i++) {
    const at = table + i * entry;
    if (bytes.readUInt32LE(at + 4) !== SHT_SYMTAB) continue;
    const start = u64(bytes, at + 24);
    const names = u64(bytes, table + bytes.readUInt32LE(at + 40) * entry + 24);
    for (let symbol = start; symbol < start + u64(bytes, at + 32); symbol += 24) {
      const name = names + bytes.readUInt32LE(symbol);
      symbols.set(bytes.toString('latin1', name, bytes.indexOf(0, name)), u64(bytes, symbol + 8));
    }
  }
  return symbols;
}
