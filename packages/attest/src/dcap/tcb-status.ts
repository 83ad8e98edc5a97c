/**
 * TCB level matching and convergence of statuses, by the rules of Intel's quote verification library: a TD of
 * TDX 1.5 is rated twice, under the TCB that it was launched with and under the one that the platform has now.
 */
import { allZero, sameBytes, toHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import type { SgxBody } from '../quote/sgx-body.js';
import type {
  EnclaveIdentity,
  LevelStatus,
  PlatformLevel,
  SvnLevel,
  TcbInfo,
  TdxModuleIdentity,
} from './documents.js';
import type { PckPlatform } from './pck.js';
import type { TdxBody } from './td-body.js';

/** Every status that an evaluation can have. */
export type TcbStatus = LevelStatus | 'TDRelaunchAdvised' | 'TDRelaunchAdvisedConfigurationNeeded';

/** The outcome of an evaluation. */
export interface Evaluation {
  readonly status: TcbStatus;
  /** The oldest date of the levels that went into it, milliseconds since 1970. */
  readonly date: number;
  readonly advisories: readonly string[];
}

function refuse(reason: string): never {
  throw new AttestError('EVIDENCE_MALFORMED', reason);
}

/** True when `value`, under the mask, is `wanted`. */
function matches(value: Uint8Array, wanted: Uint8Array, mask: Uint8Array): boolean {
  for (let i = 0; i < wanted.length; i++) if ((value[i]! & mask[i]!) !== wanted[i]) return false;
  return true;
}

function svnLevel(levels: readonly SvnLevel[], isvSvn: number, what: string): SvnLevel {
  return (
    levels.find((candidate) => candidate.isvSvn <= isvSvn) ??
    refuse(`no TCB level of ${what} covers its SVN ${isvSvn}`)
  );
}

/** Compares a quoting enclave's report with its identity. @throws AttestError naming what differs */
export function evaluateQe(identity: EnclaveIdentity, qe: SgxBody): SvnLevel {
  const misc = new Uint8Array(4);
  new DataView(misc.buffer).setUint32(0, qe.miscSelect, true);
  if (!matches(misc, identity.miscSelect, identity.miscSelectMask))
    refuse(
      `MISCSELECT ${toHex(misc)} of the QE is not its identity's ${toHex(identity.miscSelect)} under mask ${toHex(identity.miscSelectMask)}`,
    );
  if (!matches(qe.attributes, identity.attributes, identity.attributesMask)) {
    refuse(
      `ATTRIBUTES ${toHex(qe.attributes)} of the QE are not its identity's ${toHex(identity.attributes)} under mask ${toHex(identity.attributesMask)}`,
    );
  }
  if (!sameBytes(qe.mrSigner, identity.mrSigner)) {
    refuse(`MRSIGNER ${toHex(qe.mrSigner)} of the QE is not its identity's ${toHex(identity.mrSigner)}`);
  }
  if (qe.isvProdId !== identity.isvProdId)
    refuse(`ISVPRODID ${qe.isvProdId} of the QE is not its identity's ${identity.isvProdId}`);
  return svnLevel(identity.levels, qe.isvSvn, 'the QE');
}

function moduleName(version: number): string {
  return `TDX_${version.toString(16).padStart(2, '0').toUpperCase()}`;
}

/** The identity of modules of major version `version`. @throws AttestError when the TCB info has none */
function moduleIdentity(info: TcbInfo, version: number): TdxModuleIdentity {
  const id = moduleName(version);
  return (
    info.tdxModules.find((candidate) => candidate.id === id) ??
    refuse(`the TCB info does not know TDX module ${id}`)
  );
}

/**
 * Compares signer and attributes of the TDX module with the TCB info, and returns the module's name.
 * @throws AttestError naming what differs
 */
export function checkTdxModule(info: TcbInfo, tdx: TdxBody): string {
  const version = tdx.teeTcbSvn[1]!;
  const name = moduleName(version);
  const known = version === 0 ? info.tdxModule : moduleIdentity(info, version);
  if (known === null) return refuse('the TCB info knows no TDX module');
  if (!sameBytes(tdx.mrSignerSeam, known.mrSigner)) {
    refuse(
      `MRSIGNERSEAM ${toHex(tdx.mrSignerSeam)} is not that of TDX module ${name}, ${toHex(known.mrSigner)}`,
    );
  }
  if (!matches(tdx.seamAttributes, known.attributes, known.attributesMask) || !allZero(tdx.seamAttributes)) {
    refuse(`SEAMATTRIBUTES ${toHex(tdx.seamAttributes)} are not those of TDX module ${name}`);
  }
  return name;
}

/** True when no component from `from` on is below the level's. */
function covers(have: ArrayLike<number>, level: readonly number[], from = 0): boolean {
  for (let i = from; i < level.length; i++) if (have[i]! < level[i]!) return false;
  return true;
}

function platformLevel(info: TcbInfo, pck: PckPlatform, svn: Uint8Array | null): PlatformLevel {
  // The first two TDX components are the module's, which from major version 1 on has an identity of its own.
  const from = svn !== null && svn[1]! > 0 ? 2 : 0;
  const found = info.levels.find(
    (level) =>
      covers(pck.components, level.sgx) &&
      pck.pceSvn >= level.pceSvn &&
      (svn === null || covers(svn, level.tdx, from)),
  );
  if (found !== undefined) return found;
  const have = `SGX components ${pck.components.join(',')}, PCESVN ${pck.pceSvn}`;
  const tdx = svn === null ? '' : `, TDX components ${svn.join(',')}`;
  return refuse(`no TCB level of the TCB info covers this platform (${have}${tdx})`);
}

/** The platform's status with those of its parts: a revoked part revokes, an outdated one dates. */
export function converge(platform: LevelStatus, parts: readonly LevelStatus[]): LevelStatus {
  if (platform === 'Revoked' || parts.includes('Revoked')) return 'Revoked';
  // Intel rates a quoting enclave that is not up to date as outdated, whatever its level says.
  if (parts.every((part) => part === 'UpToDate')) return platform;
  if (platform === 'UpToDate' || platform === 'SWHardeningNeeded') return 'OutOfDate';
  if (platform === 'ConfigurationNeeded' || platform === 'ConfigurationAndSWHardeningNeeded')
    return 'OutOfDateConfigurationNeeded';
  return platform;
}

function rate(
  info: TcbInfo,
  pck: PckPlatform,
  qe: SvnLevel,
  svn: Uint8Array | null,
): Evaluation & { status: LevelStatus } {
  const platform = platformLevel(info, pck, svn);
  const parts: SvnLevel[] = [qe];
  if (svn !== null && svn[1]! > 0)
    parts.push(svnLevel(moduleIdentity(info, svn[1]!).levels, svn[0]!, `TDX module ${moduleName(svn[1]!)}`));
  const levels = [platform, ...parts];
  return {
    status: converge(
      platform.status,
      parts.map((part) => part.status),
    ),
    date: Math.min(...levels.map((level) => level.date)),
    advisories: [...new Set(levels.flatMap((level) => level.advisories))].sort(),
  };
}

/** A TD that was launched under an outdated TCB, on a platform that has a good one now, should be launched again. */
export function relaunch(launched: LevelStatus, current: LevelStatus): TcbStatus {
  if (launched !== 'OutOfDate' && launched !== 'OutOfDateConfigurationNeeded') return launched;
  if (current === 'OutOfDate' || current === 'OutOfDateConfigurationNeeded' || current === 'Revoked')
    return launched;
  const configuration = launched === 'OutOfDateConfigurationNeeded' || current.startsWith('Configuration');
  return configuration ? 'TDRelaunchAdvisedConfigurationNeeded' : 'TDRelaunchAdvised';
}

/** Finds the TCB status of platform, module and QE together. @throws AttestError when no level covers one of them */
export function evaluateTcb(info: TcbInfo, pck: PckPlatform, qe: SvnLevel, tdx: TdxBody | null): Evaluation {
  const launched = rate(info, pck, qe, tdx === null ? null : tdx.teeTcbSvn);
  if (tdx === null || tdx.teeTcbSvn2 === null) return launched;
  const current = rate(info, pck, qe, tdx.teeTcbSvn2);
  return { ...launched, status: relaunch(launched.status, current.status) };
}
