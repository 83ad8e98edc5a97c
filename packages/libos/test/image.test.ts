/** Images of programs as files: what is written is what is loaded, and what is damaged is refused. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { closeSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import { measureImage, type PageRun } from '@nestedsgx/image';
import { generateKey } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { HEADER_BYTES, ROW_AT, ROW_BYTES, SECTIONS } from '../src/image/app-format.js';
import {
  assembleImage,
  buildAppImage,
  type ImageSpec,
  inspectAppImage,
  isAppImage,
  openAppImage,
  runProgram,
  withDefaults,
} from '../src/index.js';
import { compile, folder, native } from './programs.js';

let cvm: Cvm;
let key: string;
let program: string;
let spec: ImageSpec;
let path: string;
let bytes: Buffer;
before(async () => {
  [cvm, key] = await Promise.all([Cvm.launch(), generateKey().then(({ privateKeyPem }) => privateKeyPem)]);
  program = compile('process');
  spec = withDefaults({ entry: program, copy: [], packages: [] });
  path = join(folder, 'process.img');
  buildAppImage(path, spec, { key });
  bytes = readFileSync(path);
});
after(() => cvm.close());

/** The image with some bytes changed, as a file. */
function changed(name: string, change: (copy: Buffer) => Buffer | undefined): string {
  const copy = Buffer.from(bytes);
  const at = join(folder, name);
  writeFileSync(at, change(copy) ?? copy);
  return at;
}

function sectionOf(name: string): { offset: number; length: number } {
  const row = ROW_AT + ROW_BYTES * SECTIONS.findIndex((section) => section.name === name);
  return { offset: Number(bytes.readBigUInt64LE(row)), length: Number(bytes.readBigUInt64LE(row + 8)) };
}

/** Pages by their offset, with what they are. */
function pagesOf(runs: Iterable<PageRun>): Map<number, string> {
  const pages = new Map<number, string>();
  for (const { offset, data, secinfoFlags, measured } of runs)
    for (let at = 0; at < data.length; at += 4096) {
      const digest = createHash('sha256')
        .update(data.subarray(at, at + 4096))
        .digest('hex');
      pages.set(offset + at, `${secinfoFlags} ${measured} ${digest}`);
    }
  return pages;
}

async function runFile(at: string, argv: readonly string[], environment = ['LC_PROBE=value']) {
  const out = join(folder, 'out');
  const descriptors = [openSync('/dev/null', 'r'), openSync(out, 'w'), openSync(out, 'w')] as const;
  const notes: string[] = [];
  const app = openAppImage(at);
  try {
    const result = await runProgram(cvm, app, {
      ...{ argv, environment, descriptors: [...descriptors] },
      onNote: (text) => notes.push(text),
    });
    return { ...result, stdout: readFileSync(out, 'utf8'), notes };
  } finally {
    app.close();
    for (const fd of descriptors) closeSync(fd);
  }
}

test('the same inputs give the same bytes; the file has the pages and the root that were built', () => {
  const again = join(folder, 'again.img');
  const { program: built, sigstruct } = buildAppImage(again, spec, { key });
  assert.ok(readFileSync(again).equals(bytes));
  assert.ok(isAppImage(again) && !isAppImage(program) && !isAppImage(folder) && !isAppImage('/nowhere'));
  const app = openAppImage(again);
  try {
    assert.deepEqual(pagesOf(app.image.pages()), pagesOf(built.image.pages()));
    assert.deepEqual(
      pagesOf(app.image.pages({ buffer: new Uint8Array(8192) })),
      pagesOf(built.image.pages()),
    );
    assert.equal(app.image.tcs, built.image.tcs);
    assert.deepEqual(Buffer.from(app.image.sigstruct!), Buffer.from(sigstruct));
    const root = Buffer.concat(built.root);
    assert.equal(app.root.length, root.length);
    assert.ok(Buffer.from(app.root.read(0, root.length)).equals(root));
    assert.ok(Buffer.from(app.root.read(70_000, 100)).equals(root.subarray(70_000, 70_100)));
    assert.equal(app.root.read(root.length + 5, 10).length, 0);
  } finally {
    app.close();
  }
});

