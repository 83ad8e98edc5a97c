import { NsgxError } from '@nestedsgx/arch';
import { configureNative, sendFds, setDumpable } from '@nestedsgx/os';
import { ConfidentialVm } from './confidential-vm.js';
import { parseConfiguration } from './configuration.js';
import { encodeMessage } from './control/protocol.js';
import { refuseSignalledInspector, requireNoInspector } from './inspector-guard.js';
import { LAUNCH_FDS, readDescriptor } from './parts.js';

/**
 * Entry point of the bundle: the launcher's loader evaluates the sealed bytes and calls this. Descriptors are at the
 * numbers of LAUNCH_FDS. Returns when the machine has ended.
 */
export async function main(): Promise<void> {
  refuseSignalledInspector();
  loadNativeParts();
  try {
    // Before there are keys, and before the half second that measuring takes.
    setDumpable(false);
    requireNoInspector();
    const configuration = parseConfiguration(readDescriptor(LAUNCH_FDS.configuration, 'configuration'));
    const vm = await ConfidentialVm.launch(configuration);
    await vm.run();
    process.exit(0);
  } catch (error) {
    reportFailure(error);
    process.exit(1);
  }
}

/** Loads koffi and the FFI library from the sealed memory that is measured, not from any path. */
function loadNativeParts(): void {
  const module = { exports: {} };
  process.dlopen(module, `/proc/self/fd/${LAUNCH_FDS.koffi}`);
  configureNative({ koffi: module.exports, libraryPath: `/proc/self/fd/${LAUNCH_FDS.library}` });
}

function reportFailure(error: unknown): void {
  const known = error instanceof NsgxError || (error instanceof Error && 'code' in error);
  const message = {
    op: 'failed',
    code: known ? String((error as NsgxError).code) : 'CVM_INTERNAL',
    message: error instanceof Error ? error.message : String(error),
    advice: error instanceof NsgxError ? error.advice : undefined,
  };
  if (!known) console.error(error);
  try {
    sendFds(LAUNCH_FDS.control, encodeMessage(message), []);
  } catch {
    console.error(`nestedsgx: ${message.code}: ${message.message}`);
  }
}
