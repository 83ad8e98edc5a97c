/**
 * The structure that Intel's trusted runtime gets with ECMD_INIT_ENCLAVE: what the processor and the untrusted half offer.
 * Source: Intel SGX SDK for Linux, common/inc/internal/rts.h (system_features_t), se_cpu_feature_defs.h and
 * se_cpu_feature_defs_ext.h; psw/urts/cpu_features_ext.cpp for the conditions of each bit.
 */

/** Size of system_features_t in bytes (packed). */
export const SYSTEM_FEATURES_SIZE = 176;

const OFFSET = Object.freeze({
  cpu_features: 0,
  version: 8,
  system_feature_set: 12,
  cpuinfo_table: 20,
  sealed_key: 148,
  size: 156,
  cpu_features_ext: 164,
  cpu_core_num: 172,
});

/** sdk_version_t: what the metadata version stands for. */
export const SDK_VERSION = Object.freeze({ V1_5: 0, V3_0: 5 });

const SYS_FEATURE_EDMM = 1n << 0n;
const SYS_FEATURE_AEX_NOTIFY = 1n << 1n;
const SYS_FEATURE_EXTEND = 1n << 62n;
/** Marks the last element of the feature set. */
const SYS_FEATURE_LAST = 1n << 63n;

/** Bits that both layouts share. A feature stands only where all flags (as /proc/cpuinfo names them) are there. */
const COMMON: readonly (readonly [bigint, readonly string[]])[] = [
  [0x1n, []],
  [0x2n, ['fpu']],
  [0x4n, ['cmov']],
  [0x8n, ['mmx']],
  [0x10n, ['fxsr']],
  [0x20n, ['sse']],
  [0x40n, ['sse2']],
  [0x80n, ['pni']],
  [0x100n, ['ssse3']],
  [0x200n, ['sse4_1']],
  [0x400n, ['sse4_2']],
  [0x2000n, ['pclmulqdq']],
  [0x4000n, ['aes']],
  [0x8000n, ['f16c', 'avx']],
  [0x1_0000n, ['avx']],
  [0x2_0000n, ['rdrand']],
  [0x4_0000n, ['fma', 'avx']],
  [0x8_0000n, ['bmi1', 'bmi2']],
  [0x80_0000n, ['avx2', 'avx']],
];

/** Bits of CPU_FEATURE_* of se_cpu_feature_defs.h. */
const LEGACY: typeof COMMON = [
  [0x800n, ['popcnt']],
  [0x1000n, ['movbe']],
  [0x200_0000n, ['3dnowprefetch']],
  [0x400_0000n, ['rdseed']],
  [0x800_0000n, ['adx']],
];

const AVX512 = ['avx', 'avx512f'];

/** Bits of CPU_FEATURE_* of se_cpu_feature_defs_ext.h. */
const EXTENDED: typeof COMMON = [
  [0x800n, ['movbe']],
  [0x1000n, ['popcnt']],
  [0x100_0000n, [...AVX512, 'avx512dq']],
  [0x800_0000n, AVX512],
  [0x1000_0000n, ['adx']],
  [0x2000_0000n, ['rdseed']],
  [0x4000_0000n, [...AVX512, 'avx512ifma']],
  [1n << 34n, [...AVX512, 'avx512cd']],
  [1n << 35n, ['sha_ni']],
  [1n << 37n, [...AVX512, 'avx512bw']],
  [1n << 38n, [...AVX512, 'avx512vl']],
  [1n << 39n, [...AVX512, 'avx512vbmi']],
  [1n << 42n, [...AVX512, 'avx512_vpopcntdq']],
  [1n << 43n, [...AVX512, 'avx512_bitalg']],
  [1n << 44n, [...AVX512, 'avx512_vbmi2']],
  [1n << 45n, ['gfni']],
  [1n << 46n, ['vaes', 'avx']],
  [1n << 47n, ['vpclmulqdq', 'avx']],
  [1n << 48n, [...AVX512, 'avx512_vnni']],
  [1n << 49n, ['clwb']],
  [1n << 50n, ['rdpid']],
  [1n << 54n, ['wbnoinvd']],
];

/** These two are told for Intel's processors only, as the untrusted half of the SDK does. */
const INTEL_ONLY: typeof COMMON = [[0x10_0000n, ['abm']]];

/** cpu_features and cpu_features_ext for the processor flags of /proc/cpuinfo. */
export function cpuFeatures(
  flags: ReadonlySet<string>,
  intel: boolean,
): { legacy: bigint; extended: bigint } {
  const bits = (...tables: (typeof COMMON)[]) =>
    tables
      .flat()
      .filter(([, needed]) => needed.every((flag) => flags.has(flag)))
      .reduce((sum, [bit]) => sum | bit, 0n);
  const own = intel ? INTEL_ONLY : [];
  return { legacy: bits(COMMON, LEGACY, own), extended: bits(COMMON, EXTENDED, own) };
}

/** EAX, EBX, ECX, EDX of a CPUID leaf, subleaf 0. */
export type Cpuid = (leaf: number) => readonly number[];

/** What the host offers to a runtime. */
export interface SystemFeatures {
  readonly flags: ReadonlySet<string>;
  readonly cpuid: Cpuid;
  readonly edmm: boolean;
  readonly aexNotify: boolean;
  readonly processors: number;
  /** Where the sealed key of an encrypted enclave lies in untrusted memory; 0 without one. */
  readonly sealedKey?: number;
}

/** Leaves whose results the table carries, at the rows of their numbers. */
const CPUINFO_LEAVES = [0, 1, 4, 7];
/** EBX of CPUID leaf 0 where the vendor is Intel: "Genu". */
const GENU = 0x756e_6547;

/** Encodes system_features_t. */
export function systemFeatures(features: SystemFeatures): Uint8Array {
  const bytes = new Uint8Array(SYSTEM_FEATURES_SIZE);
  const view = new DataView(bytes.buffer);
  const { flags, cpuid, edmm, aexNotify, processors } = features;
  const { legacy, extended } = cpuFeatures(flags, (cpuid(0)[1] ?? 0) >>> 0 === GENU);
  let set = SYS_FEATURE_EXTEND | SYS_FEATURE_LAST;
  if (edmm) set |= SYS_FEATURE_EDMM;
  if (aexNotify) set |= SYS_FEATURE_AEX_NOTIFY;
  view.setBigUint64(OFFSET.cpu_features, legacy, true);
  view.setUint32(OFFSET.version, edmm ? SDK_VERSION.V3_0 : SDK_VERSION.V1_5, true);
  view.setBigUint64(OFFSET.system_feature_set, set, true);
  for (const leaf of CPUINFO_LEAVES)
    cpuid(leaf).forEach((value, i) => {
      view.setUint32(OFFSET.cpuinfo_table + leaf * 16 + i * 4, value, true);
    });
  view.setBigUint64(OFFSET.sealed_key, BigInt(features.sealedKey ?? 0), true);
  view.setBigUint64(OFFSET.size, BigInt(SYSTEM_FEATURES_SIZE), true);
  view.setBigUint64(OFFSET.cpu_features_ext, extended, true);
  view.setUint32(OFFSET.cpu_core_num, processors, true);
  return bytes;
}
