/** Damaged images, signatures, descriptions, policies and evidence: a typed error, and a machine that goes on. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parsePolicyText, verify } from '../../src/attest.js';
import { type Cvm, sampleImage } from '../../src/index.js';
import { type Calc, codeOf, FUZZ_RUNS, launch, load, random, randomBytes, SEED } from './observe.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-images-'));
const good = sampleImage('calc').replace(/\.sgxs$/, '');
const KINDS = ['sgxs', 'sig', 'json'] as const;
const files = Object.fromEntries(KINDS.map((kind) => [kind, readFileSync(`${good}.${kind}`)])) as Record<
  (typeof KINDS)[number],
  Buffer
>;
let cvm: Cvm;
let other: Calc;
before(async () => {
  cvm = await launch();
  other = await load(cvm);
});
after(async () => {
  await cvm?.close();
  rmSync(folder, { recursive: true });
});

type Damage = (bytes: Buffer, next: () => number) => Uint8Array;

const DAMAGES: Record<string, Damage> = {
  truncated: (bytes, next) => bytes.subarray(0, Math.floor(next() * bytes.length)),
  longer: (bytes, next) => Buffer.concat([bytes, randomBytes(next, 1 + Math.floor(next() * 9000))]),
  random: (bytes, next) => randomBytes(next, Math.floor(next() * Math.min(bytes.length, 20_000))),
  'bits flipped': (bytes, next) => {
    const copy = Buffer.from(bytes);
    for (let i = 0; i < 1 + next() * 4; i++) copy[Math.floor(next() * copy.length)] ^= 1 << (next() * 8);
    return copy;
  },
  'a run overwritten': (bytes, next) => {
    const copy = Buffer.from(bytes);
    copy.set(randomBytes(next, Math.min(64, copy.length >> 1)), Math.floor(next() * (copy.length >> 1)));
    return copy;
  },
  'early bits flipped': (bytes, next) => {
    const copy = Buffer.from(bytes);
    copy[Math.floor(next() * 512)] ^= 1 << (next() * 8);
    return copy;
  },
};

/** Writes the sample with one file replaced. */
function write(name: string, kind: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  for (const one of KINDS) copyFileSync(`${good}.${one}`, `${path}.${one}`);
  writeFileSync(`${path}.${kind}`, bytes);
  return `${path}.sgxs`;
}

/** The code of loading and calling; `'none'` when all went well. */
function tryImage(path: string): Promise<string> {
  return codeOf(async () => {
    await using e = await cvm.load(path, { ocalls: {} });
    // A damaged description may name the function otherwise.
    if (typeof e.ecalls.add === 'function') assert.equal(e.ecalls.add(2, 3), 5);
  });
}

for (const kind of KINDS)
  test(`damaged .${kind} files are refused with a typed error`, async (t) => {
    t.diagnostic(`seed ${SEED}`);
    const next = random(SEED + kind.length);
    const codes: Record<string, number> = {};
    const names = Object.keys(DAMAGES);
    for (let i = 0; i < FUZZ_RUNS; i++) {
      const damage = names[i % names.length];
      const bytes = DAMAGES[damage](files[kind], next);
      if (Buffer.from(bytes).equals(files[kind])) continue;
      const path = write('case', kind, bytes);
      const code = await tryImage(path);
      if (/^untyped/.test(code)) writeFileSync(join(tmpdir(), `nsgx-case.${kind}`), bytes);
      assert.doesNotMatch(code, kind === 'json' ? /^untyped/ : /^(untyped|ERR_)/, `run ${i}, ${damage}`);
      codes[code] = (codes[code] ?? 0) + 1;
      // A signature covers every byte that is measured; what it does not cover may change.
      if (kind === 'sig' && (damage === 'truncated' || damage === 'random'))
        assert.notEqual(code, 'none', `run ${i}, ${damage}`);
    }
    t.diagnostic(JSON.stringify(codes));
    assert.ok(Object.keys(codes).some((code) => code !== 'none'));
    assert.equal(other.ecalls.add(2, 3), 5);
    assert.equal((await cvm.ps()).length, 1);
  });

test('files that are far too large are refused without being read', async () => {
  for (const kind of KINDS) {
    const path = write('large', kind, files[kind]);
    truncateSync(path.replace(/sgxs$/, kind), 64 * 2 ** 30);
    const start = performance.now();
    const code = await tryImage(path);
    assert.doesNotMatch(code, /^(untyped|none|ERR_)/, `${kind}: ${code}`);
    assert.ok(performance.now() - start < 5000, `${kind}: ${performance.now() - start} ms`);
    rmSync(path.replace(/sgxs$/, kind));
  }
  for (const path of ['/nowhere/at/all.sgxs', folder, '/dev/zero'])
    assert.doesNotMatch(await tryImage(path), /^(untyped|none|ERR_)/, path);
  assert.equal(other.ecalls.add(2, 3), 5);
});

test('descriptions that ask for the impossible are refused', async () => {
  const base = JSON.parse(files.json.toString()) as Record<string, unknown>;
  for (const change of [
    { ecalls: null },
    { ecalls: [{ name: 'x'.repeat(100_000) }] },
    { ecalls: [{ name: '__proto__' }, { name: 'constructor', params: [{ name: 'a', type: 'nothing' }] }] },
    { ecalls: Array.from({ length: 100_000 }, (_, i) => ({ name: `f${i}` })) },
    { ecalls: [{ name: 'add' }, { name: 'add' }] },
    { ocalls: 7 },
  ]) {
    const code = await codeOf(() => load(cvm, 'calc').then((e) => e.close()));
    assert.equal(code, 'none');
    const path = write('description', 'json', Buffer.from(JSON.stringify({ ...base, ...change })));
    assert.doesNotMatch(await tryImage(path), /^(untyped|none)/, JSON.stringify(change).slice(0, 80));
  }
  assert.equal(other.ecalls.add(2, 3), 5);
});

test('damaged evidence is rejected or a typed error, never accepted; damaged policies are typed errors', async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const next = random(SEED + 9);
  const reportData = new Uint8Array(64).fill(1);
  const evidence = Buffer.from(other.attest({ reportData }));
  const { launchDigest, rootFingerprint } = await cvm.info();
  const nested = {
    mrenclave: [Buffer.from(other.mrenclave).toString('hex')],
    launchDigest: [launchDigest],
    softwareRoots: [rootFingerprint],
    isolation: ['same-user' as const],
  };
  const policy = { version: 1 as const, nested };
  assert.equal((await verify(evidence, { policy, reportData })).verdict, 'accepted');
  const text = Buffer.from(JSON.stringify(policy));
  const outcomes: Record<string, number> = {};
  for (let i = 0; i < FUZZ_RUNS; i++) {
    const names = Object.keys(DAMAGES);
    const damage = names[i % names.length];
    const bytes = DAMAGES[damage](evidence, next);
    if (!Buffer.from(bytes).equals(evidence)) {
      let verdict = '';
      const code = await codeOf(async () => {
        ({ verdict } = await verify(bytes, { policy, reportData }));
      });
      assert.doesNotMatch(code, /^untyped/, `run ${i}, ${damage}`);
      if (code === 'none') assert.equal(verdict, 'rejected', `run ${i}, ${damage}`);
      const outcome = code === 'none' ? verdict : code;
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    const changed = Buffer.from(DAMAGES[damage](text, next)).toString('latin1');
    const code = await codeOf(() => parsePolicyText(changed));
    assert.doesNotMatch(code, /^untyped/, `policy, run ${i}, ${damage}`);
  }
  t.diagnostic(JSON.stringify(outcomes));
});
