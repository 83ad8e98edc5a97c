/** `nsgx attack` as a process: its document, its exit codes, and that killing it leaves nothing behind. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { childrenOf } from '../src/attacks/adversary/process-acts.js';
import { attackTable } from '../src/attacks/index.js';

const NSGX = join(import.meta.dirname, '../../bin/nsgx.mjs');

function nsgx(...args: string[]) {
  return spawnSync(process.execPath, [NSGX, ...args], { encoding: 'utf8', timeout: 60_000 });
}

/** Processes whose command line holds `text`. */
function processesWith(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, 'latin1').includes(text);
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe('nsgx attack', () => {
  it('lists what there is', () => {
    const { status, stdout } = nsgx('attack', '--list', '--json');
    assert.equal(status, 0);
    const { attacks } = JSON.parse(stdout) as { attacks: { name: string }[] };
    assert.deepEqual(
      attacks.map(({ name }) => name),
      attackTable.map(({ name }) => name),
    );
  });

  it('prints one document', () => {
    const { status, stdout } = nsgx('attack', 'epc-read', 'confused-deputy', '--json', '--seed', '7');
    assert.equal(status, 0, stdout);
    const document = JSON.parse(stdout) as {
      attacks: { name: string; as: string; held: boolean; observed: string }[];
      held: number;
      broken: number;
    };
    assert.equal(document.broken, 0);
    assert.equal(document.held, document.attacks.length);
    assert.deepEqual(
      new Set(document.attacks.map(({ name }) => name)),
      new Set(['epc-read', 'confused-deputy']),
    );
    for (const { as, observed } of document.attacks) assert.ok(as.length > 3 && observed.length > 10);
  });

  it('refuses names that do not exist', () => {
    const { status, stderr } = nsgx('attack', 'no-such-attack');
    assert.equal(status, 2);
    assert.match(stderr, /no attack "no-such-attack" \[ATTACK_UNKNOWN\]/);
  });

  it('leaves nothing behind when it is killed', async () => {
    const child = spawn(process.execPath, [NSGX, 'attack', 'request-flood', 'gate-scribble'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // The first line comes when the machine runs and its victims are loaded.
    const [line] = (await once(child.stdout, 'data')) as [Buffer];
    assert.match(String(line), /gate-scribble/);
    await new Promise<void>((resolve) => setTimeout(resolve, 300));
    const mine = new Set(childrenOf(child.pid!));
    const folders = processesWith('attacks/stage/guard.js')
      .filter((pid) => mine.has(pid))
      .map((pid) => readFileSync(`/proc/${pid}/cmdline`, 'latin1').split('\0').at(-2)!)
      .filter((folder) => folder.includes('nsgx-attack-'));
    assert.ok(folders.length > 0, 'no guard is there');
    child.kill('SIGKILL');
    await once(child, 'exit');
    const deadline = Date.now() + 5000;
    while (folders.some((folder) => processesWith(folder).length > 0) && Date.now() < deadline)
      await new Promise<void>((resolve) => setTimeout(resolve, 20));
    for (const folder of folders) {
      assert.deepEqual(processesWith(folder), []);
      assert.throws(() => readdirSync(folder), { code: 'ENOENT' });
    }
  });
});
