/**
 * SGX and SEV-SNP architecture as data: typed binary structures, constants, error codes, measurement and
 * SIGSTRUCT. Pure; hashing goes through {@link HashProvider}.
 */
export * from './codec/field.js';
export * from './codec/struct.js';
export * from './errors.js';
export * from './hash/provider.js';
export * from './quote/nested-certification-data.js';
export * from './quote/quote3.js';
export * from './sgx/attributes.js';
export * from './sgx/einittoken.js';
export * from './sgx/error-codes.js';
export * from './sgx/exinfo.js';
export * from './sgx/gprsgx.js';
export * from './sgx/key-request.js';
export * from './sgx/leaves.js';
export * from './sgx/measurement.js';
export * from './sgx/pageinfo.js';
export type * from './sgx/processor.js';
export * from './sgx/report.js';
export * from './sgx/secinfo.js';
export * from './sgx/secs.js';
export * from './sgx/sigstruct.js';
export * from './sgx/sigstruct-signature.js';
export * from './sgx/tcs.js';
export * from './snp/attestation-report.js';
export * from './snp/ghcb.js';
export * from './snp/guest-message.js';
export * from './snp/launch/firmware.js';
export * from './snp/launch/guest-launch.js';
export { LAUNCH_VMMS, type LaunchVmm } from './snp/launch/initial-vmsa.js';
export * from './snp/launch/kernel-hashes.js';
export * from './snp/launch/vcpu-type.js';
export * from './snp/launch-digest.js';
export * from './snp/page-info.js';
export * from './snp/rmp-entry.js';
export * from './snp/rmpadjust.js';
export * from './snp/secrets-page.js';
export * from './snp/tcb-version.js';
export * from './snp/vmsa.js';
export * from './svsm/caa.js';
export * from './svsm/sgx-protocol.js';
