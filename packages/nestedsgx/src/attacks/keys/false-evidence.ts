import { randomBytes } from 'node:crypto';
import { REPORT } from '@nestedsgx/arch';
import { type PolicyDocument, parsePolicy, verify } from '@nestedsgx/attest';
import { SGX_CALL } from '@nestedsgx/guest';
import { Cvm, quote, quotingTarget } from '@nestedsgx/sdk';
import { generator, text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import { launchOptions } from '../stage/machine.js';
import type { Stage } from '../stage/stage.js';
import { loadVictim, type Victim } from '../stage/victim.js';

const PAGE = 4096;
const FLIPS = 64;
const SGX = 0x4e53;

function reportOf(victim: Victim, target: Uint8Array, data: Uint8Array): Uint8Array {
  return victim.calls.report!(target, data) as Uint8Array;
}

/** Reports that this machine's EREPORT did not make for its quoting service. */
async function falseReports(stage: Stage, other: { report: Uint8Array }): Promise<Finding> {
  const { connection } = await stage.host();
  const calc = await stage.calc();
  const adversary = await stage.adversary(stage.cast.guest);
  const target = quotingTarget(connection);
  const data = new Uint8Array(randomBytes(64));
  const genuine = reportOf(calc, target, data);
  const elsewhere = reportOf(calc, new Uint8Array(target.length), data);
  const random = generator(stage.seed);
  const false_: [string, Uint8Array][] = [
    ['a report of another machine', other.report],
    ['a report for another target', elsewhere],
    ['no report at all', new Uint8Array(REPORT.size)],
    ['noise', new Uint8Array(randomBytes(REPORT.size))],
  ];
  for (let i = 0; i < FLIPS; i++) {
    const copy = genuine.slice();
    const bit = random() % (copy.length * 8);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    false_.push([`bit ${bit} flipped`, copy]);
  }
  const input = connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
  const output = connection.memory.alloc(4 * PAGE, { alignment: PAGE, zero: true });
  const codes = new Tally();
  const broken: string[] = [];
  for (const [what, bytes] of false_) {
    await adversary.act('poke', { gpa: input.gpa, bytes: text64(bytes) });
    const answer = await adversary.act('callAs', {
      vcpu: connection.vcpu.id,
      protocol: SGX,
      call: SGX_CALL.QUOTE,
      rcx: input.gpa,
      rdx: output.gpa,
      r8: 4 * PAGE,
    });
    codes.add(leafCode(answer.rax, 0));
    if (answer.rax === 0) broken.push(`quoted: ${what}`);
  }
  connection.memory.free(input);
  connection.memory.free(output);
  if (quote(connection, genuine).length === 0) broken.push('the genuine report is not quoted');
  return finding(
    stage.cast.guest.label,
    `QUOTE of ${false_.length} false reports: ${codes}; the genuine one is quoted`,
    broken,
  );
}

/** Evidence that was changed, and evidence of a machine whose root nobody pinned. */
async function falseQuotes(
  stage: Stage,
  other: { evidence: Uint8Array; launchDigest: string },
): Promise<Finding> {
  const { cvm } = await stage.machine();
  const calc = await stage.calc();
  const info = await cvm.info();
  const reportData = new Uint8Array(randomBytes(64));
  const genuine = calc.enclave.attest({ reportData });
  const document: PolicyDocument = {
    version: 1,
    nested: {
      mrenclave: [Buffer.from(calc.enclave.mrenclave).toString('hex')],
      launchDigest: [info.launchDigest],
      softwareRoots: [info.rootFingerprint],
      isolation: [stage.cast.isolation],
    },
  };
  const policy = parsePolicy(document);
  const appraise = async (evidence: Uint8Array, data?: Uint8Array, explain = false): Promise<string> => {
    try {
      const verdict = await verify(evidence, { policy, reportData: data });
      if (verdict.verdict === 'accepted') return 'accepted';
      const failed = verdict.checks.find((check) => check.status === 'failed');
      if (explain && failed !== undefined) return `${failed.id} (${failed.detail})`;
      return failed?.id ?? 'rejected';
    } catch (error) {
      return String((error as { code?: unknown }).code);
    }
  };
  const broken: string[] = [];
  const first = await appraise(genuine, reportData);
  if (first !== 'accepted') broken.push(`the genuine quote is rejected by ${first}, so this shows nothing`);
  const random = generator(stage.seed);
  const checks = new Tally();
  for (let i = 0; i < FLIPS; i++) {
    const copy = genuine.slice();
    const bit = random() % (copy.length * 8);
    copy[bit >> 3]! ^= 1 << (bit & 7);
    const answer = await appraise(copy, reportData);
    checks.add(answer);
    if (answer === 'accepted') broken.push(`accepted with bit ${bit} flipped`);
  }
  const foreign = await appraise(other.evidence, undefined, true);
  const same = other.launchDigest === info.launchDigest;
  if (foreign === 'accepted') broken.push("another machine's quote was accepted");
  return finding(
    'whoever carries the evidence',
    `${FLIPS} quotes with one bit flipped: rejected by ${checks}; a quote of another machine with ` +
      `${same ? 'the same' : 'another'} launch digest: rejected by ${foreign}; the genuine one is accepted`,
    broken,
  );
}

export const falseEvidence: Attack = Object.freeze({
  name: 'false-evidence',
  group: 'keys',
  by: 'whoever carries the data',
  control: 'the genuine report is quoted and the genuine quote accepted',
  title: 'evidence that this enclave on this machine did not give',
  tries:
    'QUOTE of changed reports, of reports for other targets and of another machine; quotes with bits flipped; a quote of ' +
    'another machine with the same launch digest',
  run: async (stage: Stage) => {
    const twin = await Cvm.launch(launchOptions(stage.cast, stage.options));
    let report: Uint8Array;
    let evidence: Uint8Array;
    let launchDigest: string;
    try {
      const { connection, device } = await twin.guest();
      const victim = loadVictim(device, stage.image('calc'));
      report = reportOf(victim, quotingTarget(connection), new Uint8Array(64));
      evidence = victim.enclave.attest();
      launchDigest = (await twin.info()).launchDigest;
      await victim.close();
    } finally {
      await twin.close();
    }
    return [await falseReports(stage, { report }), await falseQuotes(stage, { evidence, launchDigest })];
  },
});
