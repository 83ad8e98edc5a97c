import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, describe, test } from 'node:test';
import fc from 'fast-check';
import { readIdentity, readTcbInfo } from '../src/dcap/documents.js';
import {
  AttestError,
  decodeEvidence,
  type PolicyDocument,
  parseCertificate,
  parsePolicy,
  verify,
} from '../src/index.js';
import { parseRevocationList } from '../src/x509/crl.js';
import { hex, LAUNCH_DIGEST, MRENCLAVE, makeEvidence, TestMachine } from './producer.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 150);
const SEED = 0x4e53;
const settings = { seed: SEED, numRuns: RUNS };
const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/${name}`, import.meta.url)));

/** One change to a byte string: bits, a byte, a cut, an insertion, a copied stretch, an extreme length field. */
const mutation = fc.oneof(
  fc.record({ kind: fc.constant('flip' as const), at: fc.nat(), value: fc.nat(7) }),
  fc.record({
    kind: fc.constant('set' as const),
    at: fc.nat(),
    value: fc.constantFrom(0, 1, 0x7f, 0x80, 0x84, 0xff),
  }),
  fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), value: fc.nat(64) }),
  fc.record({ kind: fc.constant('insert' as const), at: fc.nat(), value: fc.nat(255) }),
  fc.record({ kind: fc.constant('copy' as const), at: fc.nat(), value: fc.nat(255) }),
);

type Mutation = typeof mutation extends fc.Arbitrary<infer T> ? T : never;

function apply(bytes: Uint8Array, mutations: Mutation[]): Uint8Array {
  let out: Uint8Array = bytes.slice();
  for (const { kind, at, value } of mutations) {
    if (out.length === 0) return out;
    const i = at % out.length;
    if (kind === 'flip') out[i]! ^= 1 << value;
    else if (kind === 'set') out[i] = value;
    else if (kind === 'cut') out = new Uint8Array([...out.subarray(0, i), ...out.subarray(i + value)]);
    else if (kind === 'insert') out = new Uint8Array([...out.subarray(0, i), value, ...out.subarray(i)]);
    else out.copyWithin(i, (i + value) % out.length, Math.min(out.length, ((i + value) % out.length) + 32));
  }
  return out;
}

const mutations = fc.array(mutation, { minLength: 1, maxLength: 4 });

/** Runs `action`; only an AttestError may come out. */
function typed(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof AttestError, `seed ${SEED}: ${String((error as Error).stack)}`);
  }
}

let machine: TestMachine;
let evidence: Uint8Array;
let policy: PolicyDocument;

before(async () => {
  machine = await TestMachine.make();
  evidence = await makeEvidence(machine);
  policy = {
    version: 1,
    nested: {
      mrenclave: [hex(MRENCLAVE)],
      launchDigest: [hex(LAUNCH_DIGEST)],
      softwareRoots: [machine.rootFingerprint],
    },
  };
  console.log(`fuzz seed ${SEED}, ${RUNS} runs a property`);
});

describe('hostile bytes', () => {
  test('mutated evidence is never accepted and never throws', async () => {
    const time = '2026-11-01T00:00:00Z';
    assert.equal((await verify(evidence, { policy, time })).verdict, 'accepted');
    await fc.assert(
      fc.asyncProperty(mutations, async (list) => {
        const bytes = apply(evidence, list);
        typed(() => decodeEvidence(bytes));
        const verdict = await verify(bytes, { policy, time });
        const same = bytes.length === evidence.length && bytes.every((byte, i) => byte === evidence[i]);
        assert.equal(verdict.verdict, same ? 'accepted' : 'rejected');
      }),
      settings,
    );
  });

  test('mutated reports, certificates and quotes are refused or unchanged', async () => {
    const report = vector('snp/milan-v2.report.bin');
    const vcek = vector('snp/milan-v2.vcek.der');
    const quote = vector('dcap/sgx_quote');
    const time = '2025-07-01T00:00:00Z';
    await fc.assert(
      fc.asyncProperty(mutations, fc.nat(2), async (list, which) => {
        const target = [report, vcek, quote][which]!;
        const bytes = apply(target, list);
        const same = bytes.length === target.length && bytes.every((byte, i) => byte === target[i]);
        const options = { time, collateral: { vcek: which === 1 ? bytes : vcek } };
        const verdict = await verify(which === 1 ? report : bytes, options);
        if (!same) assert.equal(verdict.verdict, 'rejected');
        typed(() => decodeEvidence(bytes));
      }),
      settings,
    );
  });

  test('random bytes give typed errors everywhere', async () => {
    const genuine = JSON.parse(new TextDecoder().decode(vector('dcap/sgx_quote_collateral.json'))) as Record<
      string,
      string
    >;
    const crl = new Uint8Array(Buffer.from(genuine['pck_crl']!, 'hex'));
    const info = new TextEncoder().encode(
      `{"tcbInfo":${genuine['tcb_info']!},"signature":"${genuine['tcb_info_signature']!}"}`,
    );
    assert.ok(parseRevocationList(crl).serials.size >= 0);
    assert.equal(readTcbInfo(info).value.id, 'SGX');
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2048 }), mutations, async (random, list) => {
        const bytes = new Uint8Array(random);
        for (const input of [bytes, apply(crl, list), apply(info, list)]) {
          typed(() => decodeEvidence(input));
          typed(() => parseCertificate(input));
          typed(() => parseRevocationList(input));
          typed(() => readTcbInfo(input));
          typed(() => readIdentity(input));
          assert.equal((await verify(input)).verdict, 'rejected');
        }
      }),
      settings,
    );
  });

  test('random policies are refused or keep the strict defaults', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (a, b) => {
        typed(() => parsePolicy(a));
        typed(() => parsePolicy({ version: 1, nested: a, snp: b } as never));
        typed(() => {
          const parsed = parsePolicy({ version: 1, nested: { allowDebug: a, isolation: b } } as never);
          assert.equal(typeof parsed.nested.allowDebug, 'boolean');
          assert.deepEqual(parsed.nested.softwareRoots, []);
        });
      }),
      settings,
    );
  });
});
