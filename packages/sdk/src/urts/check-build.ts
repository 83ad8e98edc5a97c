/** Enclaves of Intel's SDK that no processor with SGX runs, found before anything is built of them. */
import { containsEnclu, type IntelImage } from '@nestedsgx/image';
import { sdkError } from '../errors.js';
import { SGX_STATUS, SgxStatusError } from './sgx-status.js';

/**
 * Refuses enclaves that were built for simulation, and those that could never leave.
 * Source: Intel SGX SDK for Linux, psw/urts/urts_com.h; Intel SDM, "EEXIT".
 * @throws IMAGE_SIMULATION, IMAGE_NO_ENCLU, SgxStatusError for an encrypted image without its key, and the reverse
 */
export function refuseUnrunnable({ source }: Pick<IntelImage, 'source'>, sealedKey: boolean): void {
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
  if (!containsEnclu(source))
    throw sdkError(
      'IMAGE_NO_ENCLU',
      'the executable pages of the enclave contain no ENCLU instruction, so it could be entered and never leave',
      'link it with a trusted runtime for SGX: one that leaves by other instructions, such as SYSCALL, needs the ' +
        'platform that it was made for',
    );
}