test('an inspected image is what was measured', () => {
  const found = inspectAppImage(path);
  assert.deepEqual(found.damage, []);
  assert.equal(
    found.mrenclave,
    Buffer.from(measureImage(nodeHash, openAppImage(path).image)).toString('hex'),
  );
  assert.equal(found.entry, program);
  assert.equal(found.memory, 64 * 2 ** 20);
  const file = found.root.find((entry) => entry.path === program);
  assert.equal(file?.sha256, createHash('sha256').update(readFileSync(program)).digest('hex'));
  assert.equal(file?.inPlace, true);
});

test('a program runs from a file as it does natively', async () => {
  const found = await runFile(path, [program, 'an argument']);
  const expected = native(program, ['an argument'], { LC_PROBE: 'value' });
  assert.equal(found.status, expected.status);
  assert.match(found.stdout, /an argument/);
  assert.equal(found.mrenclave, inspectAppImage(path).mrenclave);
});

test('a file that is cut short, longer, or changed in its tables is refused', () => {
  const lengths = [0, 7, 100, HEADER_BYTES - 1, HEADER_BYTES, bytes.length - 4096, bytes.length - 1];
  for (const length of lengths) {
    const cut = changed('cut.img', (copy) => copy.subarray(0, length));
    assert.throws(() => openAppImage(cut), { code: 'APP_IMAGE_MALFORMED' }, `${length} bytes`);
  }
  const longer = changed('longer.img', (copy) => Buffer.concat([copy, Buffer.alloc(4096)]));
  assert.throws(() => openAppImage(longer), { code: 'APP_IMAGE_MALFORMED' });
  const places = ['signature', 'description', 'runs'].flatMap((name) => {
    const { offset, length } = sectionOf(name);
    return [offset, offset + Math.floor(length / 2), offset + length - 1];
  });
  for (const at of [0, 7, 12, 16, ROW_AT, ROW_AT + 8, ROW_AT + 20, 2000, HEADER_BYTES - 1, ...places]) {
    const damaged = changed('damaged.img', (copy) => {
      copy[at] ^= 0x40;
      return undefined;
    });
    assert.throws(() => openAppImage(damaged), { code: 'APP_IMAGE_MALFORMED' }, `byte ${at}`);
  }
  const version = changed('version.img', (copy) => {
    copy.writeUInt32LE(2, 8);
    return undefined;
  });
  assert.throws(() => openAppImage(version), { code: 'APP_IMAGE_VERSION' });
  assert.throws(() => openAppImage(join(folder, 'missing.img')), { code: 'APP_IMAGE_UNREADABLE' });
  assert.throws(() => openAppImage(folder), { code: 'APP_IMAGE_MALFORMED' });
});

/** A table of pages that has all its digests right, and says what cannot be. */
function forged(name: string, change: (runs: Buffer) => void): string {
  return changed(name, (copy) => {
    const { offset, length } = sectionOf('runs');
    const runs = copy.subarray(offset, offset + length);
    change(runs);
    const row = ROW_AT + ROW_BYTES * 2;
    createHash('sha256')
      .update(runs)
      .digest()
      .copy(copy, row + 16);
    createHash('sha256')
      .update(copy.subarray(0, HEADER_BYTES - 32))
      .digest()
      .copy(copy, HEADER_BYTES - 32);
    return undefined;
  });
}

test('a table of pages that cannot be is refused, whatever its digests', () => {
  const changes: ((runs: Buffer) => void)[] = [
    (runs) => runs.writeBigUInt64LE(1n, 0),
    (runs) => runs.writeBigUInt64LE(1n << 60n, 0),
    (runs) => runs.writeBigUInt64LE(0n, 8),
    (runs) => runs.writeBigUInt64LE(1n << 40n, 8),
    (runs) => runs.writeUInt32LE(0x202, 16),
    (runs) => runs.writeUInt32LE(0x300, 16),
    (runs) => runs.writeUInt32LE(4, 20),
    (runs) => runs.writeBigUInt64LE(1n << 50n, 24),
    (runs) => runs.copy(runs, 32, 0, 32),
  ];
  for (const [i, change] of changes.entries())
    assert.throws(
      () => openAppImage(forged(`forged-${i}.img`, change)),
      { code: 'APP_IMAGE_MALFORMED' },
      `${i}`,
    );
});

