/** The store: what is written there is there at the next start, as Linux keeps it; and nothing of it can be changed outside. */
import assert from 'node:assert/strict';
import {
  closeSync,
  cpSync,
  fdatasyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generateKey } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { type BuiltProgram, buildProgramImage, runProgram } from '../src/index.js';
import { compile, folder, native } from './programs.js';

const BLOCK = 16384;
let cvm: Cvm;
let key: string;
let program: string;
let image: BuiltProgram;
before(async () => {
  program = compile('store');
  image = buildProgramImage({ program, store: { path: '/data' } });
  [cvm, key] = await Promise.all([Cvm.launch(), generateKey().then(({ privateKeyPem }) => privateKeyPem)]);
});
after(() => cvm.close());

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly notes: string;
  readonly version: bigint;
}

async function step(
  path: string,
  name: string,
  version?: bigint,
  what = image,
  sync?: (fd: number) => void,
  argv = [program, '/data', name],
): Promise<Ran> {
  const at = mkdtempSync(join(folder, 'run-'));
  const descriptors = [
    openSync('/dev/null', 'r'),
    openSync(join(at, 'out'), 'w'),
    openSync(join(at, 'err'), 'w'),
  ] as const;
  const notes: string[] = [];
  let status = -1;
  let stored: bigint | undefined;
  try {
    const result = await runProgram(cvm, what, {
      ...{ argv, key, descriptors: [...descriptors] },
      store: { path, version, ...(sync && { sync }) },
      onNote: (text) => notes.push(text),
    });
    status = result.status;
    stored = result.store?.version;
  } catch (error) {
    if ((error as { code?: string }).code !== 'PROGRAM_NOT_STARTED') throw error;
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
  return {
    status,
    stdout: readFileSync(join(at, 'out'), 'utf8'),
    notes: notes.join('\n'),
    version: stored ?? 0n,
  };
}

const stores = () => mkdtempSync(join(folder, 'store-'));
const blocks = (store: string) => join(store, 'blocks');

test('files of one run are there in the next', async () => {
  const store = stores();
  const here = stores();
  let last = 0n;
  for (const name of ['make', 'say', 'change', 'say']) {
    const expected = native(program, [here, name]);
    const found = await step(store, name);
    assert.equal(found.stdout, expected.stdout, name);
    assert.equal(found.status, expected.status);
    if (found.version > 0n) assert.ok(found.version > last);
    last = found.version > 0n ? found.version : last;
  }
  assert.ok(!readFileSync(blocks(store)).includes('folder'), 'names are not to be read outside');
});

test('what is written to mappings of files is kept', async () => {
  const store = stores();
  const here = stores();
  const mapped = compile('mapped');
  const what = buildProgramImage({ program: mapped, store: { path: '/data' } });
  for (const name of ['make', 'say', 'say']) {
    const found = await step(store, name, undefined, what);
    assert.equal(found.stdout, native(mapped, [here, name]).stdout);
    assert.equal(found.status, 0);
  }
});

test('a program that a signal ends keeps what it wrote', async () => {
  const store = stores();
  const here = stores();
  for (const name of ['make', 'unsynced', 'say']) {
    const expected = native(program, [here, name]);
    const found = await step(store, name);
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, name === 'unsynced' ? 137 : 0);
  }
});

test('a commit that is cut short leaves the one before it', async () => {
  const store = stores();
  await step(store, 'make');
  const { stdout } = await step(store, 'say');
  const before = readFileSync(blocks(store));
  const first = await step(store, 'say');
  const second = await step(store, 'once');
  assert.equal(first.version, 0n, 'nothing to commit where nothing has changed');
  assert.notEqual(second.stdout, stdout);
  const after = readFileSync(blocks(store));
  const cut = stores();
  const count = Math.ceil(after.length / BLOCK);
  // Some blocks of the commit have been written, none, all, or all and half of its root.
  for (const written of [(i: number) => i % 2 === 0, () => false, () => true, (i: number) => i > count / 2]) {
    const bytes = Buffer.alloc(after.length);
    before.copy(bytes);
    for (let i = 1; i < count; i++) if (written(i)) after.copy(bytes, i * BLOCK, i * BLOCK, (i + 1) * BLOCK);
    for (const half of [false, true]) {
      const at = second.version % 2n === 0n ? 0 : 8192;
      if (half) after.copy(bytes, at, at, at + 100);
      writeFileSync(blocks(cut), bytes);
      const found = await step(cut, 'say');
      assert.equal(found.stdout, stdout);
    }
  }
});

