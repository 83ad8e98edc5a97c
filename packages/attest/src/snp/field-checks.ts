/** The checks on an SNP report that compare its own fields with the policy and with each other. */
import { type Appraisal, failed, type Outcome, ok, unasked } from '../appraisal.js';
import { toHex } from '../bytes.js';
import type { FirmwareVersion } from './report.js';
import { pinned, type SnpSubject } from './subject.js';
import { type SnpTcb, TCB_COMPONENTS, tcbText } from './tcb.js';

/** Ids of these checks, in order. */
export const SNP_FIELD_CHECKS = [
  'snp.version',
  'snp.vmpl',
  'snp.policy',
  'snp.platform-info',
  'snp.tcb',
  'snp.firmware',
  'snp.mitigations',
  'snp.launch-digest',
  'snp.guest-svn',
  'snp.host-data',
  'snp.id-block',
  'snp.ids',
] as const;

type Minimum = { readonly [K in keyof SnpTcb]?: number | undefined };

function versionOutcome({ report, policy }: SnpSubject): Outcome {
  const least = policy.snp.minReportVersion;
  if (least === undefined) return unasked(`the policy names no minimum (the report has ${report.version})`);
  return report.version < least
    ? failed(`the report has version ${report.version}, the policy wants ${least} or later`)
    : ok(`version ${report.version} is ${least} or later`);
}

function policyOutcome({ report, policy }: SnpSubject): Outcome {
  const guest = report.policy;
  const wanted = policy.snp;
  const raw = `0x${guest.raw.toString(16)}`;
  if (!guest.reservedAsDefined)
    return failed(`the guest policy ${raw} has a reserved bit other than the ABI defines`);
  const abi = guest.abiMajor * 256 + guest.abiMinor;
  if (wanted.minAbi !== undefined && abi < versionNumber(wanted.minAbi, 2))
    return failed(
      `the guest policy ${raw} is content with ABI ${guest.abiMajor}.${guest.abiMinor}, the policy wants ${wanted.minAbi} (snp.minAbi)`,
    );
  const refused = [
    [guest.debugAllowed && !wanted.allowDebug, 'allows the host to debug the guest (bit 19)', 'allowDebug'],
    [
      guest.migrationAgentAllowed && !wanted.allowMigrationAgent,
      'allows a migration agent (bit 18)',
      'allowMigrationAgent',
    ],
    [guest.cxlAllowed && !wanted.allowCxl, 'allows memory behind CXL (bit 21)', 'allowCxl'],
    [guest.smtAllowed && wanted.refuseSmt, 'allows SMT (bit 16)', 'refuseSmt'],
    [
      !guest.singleSocket && wanted.requireSingleSocket,
      'allows several sockets (bit 20)',
      'requireSingleSocket',
    ],
    [
      !guest.memAes256Xts && wanted.requireAes256Xts,
      'does not require AES-256-XTS (bit 22)',
      'requireAes256Xts',
    ],
    [
      !guest.raplDisabled && wanted.requireRaplDisabled,
      'does not require RAPL to be off (bit 23)',
      'requireRaplDisabled',
    ],
    [
      !guest.ciphertextHiding && wanted.requireCiphertextHiding,
      'does not require ciphertext hiding (bit 24)',
      'requireCiphertextHiding',
    ],
    [
      !guest.pageSwapDisabled && wanted.requirePageSwapDisabled,
      'allows the host to move and swap pages (bit 25)',
      'requirePageSwapDisabled',
    ],
  ] as const;
  const fault = refused.find(([is]) => is);
  if (fault !== undefined)
    return failed(
      `the guest policy ${raw} ${fault[1]} and the policy does not accept that (snp.${fault[2]})`,
    );
  const debug = guest.debugAllowed ? 'debug allowed and accepted' : 'no debug';
  const agent = guest.migrationAgentAllowed ? 'migration agent allowed and accepted' : 'no migration agent';
  return ok(`guest policy ${raw}: ${debug}, ${agent}`);
}

function platformOutcome({ report, policy }: SnpSubject): Outcome {
  const info = report.platformInfo;
  const wanted = policy.snp.platform;
  const raw = `0x${info.raw.toString(16)}`;
  if (!info.reservedAsDefined) return failed(`PLATFORM_INFO ${raw} has a reserved bit set`);
  const refused = [
    [info.smtEnabled && wanted.refuseSmt, 'SMT on (bit 0)', 'refuseSmt'],
    [info.tsmeEnabled && wanted.refuseTsme, 'TSME on (bit 1)', 'refuseTsme'],
    [!info.eccEnabled && wanted.requireEcc, 'no ECC memory (bit 2)', 'requireEcc'],
    [!info.raplDisabled && wanted.requireRaplDisabled, 'RAPL on (bit 3)', 'requireRaplDisabled'],
    [
      !info.ciphertextHiding && wanted.requireCiphertextHiding,
      'no ciphertext hiding (bit 4)',
      'requireCiphertextHiding',
    ],
    [
      !info.aliasCheckComplete && wanted.requireAliasCheck,
      'not checked its memory for aliases (bit 5)',
      'requireAliasCheck',
    ],
    [info.tioEnabled && wanted.refuseTio, 'SEV-TIO on (bit 7)', 'refuseTio'],
  ] as const;
  const fault = refused.find(([is]) => is);
  if (fault !== undefined)
    return failed(
      `the platform (${raw}) has ${fault[1]}, which the policy refuses (snp.platform.${fault[2]})`,
    );
  return ok(`PLATFORM_INFO ${raw} has no reserved bit set and is as the policy wants it`);
}

