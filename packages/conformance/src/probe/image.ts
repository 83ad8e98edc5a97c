/** Images of the probe enclave: code, data pages and threads, laid out by what a case wants. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import {
  ATTRIBUTES_MODE64BIT,
  EnclaveMeasurement,
  PT_REG,
  PT_TCS,
  SECINFO_R,
  SECINFO_W,
  SECINFO_X,
  SECS,
  secinfoBytes,
  signSigstruct,
  TCS,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import type { SigningKey } from '@nestedsgx/image/node';
import type { AddedPages } from '../platform.js';

const PAGE = 4096;
/** SECINFO.FLAGS of ordinary pages. */
export const REG_RW = SECINFO_R | SECINFO_W | (PT_REG << 8);
export const REG_RX = SECINFO_R | SECINFO_X | (PT_REG << 8);
export const REG_R = SECINFO_R | (PT_REG << 8);
export const REG_RWX = SECINFO_R | SECINFO_W | SECINFO_X | (PT_REG << 8);
export const TCS_PAGE = PT_TCS << 8;

/** Offsets from BASEADDR. */
export const AT = Object.freeze({
  CODE: 0,
  /** Eight pages, readable and writable. */
  DATA: 0x1_0000,
  /** One page that can be read only. */
  CONSTANT: 0x1_8000,
  /** Threads follow one another: TCS, stack page, SSA frames. */
  THREADS: 0x2_0000,
  /** Nothing is here before it is added at run time. */
  FREE: 0x8_0000,
  SIZE: 0x10_0000,
});
const THREAD_STRIDE = 0x1_0000;

/** What a case may choose. */
export interface ProbeOptions {
  threads?: number;
  nssa?: number;
  /** SECS.ATTRIBUTES.FLAGS beside MODE64BIT. */
  attributes?: bigint;
  xfrm?: bigint;
  miscselect?: number;
  tcsFlags?: bigint;
  /** SECS and SIGSTRUCT fields of key separation. */
  configId?: Uint8Array;
  configSvn?: number;
  isvFamilyId?: Uint8Array;
  isvExtProdId?: Uint8Array;
  isvProdId?: number;
  isvSvn?: number;
  /** Added before EINIT, beside what every probe has. */
  extra?: AddedPages[];
}

/** Offset of thread `i`'s TCS, stack page and first SSA frame. */
export function threadAt(i: number): { tcs: number; stack: number; ssa: number } {
  const tcs = AT.THREADS + i * THREAD_STRIDE;
  return { tcs, stack: tcs + PAGE, ssa: tcs + 2 * PAGE };
}

let code: Uint8Array | undefined;

/** The probe's code (native/probe.S). */
export function probeCode(): Uint8Array {
  code ??= new Uint8Array(
    readFileSync(fileURLToPath(new URL('../../../native/build/probe.bin', import.meta.url))),
  );
  return code;
}

/** A TCS of the probe: entry at its code, FS on the stack page. */
export function tcsBytes(i: number, options: ProbeOptions): Uint8Array {
  const { stack, ssa } = threadAt(i);
  return TCS.encode({
    FLAGS: options.tcsFlags ?? 0n,
    OSSA: BigInt(ssa),
    NSSA: options.nssa ?? 3,
    OENTRY: BigInt(AT.CODE),
    OFSBASE: BigInt(stack),
    OGSBASE: BigInt(stack),
    FSLIMIT: 0xfff,
    GSLIMIT: 0xfff,
  });
}

/** Every page of a probe, in the order of EADD. */
export function probePages(options: ProbeOptions): AddedPages[] {
  const codePage = new Uint8Array(PAGE);
  codePage.set(probeCode());
  const constant = new Uint8Array(PAGE).fill(0x5a);
  const out: AddedPages[] = [
    { offset: AT.CODE, data: codePage, flags: REG_RX, measured: true },
    { offset: AT.DATA, data: new Uint8Array(8 * PAGE), flags: REG_RW, measured: true },
    { offset: AT.CONSTANT, data: constant, flags: REG_R, measured: true },
  ];
  for (let i = 0; i < (options.threads ?? 1); i++) {
    const { tcs, stack, ssa } = threadAt(i);
    const ssaBytes = (options.nssa ?? 3) * PAGE;
    out.push({ offset: tcs, data: tcsBytes(i, options), flags: TCS_PAGE, measured: true });
    out.push({ offset: stack, data: new Uint8Array(PAGE), flags: REG_RW, measured: true });
    out.push({ offset: ssa, data: new Uint8Array(ssaBytes), flags: REG_RW, measured: true });
  }
  return [...out, ...(options.extra ?? [])];
}

/** The SECS of a probe at `base`. */
export function probeSecs(base: number, options: ProbeOptions): Uint8Array {
  return SECS.encode({
    SIZE: BigInt(AT.SIZE),
    BASEADDR: BigInt(base),
    SSAFRAMESIZE: 1,
    MISCSELECT: options.miscselect ?? 0,
    ATTRIBUTES: { FLAGS: ATTRIBUTES_MODE64BIT | (options.attributes ?? 0n), XFRM: options.xfrm ?? 3n },
    ...(options.configId === undefined ? {} : { CONFIGID: options.configId }),
    CONFIGSVN: options.configSvn ?? 0,
  });
}

/** MRENCLAVE of these pages. */
export function probeMeasurement(pages: readonly AddedPages[]): Uint8Array {
  const m = new EnclaveMeasurement(nodeHash);
  m.ecreate(1, BigInt(AT.SIZE));
  for (const { offset, data, flags, measured } of pages)
    m.addPages(BigInt(offset), secinfoBytes(flags), data, measured);
  return m.digest();
}

/** A SIGSTRUCT over these pages. */
export function probeSigstruct(
  pages: readonly AddedPages[],
  options: ProbeOptions,
  key: SigningKey,
): Uint8Array {
  return signSigstruct(
    {
      DATE: 0x20260101,
      MISCSELECT: options.miscselect ?? 0,
      MISCMASK: 0xffff_ffff,
      ATTRIBUTES: { FLAGS: ATTRIBUTES_MODE64BIT | (options.attributes ?? 0n), XFRM: options.xfrm ?? 3n },
      ATTRIBUTEMASK: { FLAGS: 0xffff_ffff_ffff_fffen, XFRM: 0xffff_ffff_ffff_ffffn },
      ENCLAVEHASH: probeMeasurement(pages),
      ISVPRODID: options.isvProdId ?? 1,
      ISVSVN: options.isvSvn ?? 2,
      ...(options.isvFamilyId === undefined ? {} : { ISVFAMILYID: options.isvFamilyId }),
      ...(options.isvExtProdId === undefined ? {} : { ISVEXTPRODID: options.isvExtProdId }),
    },
    key,
  );
}
