/** TCB level matching and convergence of statuses, by the rules of Intel's quote verification enclave (QvE). */
import { fromHex, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import type { DCAP_STATUSES } from '../policy.js';
import type { SgxBody } from '../quote/sgx-body.js';
import type { EnclaveIdentity, TcbInfo } from './documents.js';
import type { PckPlatform } from './pck.js';
import type { TdxBody } from './quote.js';

/** A status by Intel's name. */
export type TcbStatus = (typeof DCAP_STATUSES)[number];

/** A status with the advisories behind it. */
export interface Evaluation {
  readonly status: TcbStatus;
  readonly advisories: readonly string[];
}

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', reason);
}

function masked(value: Uint8Array, mask: Uint8Array): Uint8Array {
  return value.map((byte, i) => byte & mask[i]!);
}

/** True when `value`, under the mask, is `wanted` under the mask (hexadecimal from a document). */
function matches(value: Uint8Array, wanted: string, mask: string): boolean {
  const bits = fromHex(mask)!;
  return sameBytes(masked(value, bits), masked(fromHex(wanted)!, bits));
}

function svnLevel(
  levels: readonly { tcb: { isvsvn: number }; tcbStatus: TcbStatus; advisoryIDs: string[] }[],
  isvSvn: number,
  what: string,
): Evaluation {
  const level = levels.find((candidate) => candidate.tcb.isvsvn <= isvSvn);
  if (level === undefined) return refuse(`no TCB level of ${what} covers its SVN ${isvSvn}`);
  return { status: level.tcbStatus, advisories: level.advisoryIDs };
}

/** Compares a quoting enclave's report with its identity. @throws AttestError naming what differs */
export function evaluateQe(identity: EnclaveIdentity, qe: SgxBody): Evaluation {
  const misc = new Uint8Array(4);
  new DataView(misc.buffer).setUint32(0, qe.miscSelect, true);
  if (!matches(misc, identity.miscselect, identity.miscselectMask))
    refuse(`MISCSELECT ${toHex(misc)} of the QE is not its identity's`);
  if (!matches(qe.attributes, identity.attributes, identity.attributesMask)) {
    refuse(`ATTRIBUTES ${toHex(qe.attributes)} of the QE are not its identity's ${identity.attributes}`);
  }
  if (toHex(qe.mrSigner) !== identity.mrsigner.toLowerCase()) {
    refuse(
      `MRSIGNER ${toHex(qe.mrSigner)} of the QE is not its identity's ${identity.mrsigner.toLowerCase()}`,
    );
  }
  if (qe.isvProdId !== identity.isvprodid)
    refuse(`ISVPRODID ${qe.isvProdId} of the QE is not its identity's ${identity.isvprodid}`);
  return svnLevel(identity.tcbLevels, qe.isvSvn, 'the QE');
}

function evaluateTdxModule(info: TcbInfo, tdx: TdxBody): Evaluation | null {
  const version = tdx.teeTcbSvn[1]!;
  const id = `TDX_${version.toString(16).padStart(2, '0').toUpperCase()}`;
  const versioned = info.tdxModuleIdentities?.find((module) => module.id.toUpperCase() === id);
  const identity = version === 0 ? info.tdxModule : versioned;
  if (identity === undefined) return refuse(`the TCB info does not know TDX module ${id}`);
  if (toHex(tdx.mrSignerSeam) !== identity.mrsigner.toLowerCase()) {
    refuse(`MRSIGNERSEAM ${toHex(tdx.mrSignerSeam)} is not that of TDX module ${id}`);
  }
  if (!matches(tdx.seamAttributes, identity.attributes, identity.attributesMask)) {
    refuse(`SEAMATTRIBUTES ${toHex(tdx.seamAttributes)} are not those of TDX module ${id}`);
  }
  if (version === 0 || versioned === undefined) return null;
  return svnLevel(versioned.tcbLevels, tdx.teeTcbSvn[0]!, `TDX module ${id}`);
}

/** Finds the platform's TCB level. @throws AttestError when none matches */
export function evaluatePlatform(info: TcbInfo, pck: PckPlatform, tdx: TdxBody | null): Evaluation[] {
  const atLeast = (have: ArrayLike<number>, want: readonly { svn: number }[], from = 0) =>
    want.every((component, i) => i < from || have[i]! >= component.svn);
  const level = info.tcbLevels.find(({ tcb }) => {
    if (!atLeast(pck.components, tcb.sgxtcbcomponents) || pck.pceSvn < tcb.pcesvn) return false;
    if (tdx === null) return true;
    // The first two components are the module's, which its own identity covers from version 1 on.
    return (
      tcb.tdxtcbcomponents !== undefined &&
      atLeast(tdx.teeTcbSvn, tcb.tdxtcbcomponents, tdx.teeTcbSvn[1]! > 0 ? 2 : 0)
    );
  });
  if (level === undefined) {
    const have = `SGX components ${pck.components.join(',')}, PCESVN ${pck.pceSvn}`;
    const module = tdx === null ? '' : `, TDX components ${tdx.teeTcbSvn.join(',')}`;
    return refuse(`no TCB level of the TCB info covers this platform (${have}${module})`);
  }
  const platform: Evaluation = { status: level.tcbStatus, advisories: level.advisoryIDs };
  const module = tdx === null ? null : evaluateTdxModule(info, tdx);
  return module === null ? [platform] : [platform, module];
}

/** One status for platform, QE and TDX module together: Revoked wins, other defects add up. */
export function converge(evaluations: readonly Evaluation[]): Evaluation {
  const any = (word: string) => evaluations.some(({ status }) => status.includes(word));
  const advisories = [...new Set(evaluations.flatMap((evaluation) => evaluation.advisories))].sort();
  let status: TcbStatus = 'UpToDate';
  if (any('Revoked')) status = 'Revoked';
  else if (any('OutOfDate')) status = any('Configuration') ? 'OutOfDateConfigurationNeeded' : 'OutOfDate';
  else if (any('Configuration')) {
    status = any('SWHardening') ? 'ConfigurationAndSWHardeningNeeded' : 'ConfigurationNeeded';
  } else if (any('SWHardening')) status = 'SWHardeningNeeded';
  return { status, advisories };
}
