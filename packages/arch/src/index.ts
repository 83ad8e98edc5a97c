/**
 * SGX and SEV-SNP architecture as data: typed binary structures, constants, error codes, measurement and
 * SIGSTRUCT. Pure; hashing goes through {@link HashProvider}.
 */
export * from './codec/field.js';
export * from './codec/struct.js';
export * from './errors.js';
export * from './hash/provider.js';
export * from './sgx/attributes.js';
export * from './sgx/einittoken.js';
export * from './sgx/error-codes.js';
export * from './sgx/exinfo.js';
export * from './sgx/gprsgx.js';
export * from './sgx/key-request.js';
export * from './sgx/leaves.js';
export * from './sgx/measurement.js';
export * from './sgx/pageinfo.js';
export * from './sgx/report.js';
export * from './sgx/secinfo.js';
export * from './sgx/secs.js';
export * from './sgx/sigstruct.js';
export * from './sgx/tcs.js';
