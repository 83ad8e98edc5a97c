/** Compares the RMP with what a second mapping of the guest RAM file, and another process, can really read. */
import { spawnSync } from 'node:child_process';
import type { Machine } from '../src/index.js';

/** Reads the first four bytes of every page of a file that it gets as descriptor 3; prints them in base64. */
const READER = `
const { readSync } = require('node:fs');
const pages = Number(process.argv[1]);
const out = Buffer.alloc(pages * 4);
for (let i = 0; i < pages; i++) readSync(3, out, i * 4, 4, i * 4096);
process.stdout.write(out.toString('base64'));
`;

/** First word of every page of guest RAM, as another process with only the descriptor reads it. */
export function readByAnotherProcess(machine: Machine): Uint32Array {
  const pages = machine.memory.ramBytes / 4096;
  const child = spawnSync(process.execPath, ['-e', READER, String(pages)], {
    stdio: ['ignore', 'pipe', 'inherit', machine.memory.ramFd],
    maxBuffer: 1 << 24,
  });
  const bytes = Buffer.from(child.stdout.toString(), 'base64');
  return new Uint32Array(Uint8Array.from(bytes).buffer);
}

/**
 * Puts a mark into every page through the machine and looks which marks `readPages` finds. Returns the pages
 * where that differs from what the RMP says. The marks stay.
 */
export function pagesThatDisagree(machine: Machine, readPages: () => Uint32Array): number[] {
  const pages = machine.memory.ramBytes / 4096;
  const mark = new Uint8Array(4);
  const view = new DataView(mark.buffer);
  for (let page = 0; page < pages; page++) {
    view.setUint32(0, 0xa500_0000 + page, true);
    machine.memory.write(page * 4096, mark);
  }
  const seen = readPages();
  const wrong: number[] = [];
  for (let page = 0; page < pages; page++) {
    const visible = seen[page] === 0xa500_0000 + page;
    if (visible !== machine.rmp.visible(page * 4096)) wrong.push(page);
  }
  return wrong;
}