function belowMinimum(tcb: SnpTcb, minimum: Minimum, which: string, field: string): string | null {
  for (const name of TCB_COMPONENTS) {
    const least = minimum[name];
    if (least === undefined) continue;
    const level = tcb[name];
    if (level === null)
      return `the policy wants ${name} ${least} (snp.${field}), the ${which} TCB has no ${name}`;
    if (level < least)
      return `the ${which} TCB has ${name} ${level}, the policy wants ${least} or more (snp.${field})`;
  }
  return null;
}

/** The first component in which `low` is above `high`, or null. */
function above(low: SnpTcb, high: SnpTcb): string | null {
  return TCB_COMPONENTS.find((name) => (low[name] ?? 0) > (high[name] ?? 0)) ?? null;
}

function tcbOutcome({ report, policy }: SnpSubject): Outcome {
  const { currentTcb, committedTcb, reportedTcb, launchTcb } = report;
  const pairs = [
    ['committed', committedTcb],
    ['reported', reportedTcb],
  ] as const;
  for (const [which, tcb] of pairs) {
    const name = above(tcb, currentTcb);
    if (name !== null)
      return failed(
        `the ${which} TCB (${tcbText(tcb)}) is above the current one (${tcbText(currentTcb)}) in ${name}`,
      );
  }
  if (policy.snp.refuseProvisionalFirmware && above(currentTcb, committedTcb) !== null)
    return failed(
      `the current TCB (${tcbText(currentTcb)}) is not committed (${tcbText(committedTcb)}) and the policy refuses that (snp.refuseProvisionalFirmware)`,
    );
  const wanted = [
    ['reported', reportedTcb, policy.snp.minTcb, 'minTcb'],
    ['committed', committedTcb, policy.snp.minCommittedTcb, 'minCommittedTcb'],
    ['current', currentTcb, policy.snp.minCurrentTcb, 'minCurrentTcb'],
    ['launch', launchTcb, policy.snp.minLaunchTcb, 'minLaunchTcb'],
  ] as const;
  for (const [which, tcb, minimum, field] of wanted) {
    const below = belowMinimum(tcb, minimum, which, field);
    if (below !== null) return failed(below);
  }
  const asked = wanted.some(([, , minimum]) => Object.keys(minimum).length > 0);
  const ending = asked ? " and at or above the policy's minima" : ' (the policy names no minimum)';
  return ok(`the reported TCB (${tcbText(reportedTcb)}) is within the current one${ending}`);
}

/** `1.55` or `1.55.29` as one number of `parts` bytes; parts left out are 0. */
function versionNumber(text: string, parts: number): number {
  const numbers = text.split('.').map(Number);
  let value = 0;
  for (let i = 0; i < parts; i++) value = value * 256 + (numbers[i] ?? 0);
  return value;
}

const firmwareText = ({ major, minor, build }: FirmwareVersion) => `${major}.${minor}.${build}`;
const firmwareNumber = ({ major, minor, build }: FirmwareVersion) => (major * 256 + minor) * 256 + build;

function firmwareOutcome({ report, policy }: SnpSubject): Outcome {
  const { currentFirmware: current, committedFirmware: committed } = report;
  const both = `current ${firmwareText(current)}, committed ${firmwareText(committed)}`;
  if (firmwareNumber(committed) > firmwareNumber(current))
    return failed(`the committed firmware is later than the current one (${both})`);
  if (policy.snp.refuseProvisionalFirmware && firmwareNumber(committed) !== firmwareNumber(current))
    return failed(`the current firmware is not committed and the policy refuses that (${both})`);
  const wanted = [
    ['current', current, policy.snp.minFirmware, 'minFirmware'],
    ['committed', committed, policy.snp.minCommittedFirmware, 'minCommittedFirmware'],
  ] as const;
  for (const [which, version, least, field] of wanted) {
    if (least !== undefined && firmwareNumber(version) < versionNumber(least, 3))
      return failed(
        `the ${which} firmware is ${firmwareText(version)}, the policy wants ${least} or later (snp.${field})`,
      );
  }
  return ok(`firmware ${both}`);
}

