import { createPublicKey, randomBytes, sign } from 'node:crypto';
import { encodeQuote3, parseQuote3, QUOTE3_SIGNED_BYTES, type Quote3, REPORT_BODY } from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { parsePolicy, verify } from '@nestedsgx/attest';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { loadVictim } from '../stage/victim.js';
import { onTwin } from './machine-twin.js';

/** An attestation key of the attacker's own. */
function forger(): (quote: Quote3) => Quote3 {
  const privateKey = freshKey({ curve: 'P-256' });
  const attestationKey = new Uint8Array(
    createPublicKey(privateKey).export({ format: 'der', type: 'spki' }).subarray(-64),
  );
  return (quote) => {
    const unsigned = encodeQuote3({ ...quote, attestationKey });
    const signature = sign('sha256', unsigned.subarray(0, QUOTE3_SIGNED_BYTES), {
      key: privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    return { ...quote, attestationKey, signature: new Uint8Array(signature) };
  };
}

export const splicedEvidence: Attack = Object.freeze({
  name: 'spliced-evidence',
  group: 'keys',
  by: 'whoever carries the data',
  title: 'put evidence together from parts',
  tries:
    "quotes re-signed with the attacker's own key, with another MRENCLAVE, with DEBUG; the SNP report and certificates of another machine of the " +
    'same installation; keys, signatures and bodies of two machines exchanged; parts cut off, repeated and of another type',
  control: 'the genuine quote is accepted by the same policy, and the re-signed one has a right signature',
  run: async (stage: Stage) => {
    const { cvm } = await stage.machine();
    const calc = await stage.calc();
    const info = await cvm.info();
    const reportData = new Uint8Array(randomBytes(64));
    const genuine = calc.enclave.attest({ reportData });
    const other = await onTwin(stage, async (device) => {
      const victim = loadVictim(device, stage.image('calc'));
      const quote = victim.enclave.attest({ reportData });
      await victim.close();
      return quote;
    });
    const policy = parsePolicy({
      version: 1,
      nested: {
        mrenclave: [Buffer.from(calc.enclave.mrenclave).toString('hex')],
        launchDigest: [info.launchDigest],
        softwareRoots: [info.rootFingerprint],
        isolation: [stage.cast.isolation],
      },
    });
    const appraise = async (evidence: Uint8Array): Promise<string> => {
      try {
        const { verdict, checks } = await verify(evidence, { policy, reportData });
        return verdict === 'accepted'
          ? 'accepted'
          : (checks.find(({ status }) => status === 'failed')?.id ?? 'rejected');
      } catch (error) {
        return String((error as { code?: unknown }).code);
      }
    };
    const broken: (string | false)[] = [];
    const first = await appraise(genuine);
    broken.push(first !== 'accepted' && `the genuine quote is rejected by ${first}, so this shows nothing`);
    const mine = parseQuote3(genuine);
    const theirs = parseQuote3(other);
    const vault = await stage.vault();
    const neighbour = parseQuote3(vault.enclave.attest({ reportData }));
    const resign = forger();
    const body = (change: (bytes: Uint8Array) => void) => {
      const copy = mine.reportBody.slice();
      change(copy);
      return copy;
    };
    const certification = mine.certificationData;
    const splices: [string, Quote3][] = [
      ["re-signed with the attacker's key", resign(mine)],
      [
        'another MRENCLAVE, re-signed',
        resign({
          ...mine,
          reportBody: body((b) =>
            b.fill(7, REPORT_BODY.offsets.MRENCLAVE, REPORT_BODY.offsets.MRENCLAVE + 32),
          ),
        }),
      ],
      [
        'another REPORTDATA, re-signed',
        resign({ ...mine, reportBody: body((b) => b.fill(0, REPORT_BODY.offsets.REPORTDATA)) }),
      ],
      [
        'DEBUG, re-signed',
        resign({
          ...mine,
          reportBody: body((b) => {
            b[REPORT_BODY.offsets.ATTRIBUTES]! |= 2;
          }),
        }),
      ],
      ["another machine's certification data", { ...mine, certificationData: theirs.certificationData }],
      [
        "another machine's key and signature",
        { ...mine, attestationKey: theirs.attestationKey, signature: theirs.signature },
      ],
      ["another enclave's body", { ...mine, reportBody: neighbour.reportBody }],
      ["this body under another enclave's signature", { ...neighbour, reportBody: mine.reportBody }],
      [
        "this machine's certification data under another's quote",
        { ...theirs, certificationData: certification },
      ],
      [
        "re-signed, with another machine's certification data",
        resign({ ...mine, certificationData: theirs.certificationData }),
      ],
      ['no certification data', { ...mine, certificationData: new Uint8Array(0) }],
      ['certification data cut short', { ...mine, certificationData: certification.subarray(0, -40) }],
      [
        'certification data twice',
        { ...mine, certificationData: Buffer.concat([certification, certification]) },
      ],
      ['another type of certification data', { ...mine, certificationDataType: 5 }],
      ['an empty signature', { ...mine, signature: new Uint8Array(64) }],
      ['an empty key', { ...mine, attestationKey: new Uint8Array(64) }],
    ];
    const tally = new Tally();
    for (const [what, quote] of splices) {
      const answer = await appraise(encodeQuote3(quote));
      tally.add(answer);
      broken.push(answer === 'accepted' && `accepted: ${what}`);
    }
    const whole = await appraise(other);
    tally.add(whole);
    broken.push(whole === 'accepted' && "another machine's whole quote was accepted");
    return [
      finding(
        'whoever carries the evidence',
        `${tally.total} splices: rejected by ${tally}; the genuine one is accepted`,
        broken,
      ),
    ];
  },
});
