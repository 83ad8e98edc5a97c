/** A small enclave in Intel's format, built with the system's gcc, and what may be wrong with its file. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildEdlEnclave } from '@nestedsgx/enclave';
import { generateKey } from '@nestedsgx/image/node';

export const EDL = `enclave {
  struct pair_t { int first; uint64_t second; };
  trusted {
    public int ecall_add(int a, int b);
    public void ecall_reverse([in, out, size=n] uint8_t *bytes, size_t n);
    public struct pair_t ecall_swap(struct pair_t pair);
    public int ecall_square(int value, [out] int *square);
    public size_t ecall_sum([in, count=n] const int *values, size_t n);
    public int ecall_peek([user_check] const uint8_t *at, size_t n);
    public void ecall_say([in, string] const char *text);
    public int ecall_ask(int value);
    public void ecall_hang(void);
    public void ecall_crash(void);
    int ecall_private(void);
  };
  untrusted {
    void ocall_print_string([in, string] const char *text);
    int ocall_ask(int value);
  };
};
`;

const SOURCE = `#include "small_t.h"
int ecall_add(int a, int b) { return a + b; }
void ecall_reverse(uint8_t *bytes, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        uint8_t byte = bytes[i];
        bytes[i] = bytes[n - 1 - i];
        bytes[n - 1 - i] = byte;
    }
}
struct pair_t ecall_swap(struct pair_t pair) {
    struct pair_t swapped = {(int)pair.second, (uint64_t)pair.first};
    return swapped;
}
int ecall_square(int value, int *square) { *square = value * value; return 1; }
size_t ecall_sum(const int *values, size_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += (size_t)values[i];
    return sum;
}
int ecall_peek(const uint8_t *at, size_t n) { return at[n - 1]; }
void ecall_say(const char *text) { ocall_print_string(text); }
int ecall_ask(int value) {
    int answer = -1;
    return ocall_ask(&answer, value) == SGX_SUCCESS ? answer : -2;
}
void ecall_hang(void) { for (;;) __asm__ volatile("pause"); }
void ecall_crash(void) { __asm__ volatile("ud2"); }
int ecall_private(void) { return 7; }
`;

export interface SmallEnclave {
  /** Folder of the test; removed by `remove`. */
  readonly folder: string;
  /** The signed enclave without anything beside it but its EDL file `small.edl`. */
  readonly file: string;
  readonly edl: string;
  remove(): void;
}

/** Builds it in a new temporary folder. */
export async function buildSmallEnclave(): Promise<SmallEnclave> {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-small-'));
  const project = join(folder, 'project');
  mkdirSync(join(project, 'src'), { recursive: true });
  writeFileSync(join(project, 'small.edl'), EDL);
  writeFileSync(join(project, 'src', 'small.c'), SOURCE);
  writeFileSync(
    join(project, 'enclave.json'),
    JSON.stringify({ name: 'small', interface: 'small.edl', threads: 2, heapPages: 16, stackPages: 8 }),
  );
  const key = (await generateKey()).privateKeyPem;
  const { signedPath } = await buildEdlEnclave({ dir: project, key, date: '20260101' });
  const plain = join(folder, 'plain');
  mkdirSync(plain);
  const file = join(plain, 'small.signed.so');
  const edl = join(plain, 'small.edl');
  writeFileSync(file, readFileSync(signedPath!));
  writeFileSync(edl, EDL);
  return { folder, file, edl, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Changes one byte of code behind the signature's back: the last one before the padding of an executable segment. */
export function damagedCode(file: Buffer): Buffer {
  const out = Buffer.from(file);
  const programs = Number(out.readBigUInt64LE(32));
  for (let i = 0; i < out.readUInt16LE(56); i++) {
    const at = programs + 56 * i;
    if (out.readUInt32LE(at) !== 1 || (out.readUInt32LE(at + 4) & 1) === 0) continue;
    const end = Number(out.readBigUInt64LE(at + 8) + out.readBigUInt64LE(at + 32));
    out[end - 1]! ^= 0x40;
    return out;
  }
  throw new Error('no executable segment');
}

/** The file with a section `.dynsym` that defines one symbol, appended where nothing is loaded or measured. */
export function withDynamicSymbol(file: Buffer, name: string): Buffer {
  const sectionsAt = Number(file.readBigUInt64LE(40));
  const count = file.readUInt16LE(60);
  const strings = Buffer.from(`\0${name}\0`, 'latin1');
  const symbol = Buffer.alloc(24);
  symbol.writeUInt32LE(1, 0);
  symbol.writeUInt8(0x11, 4);
  symbol.writeUInt16LE(1, 6);
  symbol.writeBigUInt64LE(0x1000n, 8);
  const table = Buffer.alloc(64 * (count + 2));
  file.copy(table, 0, sectionsAt, sectionsAt + 64 * count);
  const section = (i: number, type: number, offset: number, size: number, link: number): void => {
    table.writeUInt32LE(type, 64 * i + 4);
    table.writeBigUInt64LE(BigInt(offset), 64 * i + 24);
    table.writeBigUInt64LE(BigInt(size), 64 * i + 32);
    table.writeUInt32LE(link, 64 * i + 40);
  };
  section(count, 11, file.length, symbol.length, count + 1);
  section(count + 1, 3, file.length + symbol.length, strings.length, 0);
  const out = Buffer.concat([file, symbol, strings, table]);
  out.writeBigUInt64LE(BigInt(file.length + symbol.length + strings.length), 40);
  out.writeUInt16LE(count + 2, 60);
  return out;
}