test('every change outside is refused, and no other data are given', async () => {
  const store = stores();
  const { stdout } = await step(store, 'make');
  const good = stdout.split('\n').slice(1);
  const whole = readFileSync(blocks(store));
  const changed = stores();
  let refused = 0;
  const check = async (bytes: Uint8Array, what: string) => {
    writeFileSync(blocks(changed), bytes);
    const found = await step(changed, 'say');
    if (found.status !== 0) {
      assert.match(found.notes, /damaged|another program/, what);
      refused++;
      return;
    }
    const lines = found.stdout.split('\n');
    if (/Input\/output error/.test(found.stdout)) {
      assert.match(found.notes, /not what was written/, what);
      refused++;
    }
    for (const [i, line] of lines.entries())
      assert.ok(line === good[i] || /Input\/output error$/.test(line), `${what}: ${line}`);
  };
  const count = Math.ceil(whole.length / BLOCK);
  for (let position = 0; position < count; position += 3) {
    const bytes = Uint8Array.from(whole);
    bytes[position * BLOCK + 17] ^= 1;
    await check(bytes, `byte of block ${position}`);
  }
  const swapped = Buffer.from(whole);
  whole.copy(swapped, 5 * BLOCK, 6 * BLOCK, 7 * BLOCK);
  whole.copy(swapped, 6 * BLOCK, 5 * BLOCK, 6 * BLOCK);
  await check(swapped, 'blocks exchanged');
  await check(whole.subarray(0, whole.length / 2), 'truncated');
  assert.ok(refused >= 3, `${refused} refused`);
});

test('of a file that is damaged or given up, nothing comes back when it is made longer', async () => {
  const store = stores();
  const here = stores();
  await step(store, 'make');
  native(program, [here, 'make']);
  // One of its last blocks: some before it are decrypted, and verified, by then.
  const bytes = readFileSync(blocks(store));
  bytes[40 * BLOCK + 5] ^= 1;
  const damaged = stores();
  writeFileSync(blocks(damaged), bytes);
  const expected = native(program, [here, 'longer']).stdout.split('\n');
  for (const [path, read] of [
    [store, '0'],
    [damaged, '5'],
  ] as const) {
    const found = (await step(path, 'longer')).stdout.split('\n');
    assert.deepEqual(found, [read, ...expected.slice(1)]);
    assert.equal((await step(path, 'say')).stdout, expected.slice(2).join('\n'));
  }
});

/** What the host has whenever it is asked for durability, once or twice in a commit. */
async function recorded(run: (sync: (fd: number) => void) => Promise<Ran>, store: string): Promise<Buffer[]> {
  const moments = [readFileSync(blocks(store))];
  const sync = (fd: number) => {
    moments.push(readFileSync(blocks(store)));
    fdatasyncSync(fd);
  };
  assert.equal((await run(sync)).status, 0);
  return moments;
}

