/**
 * Damaged evidence, certificates and collateral: never an untyped error, never a hang, and accepted only when all that is
 * signed or compared is what it was. One million cases in `npm run soak`. A case is repeated alone with
 * NSGX_SEED=<seed> NSGX_CASE=<number>.
 */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { portableCrypto } from '../src/crypto/portable.js';
import { readIdentity, readTcbInfo } from '../src/dcap/documents.js';
import {
  AttestError,
  collateralNeeds,
  decodeEvidence,
  forgetSignatures,
  formatVerdict,
  parseCertificate,
  parsePolicyText,
  parseRevocationList,
  readCertificates,
  useCrypto,
  type Verdict,
  verify,
} from '../src/index.js';
import { mutationTargets, type Target } from './mutation-targets.js';
import { mutated } from './mutations.js';
import { caseSeed, SEED, Seeded, SOAK } from './seeded.js';

const CASES = Number(process.env['NSGX_MUTATIONS'] ?? (SOAK ? 1_000_000 : 4_000));
const ONLY = process.env['NSGX_CASE'] === undefined ? null : Number(process.env['NSGX_CASE']);
/** Far above what a case takes (a millisecond, in plain JavaScript a hundred) on a busy machine, far below a hang. */
const SLOW_MS = 20_000;

let targets: Target[];
let undamaged: string[];
before(async () => {
  targets = await mutationTargets();
  undamaged = targets.map(({ decoded, bytes }) => decoded(bytes));
});

/** Runs `action`; only an AttestError may come out. */
function typed(where: string, action: () => unknown): void {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof AttestError, `${where}: ${String((error as Error).stack)}`);
  }
}

function readByEveryParser(where: string, bytes: Uint8Array): void {
  const readers: ((input: Uint8Array) => unknown)[] = [
    decodeEvidence,
    collateralNeeds,
    parseCertificate,
    parseRevocationList,
    readTcbInfo,
    readIdentity,
    (input) => readCertificates(input, 'The input'),
    (input) => parsePolicyText(Buffer.from(input).toString('latin1')),
  ];
  for (const reader of readers) typed(where, () => reader(bytes));
}

const judge = (target: Target, bytes: Uint8Array): Promise<Verdict> =>
  verify(target.request(bytes).evidence, {
    policy: target.policy,
    time: target.time,
    collateral: target.request(bytes).collateral,
  });

/** Browsers have no OpenSSL: what it refuses, noble must refuse for the same reason, and not with an error. */
async function judgeInPlainJavaScript(
  where: string,
  target: Target,
  bytes: Uint8Array,
  verdict: Verdict,
): Promise<void> {
  forgetSignatures();
  useCrypto(portableCrypto);
  try {
    assert.deepEqual((await judge(target, bytes)).checks, verdict.checks, where);
  } finally {
    useCrypto(null);
    forgetSignatures();
  }
}

test('undamaged, every target is accepted', async () => {
  for (const target of targets) {
    const verdict = await judge(target, target.bytes);
    assert.equal(verdict.verdict, 'accepted', `${target.name}\n${formatVerdict(verdict)}`);
  }
});

test('damaged, it is refused or says the same', async () => {
  const others = targets.map(({ bytes }) => bytes);
  const accepted = new Map<string, number>();
  let slowest = 0;
  const [first, last] = ONLY === null ? [0, CASES] : [ONLY, ONLY + 1];
  for (let n = first; n < last; n++) {
    const random = new Seeded(caseSeed(SEED, n));
    const which = random.below(targets.length);
    const target = targets[which]!;
    const bytes = mutated(random, target.bytes, others);
    const where = `NSGX_SEED=${SEED} NSGX_CASE=${n}, ${target.name}`;
    const started = performance.now();
    let verdict: Verdict;
    try {
      verdict = await judge(target, bytes);
    } catch (error) {
      assert.fail(`${where}: ${String((error as Error).stack)}`);
    }
    if (n % 100 === 0 || ONLY !== null) await judgeInPlainJavaScript(where, target, bytes, verdict);
    if (n % 16 === 0 || ONLY !== null) readByEveryParser(where, bytes);
    slowest = Math.max(slowest, performance.now() - started);
    assert.ok(slowest < SLOW_MS, `${where} took ${slowest} ms`);
    if (verdict.verdict === 'rejected') continue;
    assert.equal(target.decoded(bytes), undamaged[which], `${where} is accepted with other contents`);
    if (!Buffer.from(bytes).equals(target.bytes))
      accepted.set(target.name, (accepted.get(target.name) ?? 0) + 1);
  }
  console.log(
    `seed ${SEED}, ${last - first} mutations of ${targets.length} kinds, slowest ${slowest.toFixed(0)} ms; ` +
      `accepted because nothing signed or compared changed: ${JSON.stringify(Object.fromEntries(accepted))}`,
  );
});