test('changed pages are no enclave, and changed files of the root are found and not used', async () => {
  const pages = sectionOf('pages');
  const code = changed('code.img', (copy) => {
    copy[pages.offset + 5000] ^= 1;
    return undefined;
  });
  assert.deepEqual(inspectAppImage(code).damage, [
    'the section pages is damaged',
    'the signature is of other pages',
  ]);
  await assert.rejects(runFile(code, [program]), { code: 'SGX_IOCTL' });
  const root = sectionOf('root');
  const file = changed('file.img', (copy) => {
    for (let at = 100; at < root.length; at += 4096) copy[root.offset + at] ^= 1;
    return undefined;
  });
  const { damage } = inspectAppImage(file);
  assert.equal(damage[0], 'the section root is damaged');
  assert.ok(damage.includes(`${program} is not the file that was measured`));
  const found = await runFile(file, [program]);
  assert.equal(found.status, 127);
  assert.match(found.notes.join(), /not the one that was measured/);
});

test('the signature of another program is none', async () => {
  const other = assembleImage({ ...spec, memory: 32 * 2 ** 20 }, { key });
  const stolen = changed('stolen.img', (copy) => {
    copy.set(other.sigstruct, sectionOf('signature').offset);
    createHash('sha256')
      .update(other.sigstruct)
      .digest()
      .copy(copy, ROW_AT + 16);
    createHash('sha256')
      .update(copy.subarray(0, HEADER_BYTES - 32))
      .digest()
      .copy(copy, HEADER_BYTES - 32);
    return undefined;
  });
  assert.deepEqual(inspectAppImage(stolen).damage, ['the signature is of other pages']);
  await assert.rejects(runFile(stolen, [program]), { code: 'SGX_IOCTL' });
});

/** `runProgram` itself does not look at policies, as a host that does not care would not. */
test('the enclave holds its host to the policy', async () => {
  const entry = '/usr/bin/env';
  const build = (name: string, more: Partial<ImageSpec>) => {
    const at = join(folder, name);
    const environment = { set: ['A=of the image', 'B=default'], pass: ['B', 'C*'] };
    buildAppImage(at, { entry, copy: [], packages: [], environment, ...more }, { key });
    return at;
  };
  const fixed = build('fixed.img', { arguments: { values: ['X=1'] } });
  const prefix = build('prefix.img', { arguments: { values: ['X=1'], policy: 'prefix' } });
  const variables = async (at: string, argv: readonly string[], environment: string[]) => {
    const { status, stdout } = await runFile(at, argv, environment);
    assert.equal(status, 0);
    return stdout.trim().split('\n').sort();
  };
  assert.deepEqual(await variables(fixed, [entry, 'X=1'], ['B=host', 'CC=1']), [
    'A=of the image',
    'B=host',
    'CC=1',
    'X=1',
  ]);
  assert.deepEqual(await variables(prefix, [entry, 'X=1', 'Y=2'], []), [
    'A=of the image',
    'B=default',
    'X=1',
    'Y=2',
  ]);
  const refused: [at: string, argv: string[], environment: string[]][] = [
    [fixed, [entry], []],
    [fixed, [entry, 'X=1', 'Y=2'], []],
    [fixed, [entry, 'X=2'], []],
    [fixed, ['/usr/bin/enw', 'X=1'], []],
    [prefix, [entry, 'X=1Y'], []],
    [prefix, [entry], []],
    [prefix, [entry, 'X=1'], ['A=host']],
    [prefix, [entry, 'X=1'], ['LD_PRELOAD=x']],
    [prefix, [entry, 'X=1'], ['BB=1']],
    [prefix, [entry, 'X=1'], ['B']],
    [prefix, [entry, 'X=1'], ['']],
    [prefix, [entry, 'X=1'], [`C=${'x'.repeat(140_000)}`]],
  ];
  for (const [at, argv, environment] of refused)
    await assert.rejects(
      runFile(at, argv, environment),
      { code: 'PROGRAM_NOT_STARTED' },
      `${argv} ${environment}`.slice(0, 60),
    );
});
