/**
 * The elements of Enclave.config.xml. Source: Intel SGX SDK Developer Reference, "Enclave Configuration File", and
 * sdk/sign_tool/SignTool/sign_tool.cpp and metadata.h of the SDK for Linux (2.26) for limits and defaults.
 */

/** Limits and default of one element; both limits are permitted values. */
export interface ConfigElement {
  readonly min: bigint;
  readonly max: bigint;
  readonly byDefault: bigint;
}

const U16 = 0xffffn;
const U32 = 0xffff_ffffn;
const U64 = 0xffff_ffff_ffff_ffffn;
/** Sizes of memory end at half of the address space. */
const HALF = U64 / 2n;

const element = (max: bigint, min = 0n, byDefault = min): ConfigElement => ({ min, max, byDefault });
const flag = element(1n);

/** Every element by name; a size is in bytes. */
export const CONFIG_ELEMENTS = Object.freeze({
  ProdID: element(U16),
  ISVSVN: element(U16),
  ReleaseType: flag,
  IntelSigned: flag,
  ProvisionKey: flag,
  LaunchKey: flag,
  DisableDebug: flag,
  HW: element(0x10n),
  TCSNum: element(U32, 1n),
  /** As TCSNum unless it is given. */
  TCSMaxNum: element(U32, 1n),
  TCSMinPool: element(U32, 0n, 1n),
  TCSPolicy: element(1n, 0n, 1n),
  StackMaxSize: element(HALF, 0x2000n, 0x4_0000n),
  StackMinSize: element(HALF, 0x2000n),
  HeapMaxSize: element(HALF, 0n, 0x100_0000n),
  HeapMinSize: element(HALF, 0n, 0x1000n),
  /** As HeapMaxSize unless it is given. */
  HeapInitSize: element(HALF, 0n, 0x1000n),
  ReservedMemMaxSize: element(HALF),
  ReservedMemMinSize: element(HALF),
  /** As ReservedMemMaxSize unless it is given. */
  ReservedMemInitSize: element(HALF),
  ReservedMemExecutable: flag,
  MiscSelect: element(U32),
  MiscMask: element(U32, 0n, U32),
  EnableKSS: flag,
  ISVFAMILYID_H: element(U64),
  ISVFAMILYID_L: element(U64),
  ISVEXTPRODID_H: element(U64),
  ISVEXTPRODID_L: element(U64),
  EnclaveImageAddress: element(U64, 0x1000n, 0n),
  ELRangeStartAddress: element(U64),
  ELRangeSize: element(U64, 0x1000n, 0n),
  /** 0: must be off, 1: must be on, 2: the loader chooses. */
  PKRU: element(2n),
  /** 0: must be off, 1: must be on, 2: the loader chooses. */
  AMX: element(2n),
  UserRegionSize: element(HALF),
  EnableAEXNotify: flag,
  EnableIPPFIPS: flag,
  EnableOSSLFIPS: flag,
} satisfies Record<string, ConfigElement>);

/** Names of {@link CONFIG_ELEMENTS}. */
export type ConfigElementName = keyof typeof CONFIG_ELEMENTS;

/** Whether a name is one of {@link CONFIG_ELEMENTS}. */
export function isConfigElement(name: string): name is ConfigElementName {
  return Object.hasOwn(CONFIG_ELEMENTS, name);
}
