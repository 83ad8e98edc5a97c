/** One process at a time has a store, whatever those before it left. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { HostStore } from '../src/run/store/host-store.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-lock-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** Opens the stores at the same moments as others do, keeps what it gets, and says what that is. */
const CONTENDER = `
const { HostStore } = await import(process.argv[1]);
const [folder, rounds, start] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const found = [];
for (let i = 0; i < rounds; i++) {
  while (Date.now() < start + i * 20);
  try { new HostStore({ path: folder + '/' + i }, (fd) => fd); found.push('got'); }
  catch (error) { found.push(error.code); }
}
console.log(found.join(' '));
process.stdin.resume();
`;

/** The answers of processes that all live until the last has said something. */
async function contend(path: string, rounds: number, processes: number): Promise<string[][]> {
  const module = new URL('../src/run/store/host-store.js', import.meta.url).href;
  const start = Date.now() + 1500;
  const children = Array.from({ length: processes }, () =>
    spawn(process.execPath, ['--input-type=module', '-e', CONTENDER, module, path, `${rounds}`, `${start}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
    }),
  );
  try {
    return await Promise.all(
      children.map(
        (child) =>
          new Promise<string[]>((resolve, reject) => {
            let text = '';
            child.stdout.on('data', (part: Buffer) => {
              text += part.toString();
              if (text.endsWith('\n')) resolve(text.trim().split(' '));
            });
            child.once('error', reject);
            child.once('exit', () => reject(new Error('a contender ended')));
          }),
      ),
    );
  } finally {
    for (const child of children) child.kill();
  }
}

test('of processes that open a store at once exactly one gets it, also after one that died', async () => {
  const rounds = 40;
  const left = ['', '999999999', `${process.pid} another-start x`, '999999999 another-start y'];
  for (let i = 0; i < rounds; i++) {
    const path = join(folder, `${i}`);
    new HostStore({ path }, (fd) => fd).close();
    assert.deepEqual(readdirSync(path), ['blocks']);
    if (i % 5 < 4) writeFileSync(join(path, 'lock'), left[i % 5] as string);
  }
  const answers = await contend(folder, rounds, 4);
  for (let i = 0; i < rounds; i++) {
    const round = answers.map((found) => found[i]).sort();
    assert.deepEqual(round, ['STORE_BUSY', 'STORE_BUSY', 'STORE_BUSY', 'got'], `round ${i}`);
    assert.deepEqual(readdirSync(join(folder, `${i}`)).sort(), ['blocks', 'lock']);
  }
});

test('a store that could not be opened is not kept from others', () => {
  const path = join(folder, 'failed');
  const first = new HostStore({ path }, (fd) => fd);
  assert.throws(() => new HostStore({ path }, (fd) => fd), { code: 'STORE_BUSY' });
  first.close();
  rmSync(join(path, 'blocks'));
  mkdirSync(join(path, 'blocks'));
  assert.throws(() => new HostStore({ path }, (fd) => fd), { code: 'STORE_UNREADABLE' });
  assert.deepEqual(readdirSync(path), ['blocks']);
});