function draws(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** What is there when the host stops behind moment `k`: of the writes that are not durable, some have been made, in any order. */
function stopped(moments: readonly Buffer[], k: number, random: (below: number) => number): Buffer {
  const next = moments[k + 1] as Buffer;
  const bytes = Buffer.alloc(next.length);
  (moments[k] as Buffer).copy(bytes);
  for (let at = 0; at < next.length; at += 4096) if (random(2) === 0) next.copy(bytes, at, at, at + 4096);
  return bytes;
}

test('whenever the host stops, there is the last commit, also of files that are replaced meanwhile', async () => {
  const store = stores();
  writeFileSync(blocks(store), '');
  const race = (name: string) => recorded((sync) => step(store, name, undefined, image, sync), store);
  await race('race');
  // Now the files come in while they are replaced.
  const moments = await race('race-again');
  assert.ok(moments.length > 4, `${moments.length} moments`);
  const random = draws(1);
  const cut = stores();
  let short = 0;
  const COUNT = 24;
  for (let i = 0; i < COUNT; i++) {
    const k = random(moments.length - 1);
    writeFileSync(blocks(cut), stopped(moments, k, random));
    const found = await step(cut, 'check');
    const wasShort = /^the last commit of the store was cut short/.test(found.notes);
    if (wasShort) short++;
    assert.deepEqual(
      [wasShort ? '' : found.notes, found.stdout, found.status],
      ['', '', 0],
      `moment ${k} of ${moments.length}`,
    );
  }
  // A root arrived before its blocks, and not at all.
  assert.ok(short > 0 && short < COUNT, `${short} cut short`);
});

test('files that are larger than the memory they have are as a model has them, and at every moment whole', async () => {
  const files = compile('random-files');
  const small = buildProgramImage({
    program: files,
    memory: 2 ** 26,
    files: 12 * 2 ** 20,
    store: { path: '/data' },
  });
  const run = (store: string, seed: number, how: readonly string[], sync?: (fd: number) => void) =>
    step(store, '', undefined, small, sync, [files, '/data', `${seed}`, '2500', ...how]);
  for (const seed of [7, 20261123]) {
    const here = stores();
    const store = stores();
    writeFileSync(blocks(store), '');
    const expected = native(files, [here, `${seed}`, '2500']).stdout;
    const moments = await recorded(async (sync) => {
      const found = await run(store, seed, [], sync);
      assert.equal(found.stdout, expected);
      return found;
    }, store);
    assert.equal(
      (await run(store, seed, ['again'])).stdout,
      native(files, [here, `${seed}`, '2500', 'again']).stdout,
    );
    const random = draws(seed);
    const cut = stores();
    for (let i = 0; i < 6; i++) {
      const k = 1 + random(moments.length - 2);
      writeFileSync(blocks(cut), stopped(moments, k, random));
      const found = await run(cut, seed, ['look']);
      assert.deepEqual(
        [found.stdout, found.status],
        ['', 0],
        `moment ${k} of ${moments.length}: ${found.notes}`,
      );
    }
  }
});

test('an older store is refused when its version is asked for; a missing one too', async () => {
  const store = stores();
  const first = await step(store, 'make');
  const older = stores();
  cpSync(blocks(store), blocks(older));
  const second = await step(store, 'change');
  assert.ok(second.version > first.version);
  assert.equal((await step(store, 'say', second.version)).status, 0);
  const refused = await step(older, 'say', second.version);
  assert.notEqual(refused.status, 0);
  assert.match(refused.notes, /older than the version/);
  assert.equal(refused.stdout, '');
  assert.match((await step(stores(), 'say', 1n)).notes, /older than the version/);
});

test('another program cannot read it; one of the same signer can where the image says so', async () => {
  const store = stores();
  await step(store, 'make');
  const other = buildProgramImage({ program, store: { path: '/data' }, stack: 2 ** 21 });
  const refused = await step(store, 'say', undefined, other);
  assert.match(refused.notes, /another program/);
  const shared = stores();
  const bySigner = (stack: number) =>
    buildProgramImage({ program, stack, store: { path: '/data', key: 'mrsigner' } });
  const written = await step(shared, 'make', undefined, bySigner(2 ** 20));
  const read = await step(shared, 'say', undefined, bySigner(2 ** 21));
  assert.equal(read.stdout, written.stdout.split('\n').slice(1).join('\n'));
});

test('the store is a file system of its own, and used by one program at a time', async () => {
  const store = stores();
  await step(store, 'make');
  const found = await step(store, 'borders');
  assert.match(found.stdout, /-1 Invalid cross-device link\n-1 Device or resource busy/);
  writeFileSync(join(store, 'lock'), `${process.pid}`);
  await assert.rejects(step(store, 'say'), { code: 'STORE_BUSY' });
  assert.throws(() => buildProgramImage({ program, store: { path: 'data' } }), {
    code: 'STORE_PATH_INVALID',
  });
});
