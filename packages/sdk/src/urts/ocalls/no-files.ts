/** The answer to protected files where the host gave the enclave no folder. */
import { sdkError } from '../../errors.js';
import type { BuiltinOcalls } from './builtin-host.js';

const NAMES = [
  'check_if_file_exists',
  'exclusive_file_map',
  'file_remap',
  'file_unmap',
  'remove',
  'fwrite_recovery_file',
  'do_file_recovery',
  'exclusive_file_open',
  'fread_node',
  'fwrite_node',
  'fclose',
  'fflush',
  'recovery_file_open',
  'fwrite_recovery_node',
];

/** Refuses every call with ENCLAVE_FILES_REFUSED, which the enclave sees as a failed OCALL. */
export function noFileOcalls(): BuiltinOcalls {
  const refusal = (name: unknown) => {
    const what =
      typeof name === 'string'
        ? `the protected file ${JSON.stringify(name.slice(0, 300))}`
        : 'a protected file';
    throw sdkError(
      'ENCLAVE_FILES_REFUSED',
      `the enclave asked for ${what}, and was given no folder for files (option files of cvm.load)`,
      'name a folder in the option files of cvm.load',
    );
  };
  return Object.fromEntries(NAMES.map((name) => [`u_sgxprotectedfs_${name}`, refusal]));
}
