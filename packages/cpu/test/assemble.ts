import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Assembles GNU assembler text into flat bytes linked at offset 0. */
export function assemble(source: string): Uint8Array {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-asm-'));
  try {
    const path = (name: string) => join(dir, name);
    writeFileSync(path('a.s'), `.text\n.globl _start\n_start:\n${source}\n`);
    execFileSync('as', ['--64', '-o', path('a.o'), path('a.s')]);
    execFileSync('ld', ['-Ttext=0', '--oformat', 'binary', '-o', path('a.bin'), path('a.o')]);
    return new Uint8Array(readFileSync(path('a.bin')));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** ENCLU behind the short form of its mov. */
export const enclu = (leaf: number) => `mov $${leaf},%eax\n.byte 0x0f,0x01,0xd7\n`;
