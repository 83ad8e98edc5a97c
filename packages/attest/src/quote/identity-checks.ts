/** Checks of an enclave's identity and REPORTDATA against a policy, for quotes of either origin. */
import { type Appraisal, failed, ok, unasked } from '../appraisal.js';
import { sameBytes, toHex } from '../bytes.js';
import { ATTRIBUTE_DEBUG, ATTRIBUTE_INIT, type SgxBody } from './sgx-body.js';

/** Ids of these checks, in order. */
export const ENCLAVE_CHECKS = [
  'enclave.mrenclave',
  'enclave.mrsigner',
  'enclave.isv-prod-id',
  'enclave.isv-svn',
  'enclave.debug',
] as const;

/** What the policy says of an enclave. */
export interface EnclavePins {
  readonly mrenclave: readonly string[];
  readonly mrsigner: readonly string[];
  readonly isvProdId?: number | undefined;
  readonly minIsvSvn?: number | undefined;
  readonly allowDebug: boolean;
}

/** Runs {@link ENCLAVE_CHECKS}; `section` is the policy's part for the messages, `pinNeeded` fails an unpinned enclave. */
export async function runEnclaveChecks(
  appraisal: Appraisal,
  body: SgxBody,
  pins: EnclavePins,
  section: 'nested' | 'dcap',
  pinNeeded: boolean,
): Promise<void> {
  const format = ['evidence.format'];
  const unpinned = pins.mrenclave.length === 0 && pins.mrsigner.length === 0;
  const identity = (hex: string, accepted: readonly string[], name: string, field: string) =>
    accepted.includes(hex)
      ? ok(`${name} ${hex} is one that the policy names`)
      : failed(`${name} is ${hex}, the policy names ${accepted.join(', ')} (${section}.${field})`);

  await appraisal.check('enclave.mrenclave', format, () => {
    const hex = toHex(body.mrEnclave);
    if (unpinned && !pinNeeded) return unasked(`the policy pins none (MRENCLAVE is ${hex})`);
    if (unpinned) {
      return failed(
        `the policy pins neither MRENCLAVE nor MRSIGNER, so any enclave would do; this one's MRENCLAVE is ${hex}: pin ${section}.mrenclave or ${section}.mrsigner${section === 'dcap' ? ', or accept any with dcap.allowAnyMeasurement' : ''}`,
      );
    }
    if (pins.mrenclave.length === 0) return unasked(`the policy pins MRSIGNER only (MRENCLAVE is ${hex})`);
    return identity(hex, pins.mrenclave, 'MRENCLAVE', 'mrenclave');
  });
  await appraisal.check('enclave.mrsigner', format, () => {
    const hex = toHex(body.mrSigner);
    if (pins.mrsigner.length === 0) {
      return unasked(
        unpinned
          ? `the policy pins none (MRSIGNER is ${hex})`
          : `the policy pins MRENCLAVE only (MRSIGNER is ${hex})`,
      );
    }
    return identity(hex, pins.mrsigner, 'MRSIGNER', 'mrsigner');
  });
  await appraisal.check('enclave.isv-prod-id', format, () => {
    if (pins.isvProdId === undefined)
      return unasked(`the policy names none (ISVPRODID is ${body.isvProdId})`);
    return body.isvProdId === pins.isvProdId
      ? ok(`ISVPRODID is ${body.isvProdId}`)
      : failed(`ISVPRODID is ${body.isvProdId}, the policy names ${pins.isvProdId} (${section}.isvProdId)`);
  });
  await appraisal.check('enclave.isv-svn', format, () => {
    if (pins.minIsvSvn === undefined)
      return unasked(`the policy names no minimum (ISVSVN is ${body.isvSvn})`);
    return body.isvSvn >= pins.minIsvSvn
      ? ok(`ISVSVN ${body.isvSvn} is at or above ${pins.minIsvSvn}`)
      : failed(`ISVSVN is ${body.isvSvn}, the policy wants ${pins.minIsvSvn} or more (${section}.minIsvSvn)`);
  });
  await appraisal.check('enclave.debug', format, () => {
    if ((body.flags & ATTRIBUTE_INIT) === 0n)
      return failed('ATTRIBUTES.INIT is clear: this enclave was never initialised');
    if ((body.flags & ATTRIBUTE_DEBUG) === 0n) return ok('ATTRIBUTES.DEBUG is clear');
    return pins.allowDebug
      ? ok(`ATTRIBUTES.DEBUG is set and the policy accepts that (${section}.allowDebug)`)
      : failed(
          `ATTRIBUTES.DEBUG is set: the host can read this enclave, and the policy does not accept that (${section}.allowDebug)`,
        );
  });
}

/** Runs the check `report-data`; `expected` is 64 bytes or null when the caller expects nothing. */
export async function runReportDataCheck(
  appraisal: Appraisal,
  actual: Uint8Array,
  expected: Uint8Array | null,
): Promise<void> {
  await appraisal.check('report-data', ['evidence.format'], () => {
    if (expected === null) return unasked('no report data was given to compare with');
    return sameBytes(actual, expected)
      ? ok('the report data are those expected')
      : failed(`the report data are ${toHex(actual)}, expected were ${toHex(expected)}`);
  });
}
