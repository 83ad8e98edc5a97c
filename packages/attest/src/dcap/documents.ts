/** Intel's signed documents: TCB info version 3 and enclave identity version 2 (PCS API v4). */
import { allZero, fromHex } from '../bytes.js';
import { AttestError } from '../errors.js';
import { JsonObject } from './json.js';

/** Statuses of a platform's TCB level. */
export const PLATFORM_STATUSES = [
  'UpToDate',
  'SWHardeningNeeded',
  'ConfigurationNeeded',
  'ConfigurationAndSWHardeningNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const;
/** Statuses of a TCB level of a TDX module. */
const MODULE_STATUSES = ['UpToDate', 'OutOfDate', 'Revoked'] as const;
/** Statuses of a TCB level of a quoting enclave. */
const ENCLAVE_STATUSES = [
  'UpToDate',
  'ConfigurationNeeded',
  'OutOfDate',
  'OutOfDateConfigurationNeeded',
  'Revoked',
] as const;

/** Status of a TCB level, by Intel's name. */
export type LevelStatus = (typeof PLATFORM_STATUSES)[number];

/** What every TCB level says. */
export interface Level {
  readonly status: LevelStatus;
  /** Since when Intel thinks so, milliseconds since 1970. */
  readonly date: number;
  readonly advisories: readonly string[];
}

/** A level of a TDX module or quoting enclave: from which ISVSVN on. */
export interface SvnLevel extends Level {
  readonly isvSvn: number;
}

/** A level of a platform: 16 component SVNs of SGX, PCESVN, and for TDX 16 more. */
export interface PlatformLevel extends Level {
  readonly sgx: readonly number[];
  readonly pceSvn: number;
  readonly tdx: readonly number[];
}

/** Who signed a TDX module, and with which attributes it runs. */
export interface TdxModule {
  readonly mrSigner: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
}

/** A TDX module of one major version. */
export interface TdxModuleIdentity extends TdxModule {
  /** `TDX_01` for major version 1. */
  readonly id: string;
  readonly levels: readonly SvnLevel[];
}

/** What both documents begin with. Times in milliseconds since 1970. */
export interface DocumentHead {
  readonly issueDate: number;
  readonly nextUpdate: number;
  readonly evaluationNumber: number;
}

/** TCB info of one platform family. */
export interface TcbInfo extends DocumentHead {
  readonly id: 'SGX' | 'TDX';
  readonly fmspc: Uint8Array;
  readonly pceId: Uint8Array;
  /** Modules of major version 0; null for SGX. */
  readonly tdxModule: TdxModule | null;
  readonly tdxModules: readonly TdxModuleIdentity[];
  /** Highest first. */
  readonly levels: readonly PlatformLevel[];
}

/** Identity of a quoting enclave. */
export interface EnclaveIdentity extends DocumentHead {
  readonly id: 'QE' | 'TD_QE' | 'QVE';
  readonly miscSelect: Uint8Array;
  readonly miscSelectMask: Uint8Array;
  readonly attributes: Uint8Array;
  readonly attributesMask: Uint8Array;
  readonly mrSigner: Uint8Array;
  readonly isvProdId: number;
  readonly levels: readonly SvnLevel[];
}

/** A document with the bytes that Intel may have signed, in order of likelihood, and the signature (r ‖ s). */
export interface SignedDocument<T extends DocumentHead> {
  readonly value: T;
  readonly signed: readonly (() => Uint8Array)[];
  readonly signature: Uint8Array;
}

const MAX_DOCUMENT_BYTES = 1 << 20;
const MAX_DEPTH = 32;
const UINT32 = 0xffff_ffff;

function level(item: JsonObject, statuses: readonly LevelStatus[]): Level {
  return {
    status: item.oneOf('tcbStatus', statuses),
    date: item.date('tcbDate'),
    advisories: item.has('advisoryIDs') ? advisories(item) : [],
  };
}

function advisories(item: JsonObject): string[] {
  return item.list('advisoryIDs', 0, 1024).map((id) => {
    if (typeof id !== 'string' || id.length > 64)
      item.fail('advisoryIDs', 'has an item that is no short text');
    return id as string;
  });
}

const svnLevel = (statuses: readonly LevelStatus[]) => (item: JsonObject) => ({
  ...level(item, statuses),
  isvSvn: item.object('tcb').integer('isvsvn', 0xffff),
});

/** The SVNs of `[{"svn":…}, …]`. */
function components(tcb: JsonObject, name: string): number[] {
  return tcb.list(name, 16, 16).map((item) => {
    const svn = (item as { svn?: unknown } | null)?.svn;
    if (typeof svn !== 'number' || !Number.isInteger(svn) || svn < 0 || svn > 0xff)
      tcb.fail(name, 'has a component without an SVN up to 255');
    return svn as number;
  });
}

const tdxModule = (item: JsonObject): TdxModule => ({
  mrSigner: item.hex('mrsigner', 48),
  attributes: item.hex('attributes', 8),
  attributesMask: item.hex('attributesMask', 8),
});

function head(body: JsonObject, version: number): DocumentHead {
  if (body.value('version') !== version) body.fail('version', `is not ${version}`);
  return {
    issueDate: body.date('issueDate'),
    nextUpdate: body.date('nextUpdate'),
    evaluationNumber: body.integer('tcbEvaluationDataNumber', UINT32),
  };
}

/** Order of levels, highest first, as Intel's library keeps them: components, then PCESVN, then TDX components. */
function compareLevels(a: PlatformLevel, b: PlatformLevel): number {
  for (let i = 0; i < 16; i++) if (a.sgx[i] !== b.sgx[i]) return b.sgx[i]! - a.sgx[i]!;
  if (a.pceSvn !== b.pceSvn) return b.pceSvn - a.pceSvn;
  for (let i = 0; i < a.tdx.length; i++) if (a.tdx[i] !== b.tdx[i]) return b.tdx[i]! - a.tdx[i]!;
  return 0;
}

function tcbInfo(body: JsonObject): TcbInfo {
  const id = body.oneOf('id', ['SGX', 'TDX']);
  const shared = head(body, 3);
  if (body.value('tcbType') !== 0) body.fail('tcbType', 'is not 0');
  if (id === 'SGX' && (body.has('tdxModule') || body.has('tdxModuleIdentities')))
    body.fail('tdxModule', 'is in a document for SGX');
  const levels = body.objects('tcbLevels', 1, 1024, (item) => {
    const tcb = item.object('tcb');
    return {
      ...level(item, PLATFORM_STATUSES),
      sgx: components(tcb, 'sgxtcbcomponents'),
      pceSvn: tcb.integer('pcesvn', 0xffff),
      tdx: id === 'TDX' ? components(tcb, 'tdxtcbcomponents') : [],
    };
  });
  levels.sort(compareLevels);
  if (levels.some((item, i) => i > 0 && compareLevels(levels[i - 1]!, item) === 0))
    body.fail('tcbLevels', 'has one level twice');
  return {
    id,
    ...shared,
    fmspc: body.hex('fmspc', 6),
    pceId: body.hex('pceId', 2),
    tdxModule: id === 'TDX' ? tdxModule(body.object('tdxModule')) : null,
    tdxModules: body.has('tdxModuleIdentities')
      ? body.objects('tdxModuleIdentities', 1, 256, (item) => ({
          ...tdxModule(item),
          id: item.text('id', 32).toUpperCase(),
          levels: item.objects('tcbLevels', 1, 256, svnLevel(MODULE_STATUSES)),
        }))
      : [],
    levels,
  };
}

function enclaveIdentity(body: JsonObject): EnclaveIdentity {
  return {
    id: body.oneOf('id', ['QE', 'TD_QE', 'QVE']),
    ...head(body, 2),
    miscSelect: body.hex('miscselect', 4),
    miscSelectMask: body.hex('miscselectMask', 4),
    attributes: body.hex('attributes', 16),
    attributesMask: body.hex('attributesMask', 16),
    mrSigner: body.hex('mrsigner', 32),
    isvProdId: body.integer('isvprodid', 0xffff),
    levels: body.objects('tcbLevels', 1, 256, svnLevel(ENCLAVE_STATUSES)),
  };
}

/** Deepest nesting of brackets; text in strings counts too, which only makes the limit stricter. */
function depth(text: string): number {
  let [deepest, current] = [0, 0];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 0x7b || code === 0x5b) deepest = Math.max(deepest, ++current);
    else if (code === 0x7d || code === 0x5d) current--;
  }
  return deepest;
}

