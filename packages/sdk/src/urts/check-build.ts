/** Enclaves of Intel's SDK that no processor with SGX runs, found before anything is built of them. */
import { createPublicKey, verify } from 'node:crypto';
import { NsgxError } from '@nestedsgx/arch';
import { type CssKey, containsEnclu, type IntelImage } from '@nestedsgx/image';
import { sdkError } from '../errors.js';
import { SGX_STATUS, SgxStatusError } from './sgx-status.js';

/**
 * Refuses enclaves that were built for simulation, and those that could never leave.
 * Source: Intel SGX SDK for Linux, psw/urts/urts_com.h; Intel SDM, "EEXIT".
 * @throws IMAGE_SIMULATION, IMAGE_NO_ENCLU, IMAGE_METADATA for a FIPS signature that is none, SgxStatusError for an encrypted
 *   image without its key, and the reverse
 */
export function refuseUnrunnable(
  { source, sigstruct }: Pick<IntelImage, 'source' | 'sigstruct'>,
  sealedKey: boolean,
): void {
  if (source.simulation)
    throw sdkError(
      'IMAGE_SIMULATION',
      'the enclave was built for simulation mode: it exports g_global_data_sim (SGX_ERROR_MODE_INCOMPATIBLE)',
      'build the enclave with SGX_MODE=HW and sign it again; nothing else has to be built anew',
    );
  if (source.encrypted !== sealedKey)
    throw new SgxStatusError(
      source.encrypted ? SGX_STATUS.SGX_ERROR_PCL_ENCRYPTED : SGX_STATUS.SGX_ERROR_PCL_NOT_ENCRYPTED,
      'loading the enclave',
      source.encrypted
        ? { advice: 'give the key that its sealing enclave sealed on this machine as the option sealedKey' }
        : {},
    );
  const { fipsSignature } = source.chosen;
  if (fipsSignature !== null && !signs(fipsSignature, sigstruct))
    throw new NsgxError(
      'IMAGE_METADATA',
      'extend_entry_t 0x1001: the signature for FIPS mode does not belong to the SIGSTRUCT (SGX_ERROR_INVALID_METADATA)',
      { advice: 'sign the enclave again with EnableIPPFIPS' },
    );
  if (!containsEnclu(source))
    throw sdkError(
      'IMAGE_NO_ENCLU',
      'the executable pages of the enclave contain no ENCLU instruction, so it could be entered and never leave',
      'link it with a trusted runtime for SGX: one that leaves by other instructions, such as SYSCALL, needs the ' +
        'platform that it was made for',
    );
}

/** Whether a css_key_t signs the SIGSTRUCT: RSA with SHA-256, modulus little endian, signature big endian. */
function signs({ modulus, exponent, signature }: CssKey, sigstruct: Uint8Array): boolean {
  const e = Buffer.alloc(4);
  e.writeUInt32BE(exponent);
  const n = Buffer.from(modulus).reverse().toString('base64url');
  try {
    const key = createPublicKey({ key: { kty: 'RSA', n, e: e.toString('base64url') }, format: 'jwk' });
    return verify('sha256', sigstruct, key, signature);
  } catch {
    return false;
  }
}
