import assert from 'node:assert/strict';
import { test } from 'node:test';
import { signSigstruct } from '@nestedsgx/arch';
import fc from 'fast-check';
import { checkInvariants, type LeafOutcome } from '../src/index.js';
import { Model, type ModelResult } from './support/model.js';
import { AT, BASE, GOOD_SECS, SIZE, signer, tcsPage, World } from './support/world.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 300);
const SEED = Number(process.env['NSGX_FUZZ_SEED'] ?? 20_240_211);

type Step =
  | { op: 'ecreate'; frame: number; base: number; size: number }
  | { op: 'eadd'; frame: number; secs: number; address: number; type: 'TCS' | 'REG' | 'VA'; rwx: number }
  | { op: 'eextend'; secs: number; frame: number }
  | { op: 'einit'; secs: number; good: boolean }
  | { op: 'eremove'; frame: number; inside: boolean };

// Frames 0…5 collide often; 50 is another connection's, 99 is outside the EPC.
const frame = fc.oneof({ weight: 20, arbitrary: fc.integer({ min: 0, max: 5 }) }, fc.constantFrom(50, 99));
const secs = fc.oneof({ weight: 20, arbitrary: fc.constantFrom(0, 0, 0, 1) }, fc.constantFrom(50, 99));
const base = fc.constantFrom(BASE, BASE + SIZE, BASE + 4096);
const address = fc.constantFrom(
  BASE,
  BASE + 0x1000,
  BASE + 0x2000,
  BASE + SIZE,
  BASE + SIZE - 0x1000,
  BASE + 8,
);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('ecreate' as const),
      frame: fc.oneof({ weight: 4, arbitrary: secs }, frame),
      base: fc.oneof({ weight: 6, arbitrary: fc.constant(BASE) }, base),
      size: fc.oneof({ weight: 8, arbitrary: fc.constant(SIZE) }, fc.constantFrom(0x3000, 0x1000)),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      op: fc.constant('eadd' as const),
      frame,
      secs,
      address,
      type: fc.constantFrom('TCS' as const, 'REG' as const, 'REG' as const, 'REG' as const, 'VA' as const),
      rwx: fc.integer({ min: 0, max: 7 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('eextend' as const), secs, frame }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('einit' as const), secs, good: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ op: fc.constant('eremove' as const), frame, inside: fc.boolean() }) },
);

function resultOf(outcome: LeafOutcome): ModelResult {
  if (outcome.kind === 'done') return 'ok';
  if (outcome.kind === 'error') return outcome.rax;
  if (outcome.kind === 'refused') return 'refused';
  return outcome.vector === 13 ? 'gp' : 'pf';
}

function onMonitor(w: World, s: Step): LeafOutcome {
  switch (s.op) {
    case 'ecreate':
      return w.create({ ...GOOD_SECS, BASEADDR: BigInt(s.base), SIZE: BigInt(s.size) }, s.frame);
    case 'eadd': {
      const type = { TCS: 0x100, REG: 0x200, VA: 0x300 }[s.type];
      return w.add(s.frame, s.address, type | s.rwx, s.type === 'TCS' ? tcsPage() : s.frame, s.secs);
    }
    case 'eextend':
      return w.extend(s.frame, 1, s.secs);
    case 'einit': {
      const enclave = w.enclave(s.secs);
      if (enclave !== undefined) enclave.gates = { gpa: AT.GATES, count: 16 };
      const hash = s.good && enclave !== undefined ? enclave.measurement.digest() : new Uint8Array(32);
      const sig = signSigstruct({ ENCLAVEHASH: hash, ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } }, signer());
      return w.init(sig, undefined, s.secs);
    }
    default: {
      for (const running of w.processor.running) running.inside = s.inside;
      return w.remove(s.frame);
    }
  }
}

function onModel(m: Model, s: Step): ModelResult {
  switch (s.op) {
    case 'ecreate':
      return m.ecreate(s.frame, s.base, s.size);
    case 'eadd':
      return m.eadd(s.frame, s.secs, s.address, s.type, s.rwx);
    case 'eextend':
      return m.eextend(s.secs, s.frame);
    case 'einit':
      return m.einit(s.secs, s.good);
    default:
      return m.eremove(s.frame, s.inside);
  }
}

const TYPES = ['SECS', 'TCS', 'REG'] as const;

function compare(w: World, m: Model): void {
  const { epcm } = w.s;
  for (let f = 0; f < 8; f++) {
    const page = m.frames[f];
    assert.equal(epcm.valid(f), page !== null, `frame ${f} VALID`);
    if (page === null) continue;
    const bits = epcm.bits(f);
    assert.deepEqual(
      [TYPES[epcm.type(f)], epcm.address(f), (bits & 1) !== 0, (bits & 2) !== 0, (bits & 4) !== 0],
      [page.type, page.address, page.r, page.w, page.x],
      `frame ${f}`,
    );
    if (page.type === 'SECS') assert.equal(w.enclave(f).initialized, page.initialized);
    else assert.equal(epcm.secs(f), page.secs);
  }
}

test(`random leaf sequences agree with the model (seed ${SEED}, ${RUNS} runs)`, () => {
  signer();
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60, size: 'max' }), (steps) => {
      const w = new World();
      const m = new Model(64, 48);
      for (const s of steps) {
        const expected = onModel(m, s);
        const actual = resultOf(onMonitor(w, s));
        assert.equal(actual, expected, JSON.stringify(s));
        compare(w, m);
        const key = `${s.op}:${actual}`;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
      checkInvariants(w.s, [w.owner, w.other]);
    }),
    { seed: SEED, numRuns: RUNS },
  );
  if (RUNS >= 300) {
    for (const key of [
      'ecreate:ok',
      'eadd:ok',
      'eadd:gp',
      'eadd:pf',
      'eextend:ok',
      'einit:ok',
      'einit:4',
      'eremove:13',
      'eremove:14',
    ])
      assert.ok(seen.has(key), `${key} was never reached: ${JSON.stringify(Object.fromEntries(seen))}`);
  }
});
