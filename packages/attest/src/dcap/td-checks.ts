/** Checks of a TD's identity and attributes against the policy. */
import { type Appraisal, failed, type Outcome, ok, unasked } from '../appraisal.js';
import { allZero, toHex } from '../bytes.js';
import type { Policy } from '../policy/index.js';
import type { TdxBody } from './td-body.js';

/** Ids of these checks, in order. */
export const TD_CHECKS = [
  'td.mrtd',
  'td.rtmr',
  'td.owner',
  'td.seam',
  'td.service-td',
  'td.debug',
  'td.attributes',
] as const;

/** TDATTRIBUTES (Intel TDX module ABI, "ATTRIBUTES"): bits 0 to 7 put the TD under debug or profiling. */
const UNDER_DEBUG = 0xffn;
const DEBUG = 1n;
const MIGRATABLE = 1n << 29n;
/** ICSSD, LASS, SEPT_VE_DISABLE, MIGRATABLE, PKS, KL, TPA, PERFMON. */
const DEFINED = (1n << 16n) | (0x1fn << 27n) | (1n << 62n) | (1n << 63n);

type Pins = Policy['dcap'];

function pinned(value: Uint8Array, accepted: readonly string[], name: string, field: string): Outcome | null {
  const hex = toHex(value);
  if (accepted.length === 0) return null;
  return accepted.includes(hex)
    ? ok(`${name} ${hex} is one that the policy names`)
    : failed(`${name} is ${hex}, the policy names ${accepted.join(', ')} (dcap.${field})`);
}

function all(outcomes: readonly (Outcome | null)[], none: string): Outcome {
  const asked = outcomes.filter((outcome) => outcome !== null);
  const bad = asked.find((outcome) => outcome.status === 'failed');
  if (bad !== undefined) return bad;
  return asked.length === 0 ? unasked(none) : ok(asked.map((outcome) => outcome.detail).join('; '));
}

function serviceTd(td: TdxBody, pins: Pins): Outcome {
  if (td.mrServiceTd === null) return unasked('a TD of TDX 1.0 has no service TDs');
  if (allZero(td.mrServiceTd)) return ok('no service TD is bound');
  const outcome = pinned(td.mrServiceTd, pins.mrServiceTd, 'MRSERVICETD', 'mrServiceTd');
  if (outcome !== null) return outcome;
  const hex = toHex(td.mrServiceTd);
  return pins.allowAnyMeasurement
    ? unasked(`the policy accepts any (dcap.allowAnyMeasurement; MRSERVICETD is ${hex})`)
    : failed(
        `service TDs are bound that may act on this TD, and the policy names none; MRSERVICETD is ${hex}: pin dcap.mrServiceTd`,
      );
}

function attributes(bits: bigint, pins: Pins): Outcome {
  const text = `0x${bits.toString(16).padStart(16, '0')}`;
  const unknown = bits & ~(DEFINED | UNDER_DEBUG);
  if (unknown !== 0n)
    return failed(`TDATTRIBUTES ${text} have bits that are not defined: 0x${unknown.toString(16)}`);
  if ((bits & MIGRATABLE) !== 0n && !pins.allowMigratable) {
    return failed(
      `TDATTRIBUTES.MIGRATABLE is set in ${text}: the TD may move to another platform, and the policy does not accept that (dcap.allowMigratable)`,
    );
  }
  return ok(`TDATTRIBUTES ${text} have defined bits only`);
}

/** Runs {@link TD_CHECKS}. */
export async function runTdChecks(appraisal: Appraisal, td: TdxBody, pins: Pins): Promise<void> {
  const format = ['evidence.format'];
  const view = new DataView(td.tdAttributes.buffer, td.tdAttributes.byteOffset, td.tdAttributes.length);
  const bits = view.getBigUint64(0, true);

  await appraisal.check('td.mrtd', format, () => {
    const outcome = pinned(td.mrTd, pins.mrtd, 'MRTD', 'mrtd');
    if (outcome !== null) return outcome;
    const hex = toHex(td.mrTd);
    return pins.allowAnyMeasurement
      ? unasked(`the policy accepts any (dcap.allowAnyMeasurement; MRTD is ${hex})`)
      : failed(
          `the policy pins no MRTD, so any TD would do; this one's is ${hex}: pin dcap.mrtd, or accept any with dcap.allowAnyMeasurement`,
        );
  });
  await appraisal.check('td.rtmr', format, () =>
    all(
      [pins.rtmr0, pins.rtmr1, pins.rtmr2, pins.rtmr3].map((accepted, i) =>
        pinned(td.rtmr[i]!, accepted, `RTMR${i}`, `rtmr${i}`),
      ),
      'the policy names no RTMR',
    ),
  );
  await appraisal.check('td.owner', format, () =>
    all(
      [
        pinned(td.mrConfigId, pins.mrConfigId, 'MRCONFIGID', 'mrConfigId'),
        pinned(td.mrOwner, pins.mrOwner, 'MROWNER', 'mrOwner'),
        pinned(td.mrOwnerConfig, pins.mrOwnerConfig, 'MROWNERCONFIG', 'mrOwnerConfig'),
      ],
      'the policy names no MRCONFIGID, MROWNER or MROWNERCONFIG',
    ),
  );
  await appraisal.check(
    'td.seam',
    format,
    () =>
      pinned(td.mrSeam, pins.mrSeam, 'MRSEAM', 'mrSeam') ??
      unasked(`the policy names no TDX module of its own (MRSEAM is ${toHex(td.mrSeam)})`),
  );
  await appraisal.check('td.service-td', format, () => serviceTd(td, pins));
  await appraisal.check('td.debug', format, () => {
    if ((bits & UNDER_DEBUG) === 0n) return ok('TDATTRIBUTES.DEBUG is clear');
    const what =
      (bits & DEBUG) !== 0n ? 'TDATTRIBUTES.DEBUG is set' : 'a profiling bit of TDATTRIBUTES is set';
    return pins.allowDebug
      ? ok(`${what} and the policy accepts that (dcap.allowDebug)`)
      : failed(
          `${what}: the host can look into this TD, and the policy does not accept that (dcap.allowDebug)`,
        );
  });
  await appraisal.check('td.attributes', format, () => attributes(bits, pins));
}
