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

/**
 * Refuses every call with ENCLAVE_FILES_REFUSED. Enclaves often go on after a file that did not open, and their ECALL then
 * succeeds, so the first refusal is a warning of the process as well.
 */
export function noFileOcalls(): BuiltinOcalls {
  let warned = false;
  const refusal = (name: unknown) => {
    const what =
      typeof name === 'string'
        ? `the protected file ${JSON.stringify(name.slice(0, 300))}`
        : 'a protected file';
    const error = sdkError(
      'ENCLAVE_FILES_REFUSED',
      `the enclave asked for ${what}, and has no folder for files`,
      'name one in the option files of cvm.load',
    );
    if (!warned) process.emitWarning(`${error.message}: ${error.advice}`, { code: error.code });
    warned = true;
    throw error;
  };
  return Object.fromEntries(NAMES.map((name) => [`u_sgxprotectedfs_${name}`, refusal]));
}
