/** Enclave images: reading and writing SGXS, MRENCLAVE, SIGSTRUCT options and two-step signing. Pure, any OS. */
export * from './errors.js';
export * from './image.js';
export * from './measure.js';
export { DEFAULT_SGXS_LIMITS, type SgxsLimits } from './sgxs/format.js';
export { readSgxsHeader, type SgxsHeader } from './sgxs/header.js';
export * from './sgxs/read.js';
export * from './sgxs/source.js';
export type { SgxsTotals } from './sgxs/walker.js';
export * from './sgxs/write.js';
export * from './sign/options.js';
export * from './sign/sigstruct-file.js';
export * from './sign/two-step.js';
