/**
 * Signing an enclave of Intel's SDK: from the linked shared object to `.signed.so`. Source: Intel SGX SDK for Linux
 * 2.26, sdk/sign_tool/SignTool; Intel SDM Vol. 3D, "Enclave Signature Structure (SIGSTRUCT)".
 */
import { type HashProvider, NsgxError, unsignedSigstruct } from '@nestedsgx/arch';
import type { EnclaveConfig } from '../intel/config.js';
import { loadSignedSo } from '../intel/intel-image.js';
import { DEFAULT_SIGNED_SO_LIMITS, type SignedSoLimits } from '../intel/limits.js';
import type { MetadataVersion } from '../intel/metadata-format.js';
import { fileWithMetadata, type MetadataPlan, planMetadata } from '../intel/metadata-plan.js';
import { readUnsignedSo, type UnsignedSo, type UnsignedSoOptions } from '../intel/unsigned-so.js';
import { measureImage } from '../measure.js';
import { sigstructDate } from './options.js';
import { requestOf, type SigningRequest } from './two-step.js';

/** Options of signing a shared object. */
export interface SignSharedObjectOptions extends UnsignedSoOptions {
  /** The date of signing as YYYYMMDD in digits, or a Date (UTC); today. */
  readonly date?: string | Date;
  readonly limits?: Partial<SignedSoLimits>;
}

/** What the first step gives for a shared object. */
export interface SharedObjectRequest extends SigningRequest {
  /** Versions of the metadata blocks, in file order. */
  readonly versions: readonly MetadataVersion[];
  /** SECS.SIZE in bytes. */
  readonly enclaveSize: bigint;
  /** Built for simulation: it can be signed, but no machine with SGX runs it. */
  readonly simulation: boolean;
  /** EnableIPPFIPS: a css_key_t over the SIGSTRUCT, by any RSA-3072 key with exponent 65537, goes into the file too. */
  readonly needsFipsSignature: boolean;
  /** The `.signed.so` with this SIGSTRUCT (and css_key_t). */
  readonly signedFile: (sigstruct: Uint8Array, fipsSignature?: Uint8Array) => Uint8Array;
}

/**
 * First step: plans the metadata of a linked enclave and measures it. The same file, configuration, options and date
 * give the same bytes. Throws the errors of `readUnsignedSo` and `planMetadata`, and SIGN_OPTION for the date.
 */
export function sharedObjectRequest(
  hash: HashProvider,
  file: Uint8Array,
  config: EnclaveConfig,
  options: SignSharedObjectOptions = {},
): SharedObjectRequest {
  const limits = { ...DEFAULT_SIGNED_SO_LIMITS, ...options.limits };
  if (file.length > limits.maxFileBytes)
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `the file has ${file.length} bytes, more than ${limits.maxFileBytes}`,
    );
  const so = readUnsignedSo(file, limits, options);
  const plan = planMetadata(so, config, limits.maxEnclaveBytes);
  const mrenclave = measured(hash, file, so, plan, limits);
  const date = sigstructDate(options.date ?? new Date());
  return {
    ...requestOf(hash, { ...plan.fields, DATE: date, ENCLAVEHASH: mrenclave }),
    versions: plan.versions,
    enclaveSize: config.values.ELRangeSize === 0n ? plan.layout.enclaveSize : config.values.ELRangeSize,
    simulation: so.simulation,
    needsFipsSignature: plan.fipsOffset !== null,
    signedFile: (sigstruct, fipsSignature) => fileWithMetadata(file, so, plan, sigstruct, fipsSignature),
  };
}

/** The enclave's measurement as a loader takes it: from the file with its metadata. */
function measured(
  hash: HashProvider,
  file: Uint8Array,
  so: UnsignedSo,
  plan: MetadataPlan,
  limits: SignedSoLimits,
): Uint8Array {
  const withMetadata = fileWithMetadata(file, so, plan, unsignedSigstruct({}));
  return measureImage(hash, loadSignedSo(withMetadata, { limits }));
}
