/**
 * Which values of Enclave.config.xml go together. Source: Intel SGX SDK for Linux 2.26,
 * sdk/sign_tool/SignTool/manage_metadata.cpp.
 */
import type { EnclaveConfig } from './config.js';
import type { ConfigElementName } from './config-elements.js';

const PAGE = 0x1000n;

type Problem = (message: string) => Error;

/** What dynamic memory (EDMM) means for the metadata: which kinds of loaders an enclave is signed for. */
export interface LoaderKinds {
  /** Loaders without EDMM (metadata 1.x). */
  readonly sgx1: boolean;
  /** Loaders with EDMM (metadata 3.x). */
  readonly sgx2: boolean;
}

/** Throws what `problem` makes of the first two values that do not go together; both are named. */
export function checkConfig(config: EnclaveConfig, problem: Problem): void {
  const { values, given } = config;
  const text = (name: ConfigElementName): string =>
    `${name}${given.has(name) ? '' : ' (not given)'} is 0x${values[name].toString(16)}`;
  const pages = (...names: ConfigElementName[]): void => {
    for (const name of names)
      if (values[name] % PAGE !== 0n) throw problem(`${text(name)}, not a multiple of 0x1000`);
  };
  const atMost = (low: ConfigElementName, high: ConfigElementName): void => {
    if (values[low] > values[high]) throw problem(`${text(low)}, but ${text(high)}: it may be at most that`);
  };
  const needs = (name: ConfigElementName, wanted: string, met: boolean): void => {
    if (!met) throw problem(`${text(name)}, which needs ${wanted}`);
  };

  pages('StackMaxSize', 'StackMinSize');
  atMost('StackMinSize', 'StackMaxSize');
  for (const [min, init, max] of [
    ['HeapMinSize', 'HeapInitSize', 'HeapMaxSize'],
    ['ReservedMemMinSize', 'ReservedMemInitSize', 'ReservedMemMaxSize'],
  ] as const) {
    pages(max, min, init);
    if (given.has(init)) {
      atMost(init, max);
      atMost(min, init);
    } else atMost(min, max);
  }
  pages('UserRegionSize', 'EnclaveImageAddress', 'ELRangeStartAddress', 'ELRangeSize');
  needs('HW', 'LaunchKey to be 1', values.HW === 0n || values.LaunchKey === 1n);
  needs('LaunchKey', 'HW to be other than 0', values.LaunchKey === 0n || values.HW !== 0n);
  if (given.has('TCSMaxNum')) atMost('TCSNum', 'TCSMaxNum');
  if (given.has('TCSMinPool')) atMost('TCSMinPool', 'TCSMaxNum');
  for (const name of ['ISVEXTPRODID_H', 'ISVEXTPRODID_L', 'ISVFAMILYID_H', 'ISVFAMILYID_L'] as const)
    needs(name, 'EnableKSS to be 1', values[name] === 0n || values.EnableKSS === 1n);
  for (const name of ['EnclaveImageAddress', 'ELRangeStartAddress'] as const)
    needs(name, 'ELRangeSize', !given.has(name) || given.has('ELRangeSize'));
  checkElrange(values, text, problem);
  needs(
    'UserRegionSize',
    'bit 0 of MiscSelect and of MiscMask to be 1 (dynamic memory)',
    values.UserRegionSize === 0n || (values.MiscSelect & values.MiscMask & 1n) === 1n,
  );
  if (values.EnableOSSLFIPS !== 0n)
    throw problem(`${text('EnableOSSLFIPS')}: an enclave that carries a second shared object cannot be made`);
  if (values.ReleaseType !== 0n)
    throw problem(`${text('ReleaseType')}: EINIT refuses a SIGSTRUCT with such a HEADER`);
}

function checkElrange(
  values: EnclaveConfig['values'],
  text: (name: ConfigElementName) => string,
  problem: Problem,
): void {
  const { ELRangeSize: size, ELRangeStartAddress: start, EnclaveImageAddress: image } = values;
  if (size === 0n) return;
  if ((size & (size - 1n)) !== 0n) throw problem(`${text('ELRangeSize')}, not a power of two`);
  if (start % size !== 0n)
    throw problem(`${text('ELRangeStartAddress')}, not a multiple of ELRangeSize, 0x${size.toString(16)}`);
  if (start + size >= 1n << 64n)
    throw problem(`${text('ELRangeStartAddress')} and ${text('ELRangeSize')}: their sum exceeds 64 bits`);
  if (start > image)
    throw problem(`${text('ELRangeStartAddress')}, above EnclaveImageAddress, 0x${image.toString(16)}`);
}

/**
 * For which loaders an enclave is signed. What grows at run time needs bit 0 of MiscSelect (EXINFO); with bit 0 of
 * MiscMask too, only loaders with EDMM are left.
 */
export function loaderKinds({ values }: EnclaveConfig): LoaderKinds {
  if (values.UserRegionSize > 0n) return { sgx1: false, sgx2: true };
  const pool = poolThreads(values);
  const grows =
    values.HeapInitSize !== values.HeapMinSize ||
    values.HeapInitSize !== values.HeapMaxSize ||
    values.StackMaxSize !== values.StackMinSize ||
    values.ReservedMemInitSize !== values.ReservedMemMinSize ||
    values.ReservedMemInitSize !== values.ReservedMemMaxSize ||
    values.TCSMaxNum !== pool + 1n;
  if (!grows || (values.MiscSelect & 1n) === 0n) return { sgx1: true, sgx2: false };
  return { sgx1: (values.MiscMask & 1n) === 0n, sgx2: true };
}

/** Threads that stay beside the first: TCSMinPool, as far as TCSNum goes. */
export function poolThreads(values: EnclaveConfig['values']): bigint {
  return values.TCSMinPool > values.TCSNum - 1n ? values.TCSNum - 1n : values.TCSMinPool;
}