/** Splits `{"MEMBER":…,"signature":"…"}`, as the PCS serves it, without changing what is between; null for other layouts. */
function split(text: string, member: string): { body: string; signature: string } | null {
  const start = `{"${member}":`;
  const match = /,\s*"signature"\s*:\s*"([0-9a-fA-F]{128})"\s*\}\s*$/.exec(text.slice(-256));
  if (!text.startsWith(start) || match === null) return null;
  return { body: text.slice(start.length, text.length - match[0].length), signature: match[1]! };
}

/**
 * Intel signs the document's text as served. A file that was formatted anew still verifies when the compact
 * form that JSON.stringify gives is the one that was signed; either way what is proven is what was parsed.
 */
function readSigned<T extends DocumentHead>(
  file: Uint8Array,
  member: string,
  what: string,
  read: (body: JsonObject) => T,
): SignedDocument<T> {
  const fail = (reason: string): never => {
    throw new AttestError('COLLATERAL_MALFORMED', `The ${what} ${reason}.`);
  };
  if (file.length > MAX_DOCUMENT_BYTES)
    return fail(`has ${file.length} bytes; ${MAX_DOCUMENT_BYTES} is the limit`);
  let served: ReturnType<typeof split>;
  let body: unknown;
  let signature: unknown;
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(file);
    served = split(text, member);
    if (served === null) {
      const whole = JSON.parse(text) as Record<string, unknown> | null;
      ({ [member]: body, signature } = whole ?? {});
    } else {
      body = JSON.parse(served.body);
      signature = served.signature;
    }
  } catch {
    return fail('is no JSON');
  }
  const raw = typeof signature === 'string' ? fromHex(signature) : null;
  if (raw === null || raw.length !== 64 || allZero(raw)) return fail('has no signature of 64 bytes');
  const encode = (text: string) => new TextEncoder().encode(text);
  const compact = () => {
    // JSON.parse takes any depth, JSON.stringify would run out of stack.
    if (depth(text) > MAX_DEPTH) return fail(`is nested more than ${MAX_DEPTH} deep`);
    return encode(JSON.stringify(body));
  };
  return {
    value: read(new JsonObject(body, what, member)),
    signed: served === null ? [compact] : [() => encode(served.body), compact],
    signature: raw,
  };
}

/** Reads `{"tcbInfo":{…},"signature":"…"}` as the PCS serves it. @throws AttestError COLLATERAL_MALFORMED */
export function readTcbInfo(file: Uint8Array): SignedDocument<TcbInfo> {
  return readSigned(file, 'tcbInfo', 'TCB info', tcbInfo);
}

/** Reads `{"enclaveIdentity":{…},"signature":"…"}`. @throws AttestError COLLATERAL_MALFORMED */
export function readIdentity(file: Uint8Array): SignedDocument<EnclaveIdentity> {
  return readSigned(file, 'enclaveIdentity', 'QE identity', enclaveIdentity);
}
