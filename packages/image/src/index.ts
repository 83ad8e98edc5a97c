/** Enclave images: reading and writing SGXS, reading and making Intel's .signed.so, MRENCLAVE, SIGSTRUCT options and two-step signing. Pure, any OS. */
export * from './errors.js';
export * from './image.js';
export {
  type EnclaveConfig,
  type EnclaveConfigInit,
  enclaveConfig,
  parseEnclaveConfig,
} from './intel/config.js';
export { CONFIG_ELEMENTS, type ConfigElement, type ConfigElementName } from './intel/config-elements.js';
export * from './intel/intel-image.js';
export type { LayoutRange } from './intel/layout.js';
export { DEFAULT_SIGNED_SO_LIMITS, type SignedSoLimits } from './intel/limits.js';
export type { LayoutRow, MetadataBlock } from './intel/metadata.js';
export * from './intel/metadata-format.js';
export { SDK_RELEASES, type SdkRelease, sdkVersionText } from './intel/sdk-release.js';
export * from './intel/signed-so.js';
export { containsEnclu, trustedRuntimeVersion } from './intel/simulation.js';
export { type ElfSymbol, elfSymbols } from './intel/symbols.js';
export type { UnsignedSoOptions } from './intel/unsigned-so.js';
export * from './intel/write-metadata.js';
export * from './measure.js';
export * from './open-image.js';
export { DEFAULT_SGXS_LIMITS, type SgxsLimits } from './sgxs/format.js';
export { readSgxsHeader, type SgxsHeader } from './sgxs/header.js';
export * from './sgxs/read.js';
export * from './sgxs/source.js';
export type { SgxsTotals } from './sgxs/walker.js';
export * from './sgxs/write.js';
export * from './sign/options.js';
export * from './sign/signed-so.js';
export * from './sign/sigstruct-file.js';
export * from './sign/two-step.js';
