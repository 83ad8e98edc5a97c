/**
 * Verifications of genuine evidence a second, on one core, beside `@phala/dcap-qvl` in the same run on the same
 * quotes with the same collateral, and beside the signatures that have to be verified at the least.
 */
import {
  type CryptoProvider,
  forgetSignatures,
  formatVerdict,
  prepareCollateral,
  useCrypto,
  verify,
} from '@nestedsgx/attest';
import { nodeCrypto } from '@nestedsgx/attest/node';
import type { Bench, BenchContext, Row } from '../row.js';
import { median } from '../statistics.js';
import { type Sample, samples } from './samples.js';

/** How much of earlier appraisals is reused. */
const FORMS = {
  cold: 'nothing is remembered but imported public keys: every certificate, list and document is read and verified again',
  parsed: 'collateral is read at each call; good signatures of authorities are remembered',
  prepared: 'collateral prepared once; good signatures of authorities are remembered',
} as const;

type Form = keyof typeof FORMS;
type Work = () => Promise<void> | void;
type PeerVerify = (quote: Uint8Array, collateral: unknown, seconds: number) => unknown;

/** The other library, when it is installed: it is needed for nothing but this comparison. */
async function peerVerify(): Promise<PeerVerify | null> {
  const name = '@phala/dcap-qvl';
  try {
    return ((await import(name)) as { verify: PeerVerify }).verify;
  } catch {
    return null;
  }
}

function appraisal({ evidence, policy, time, collateral }: Sample, form: Form): Work {
  const given = form === 'prepared' ? prepareCollateral(collateral) : collateral;
  return async () => {
    if (form === 'cold') forgetSignatures();
    const verdict = await verify(evidence, { policy, time, collateral: given });
    if (verdict.verdict !== 'accepted') throw new Error(`the sample is rejected:\n${formatVerdict(verdict)}`);
  };
}

/** Which signatures `work` verifies, as calls of OpenSSL with nothing around them. */
async function signaturesOf(work: Work): Promise<(() => boolean)[]> {
  const calls: (() => boolean)[] = [];
  const recorded = (call: () => boolean): boolean => {
    calls.push(call);
    return call();
  };
  const recording: CryptoProvider = {
    name: 'recording',
    digest: nodeCrypto.digest,
    verifyEcdsa: (...signature) => recorded(() => nodeCrypto.verifyEcdsa(...signature)),
    verifyRsaPss: (...signature) => recorded(() => nodeCrypto.verifyRsaPss(...signature)),
  };
  useCrypto(recording);
  try {
    await work();
    calls.length = 0;
    await work();
  } finally {
    useCrypto(null);
  }
  return calls;
}

/** Calls of `work` a second, over so many milliseconds. */
async function rate(work: Work, milliseconds: number): Promise<number> {
  const start = performance.now();
  let count = 0;
  let passed = 0;
  while (passed < milliseconds) {
    await work();
    count++;
    passed = performance.now() - start;
  }
  return (count * 1000) / passed;
}

/** What is measured in turn: each form, its signatures alone, and the other library. */
async function worksOf(sample: Sample, peer: PeerVerify | null): Promise<Map<string, Work>> {
  const works = new Map<string, Work>();
  for (const form of Object.keys(FORMS) as Form[]) {
    const work = appraisal(sample, form);
    const calls = await signaturesOf(work);
    works.set(form, work);
    works.set(`${form} floor ${calls.length}`, () => {
      for (const call of calls) call();
    });
  }
  if (peer !== null && sample.peerCollateral !== null) {
    const seconds = Date.parse(sample.time) / 1000;
    works.set('peer', () => void peer(sample.evidence, sample.peerCollateral, seconds));
  }
  return works;
}

async function sampleRows(sample: Sample, peer: PeerVerify | null, context: BenchContext): Promise<Row[]> {
  const works = await worksOf(sample, peer);
  const [rounds, window] = context.short ? [2, 10] : [15, 150];
  const rates = new Map<string, number[]>([...works.keys()].map((key) => [key, []]));
  for (const work of works.values()) await rate(work, window);
  for (let round = 0; round < rounds; round++)
    for (const [key, work] of works) rates.get(key)?.push(await rate(work, window));
  const peerRates = rates.get('peer');
  const keys = [...works.keys()];
  return (Object.keys(FORMS) as Form[]).map((form) => {
    const floor = keys.find((key) => key.startsWith(`${form} floor`)) as string;
    const count = Number(floor.split(' ').at(-1));
    const signatures = count === 1 ? 'the one signature' : `the ${count} signatures`;
    const beside =
      peerRates === undefined ? '' : '; the peer, @phala/dcap-qvl, reads and verifies all of it at each call';
    return {
      name: sample.name,
      form,
      value: median(rates.get(form) as number[]),
      unit: '/s',
      p99: null,
      floor: median(rates.get(floor) as number[]),
      peer: peerRates === undefined ? null : median(peerRates),
      paper: null,
      note: `${FORMS[form]}; the floor is the rate of OpenSSL at ${signatures} that are left${beside}`,
    };
  });
}

export const attest: Bench = {
  name: 'attest',
  summary: 'verification of DCAP quotes and SNP reports, beside @phala/dcap-qvl',
  async run(context) {
    const found = samples();
    const nothing = { value: null, unit: '/s', p99: null, floor: null, peer: null, paper: null };
    if (found === null)
      return [{ name: 'attest', form: '', ...nothing, note: 'the samples are in the repository only' }];
    const peer = await peerVerify();
    const rows: Row[] = [];
    for (const sample of found) {
      context.note(`${sample.name}: verifications a second`);
      rows.push(...(await sampleRows(sample, peer, context)));
    }
    return rows;
  },
};
