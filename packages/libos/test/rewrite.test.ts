/** Finding system calls in code, and replacing them. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { isElf, readProgram } from '../src/elf/program.js';
import { rewrite, trampolineBytes } from '../src/rewrite/rewrite.js';
import { keptSites, MAX_KEPT } from '../src/rewrite/site-cache.js';
import { findSites } from '../src/rewrite/sites.js';
import { compile, folder } from './programs.js';

const path = compile('trapping', '-static-pie');
const program = readProgram(new Uint8Array(readFileSync(path)), path);

/** Addresses of SYSCALL as the system's disassembler finds them. */
function disassembled(): number[] {
  const text = execFileSync('objdump', ['-d', path], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  return [...text.matchAll(/^ +([0-9a-f]+):\t0f 05 +\tsyscall/gm)].map((match) =>
    Number.parseInt(match[1], 16),
  );
}

test('every SYSCALL is a site or traps, and nothing else is', () => {
  const { sites, trapping } = findSites(program);
  const found = [...sites.map((site) => site.at + site.before.length), ...trapping].sort((a, b) => a - b);
  assert.deepEqual(found, disassembled());
  assert.ok(sites.length > 8 * trapping.length, `${sites.length} sites, ${trapping.length} trap`);
});

test('a jump takes five bytes, and trampolines lead to the library OS and back', () => {
  const scan = findSites(program);
  const at = 0x1000_0000;
  const { bytes, trampolines } = rewrite(program, scan, at);
  assert.equal(trampolines.length, trampolineBytes(scan));
  const code = new DataView(trampolines.buffer);
  const view = new DataView(bytes.buffer);
  for (const site of scan.sites) {
    const segment = program.segments.find((s) => site.at >= s.address && site.at < s.address + s.fileSize)!;
    const offset = segment.offset + site.at - segment.address;
    assert.equal(view.getUint8(offset), 0xe9);
    const to = site.at + 5 + view.getInt32(offset + 1, true) - at;
    assert.deepEqual(trampolines.slice(to, to + site.before.length), site.before);
    const lea = to + site.before.length;
    // jmp *%gs:1064
    assert.deepEqual([...trampolines.slice(lea + 7, lea + 15)], [0x65, 0xff, 0x24, 0x25, 0x28, 4, 0, 0]);
    const back = at + lea + 7 + code.getInt32(lea + 3, true);
    if (site.after.length === 0) assert.equal(back, site.next);
    else assert.equal(back, at + lea + 15);
  }
});

test('damaged files are refused, whatever is damaged', () => {
  const whole = readFileSync(path);
  for (let i = 0; i < 400; i++) {
    const bytes = new Uint8Array(whole.subarray(0, i % 3 === 0 ? (i * 37) % 4096 : undefined));
    for (let k = 0; k < 4; k++) bytes[(i * 131 + k * 17) % Math.min(1024, bytes.length || 1)] ^= 1 << (i % 8);
    try {
      findSites(readProgram(bytes, 'damaged'));
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'PROGRAM_MALFORMED');
    }
  }
  assert.equal(isElf(new Uint8Array(10)), false);
});

test('what was not used for longest goes when there is too much', () => {
  const cache = join(folder, 'full');
  const scan = keptSites(program, cache);
  const [name] = readdirSync(cache);
  const long = new Date(Date.now() - 3_600_000);
  for (let i = 0; i < MAX_KEPT; i++) {
    writeFileSync(join(cache, `old-${i}`), '');
    utimesSync(join(cache, `old-${i}`), long, long);
  }
  // Finding it keeps it; the next one that is written makes room.
  utimesSync(join(cache, name), new Date(0), new Date(0));
  assert.deepEqual(keptSites(program, cache), scan);
  const other = readProgram(readFileSync(compile('plugin', '-shared', '-fPIC')), 'other');
  keptSites(other, cache);
  const left = readdirSync(cache);
  assert.ok(left.length < MAX_KEPT, `${left.length}`);
  assert.ok(left.includes(name));
});

test('what was found is kept, and not believed when it does not fit the file', () => {
  const cache = join(folder, 'cache');
  const scan = findSites(program);
  assert.deepEqual(keptSites(program, cache), scan);
  assert.deepEqual(keptSites(program, cache), scan);
  const [name] = readdirSync(cache);
  for (const text of ['', '{}', '{"sites":[4096,5,0,4103],"trapping":[]}']) {
    writeFileSync(join(cache, name), text);
    assert.deepEqual(keptSites(program, cache), scan);
  }
});
