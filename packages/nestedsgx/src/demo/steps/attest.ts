import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type PolicyDocument, type Verdict, verify } from '@nestedsgx/attest';
import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';
import { loadCalc, type TourImages } from './enclave.js';

/** Quotes the enclave, verifies, and shows what a verifier refuses. Leaves evidence and policy in the tour's folder. */
export async function attest(tour: Tour, cvm: Cvm, images: TourImages): Promise<void> {
  tour.begin('Attest it, verify, and see what a verifier refuses');
  const { launchDigest, rootFingerprint, isolation } = await cvm.info();
  const calc = await loadCalc(cvm, images);
  const reportData = new Uint8Array(randomBytes(64));
  const evidence = calc.attest({ reportData });
  const policy: PolicyDocument = {
    version: 1,
    nested: {
      mrenclave: [images.mrenclave],
      launchDigest: [launchDigest],
      softwareRoots: [rootFingerprint],
      isolation: [isolation],
    },
  };
  writeFileSync(join(tour.folder, 'evidence.bin'), evidence);
  writeFileSync(join(tour.folder, 'policy.json'), `${JSON.stringify(policy, null, 2)}\n`);
  writeFileSync(join(tour.folder, 'report-data.hex'), `${Buffer.from(reportData).toString('hex')}\n`);
  tour.record(
    'a quote with a fresh challenge',
    `${evidence.length} bytes: Quote v3, SNP report, VCEK, ASK, ARK`,
  );
  const good = await verify(evidence, { policy, reportData });
  const okCount = good.checks.filter((check) => check.status === 'ok').length;
  tour.record(
    'verified against a policy',
    `${good.verdict}, ${okCount} checks ok`,
    good.verdict === 'accepted',
  );
  expectRejection(
    tour,
    'the default policy, which accepts no same-user machine',
    await verify(evidence, {
      policy: { version: 1, nested: { ...policy.nested, isolation: undefined } },
      reportData,
    }),
    'isolation',
  );
  const changed = Uint8Array.from(evidence);
  changed[48 + 64]! ^= 1; // the first byte of MRENCLAVE in the report body
  writeFileSync(join(tour.folder, 'evidence-changed.bin'), changed);
  expectRejection(
    tour,
    'the same quote with one bit changed',
    await verify(changed, { policy, reportData }),
    'quote.signature',
  );
  expectRejection(
    tour,
    'the same quote for another challenge',
    await verify(evidence, { policy, reportData: new Uint8Array(64) }),
    'report-data',
  );
  await calc.close();

  const other = await tour.launch('third-chip');
  const otherInfo = await other.info();
  const otherCalc = await loadCalc(other, images);
  const otherEvidence = otherCalc.attest({ reportData });
  const verdict = await verify(otherEvidence, { policy, reportData });
  const same = otherInfo.launchDigest === launchDigest ? 'the same launch digest' : 'ANOTHER launch digest';
  expectRejection(tour, `a quote of another machine (${same})`, verdict, 'snp.chain');
  await other.close();
}

function expectRejection(tour: Tour, what: string, verdict: Verdict, id: string): void {
  const check = verdict.checks.find((candidate) => candidate.id === id);
  const ok = verdict.verdict === 'rejected' && check?.status === 'failed';
  tour.record(
    what,
    `${verdict.verdict}: ${id} ${check?.status ?? 'missing'} because ${shorten(check?.detail ?? '')}`,
    ok,
  );
}

function shorten(text: string): string {
  return text.length > 110 ? `${text.slice(0, 107)}...` : text;
}