function mitigationsOutcome({ report, policy }: SnpSubject): Outcome {
  const wanted = [
    ['launch', report.launchMitigations, policy.snp.launchMitigations, 'launchMitigations'],
    ['current', report.currentMitigations, policy.snp.currentMitigations, 'currentMitigations'],
  ] as const;
  const asked = wanted.filter(([, , bits]) => bits !== undefined);
  if (asked.length === 0) return unasked('the policy wants no mitigations');
  for (const [which, vector, bits, field] of asked) {
    const needed = BigInt(`0x${bits}`);
    if (vector === null)
      return failed(`the policy wants mitigations (snp.${field}), reports before version 5 name none`);
    if ((vector & needed) !== needed)
      return failed(
        `the ${which} mitigation vector is 0x${vector.toString(16)}, the policy wants 0x${needed.toString(16)} (snp.${field})`,
      );
  }
  return ok('every mitigation that the policy wants is there');
}

function launchDigestOutcome(subject: SnpSubject): Outcome {
  const { report, launchDigestField: field } = subject;
  const outcome = pinned(report.measurement, subject.launchDigests, field, 'the launch digest');
  if (outcome !== null) return outcome;
  const hex = toHex(report.measurement);
  if (!subject.launchDigestNeeded) return unasked(`the policy pins none (${field}); the report's is ${hex}`);
  return failed(
    field === 'nested.launchDigest'
      ? `the policy pins none (${field}), so any monitor would do; the evidence says ${hex}: pin it after comparing it with 'nsgx measure --cvm'`
      : `the policy pins none (${field}), so any guest would do; this one's is ${hex}: pin it after comparing it with 'nsgx measure --snp', pin the keys that sign launches (snp.idKeyDigest, snp.authorKeyDigest), or accept any with snp.allowAnyMeasurement`,
  );
}

function guestSvnOutcome({ report, policy }: SnpSubject): Outcome {
  const least = policy.snp.minGuestSvn;
  if (least === undefined)
    return unasked(`the policy names no minimum (the guest SVN is ${report.guestSvn})`);
  if (report.guestSvn < least)
    return failed(`the guest SVN is ${report.guestSvn}, the policy wants ${least} or more`);
  return ok(`the guest SVN ${report.guestSvn} is at or above ${least}`);
}

function idBlockOutcome({ report, policy }: SnpSubject): Outcome {
  const { idKeyDigest, authorKeyDigest, requireAuthorKey } = policy.snp;
  const id = pinned(report.idKeyDigest, idKeyDigest, 'snp.idKeyDigest', 'the ID key digest');
  if (id?.status === 'failed') return id;
  if ((requireAuthorKey || authorKeyDigest.length > 0) && !report.authorKeyEnabled)
    return failed('the report says that no author key signed the ID key');
  const author = pinned(
    report.authorKeyDigest,
    authorKeyDigest,
    'snp.authorKeyDigest',
    'the author key digest',
  );
  if (author === null && requireAuthorKey)
    return ok(`an author key signed the ID key (${toHex(report.authorKeyDigest)})`);
  return author ?? id ?? unasked('the policy names no ID or author key');
}

function idsOutcome({ report, policy }: SnpSubject): Outcome {
  const { familyId, imageId, reportId, reportIdMa } = policy.snp;
  const outcomes = [
    pinned(report.familyId, familyId, 'snp.familyId', 'FAMILY_ID'),
    pinned(report.imageId, imageId, 'snp.imageId', 'IMAGE_ID'),
    pinned(report.reportId, reportId, 'snp.reportId', 'REPORT_ID'),
    pinned(report.reportIdMa, reportIdMa, 'snp.reportIdMa', 'REPORT_ID_MA'),
  ].filter((outcome) => outcome !== null);
  return (
    outcomes.find(({ status }) => status === 'failed') ??
    outcomes[0] ??
    unasked('the policy names no family, image or report id')
  );
}

/** Runs {@link SNP_FIELD_CHECKS} after `evidence.format`. */
export async function runFieldChecks(appraisal: Appraisal, subject: SnpSubject): Promise<void> {
  const { report, policy } = subject;
  const judge = (id: (typeof SNP_FIELD_CHECKS)[number], outcome: (subject: SnpSubject) => Outcome) =>
    appraisal.check(id, ['evidence.format'], () => outcome(subject));
  await judge('snp.version', versionOutcome);
  await judge('snp.vmpl', () =>
    report.vmpl === subject.vmpl
      ? ok(`the report was asked for at VMPL ${report.vmpl}`)
      : failed(`the report was asked for at VMPL ${report.vmpl}, VMPL ${subject.vmpl} is needed`),
  );
  await judge('snp.policy', policyOutcome);
  await judge('snp.platform-info', platformOutcome);
  await judge('snp.tcb', tcbOutcome);
  await judge('snp.firmware', firmwareOutcome);
  await judge('snp.mitigations', mitigationsOutcome);
  await judge('snp.launch-digest', launchDigestOutcome);
  await judge('snp.guest-svn', guestSvnOutcome);
  await judge(
    'snp.host-data',
    () =>
      pinned(report.hostData, policy.snp.hostData, 'snp.hostData', 'HOST_DATA') ??
      unasked('the policy names no HOST_DATA'),
  );
  await judge('snp.id-block', idBlockOutcome);
  await judge('snp.ids', idsOutcome);
}
