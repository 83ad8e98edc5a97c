/** Makes an enclave ready for switchless calls: finds what its interface must have, and hands it the shared structures. */
import type { EdlDescription } from '@nestedsgx/edl';
import { sdkError } from '../../errors.js';
import type { EnclaveGate, GateSet } from '../../gates.js';
import type { IntelThread } from '../intel-thread.js';
import { SgxStatusError } from '../sgx-status.js';
import type { SwitchlessCalls } from './switchless-calls.js';
import { TrustedWorker } from './trusted-worker.js';

/** ECALLs of sgx_tswitchless.edl. */
const INIT = 'sl_init_switchless';
const WORKER = 'sl_run_switchless_tworker';

/** What starting needs of the enclave. */
export interface SwitchlessStart {
  readonly description: EdlDescription | undefined;
  readonly gates: GateSet;
  /** Free threads now. */
  readonly free: number;
  /** Makes an ECALL with the bytes of its structure; gives those that came back. */
  ecall(index: number, structure: Uint8Array): Uint8Array;
  /** Takes a thread for good. */
  takeThread(): { thread: IntelThread; gate: EnclaveGate };
}

/** Hands the enclave what `calls` shares with it, and sends workers in. @throws SWITCHLESS_UNAVAILABLE and what entering may throw */
export function startSwitchless(start: SwitchlessStart, calls: SwitchlessCalls): void {
  const { trustedWorkers, untrustedWorkers } = calls.config;
  const [init, worker] = [INIT, WORKER].map((name) => indexOf(start.description, name));
  if (start.free <= trustedWorkers)
    throw sdkError(
      'SWITCHLESS_UNAVAILABLE',
      `${trustedWorkers} trusted workers would leave none of ${start.free} threads for other calls`,
      'ask for fewer trusted workers, or build the enclave with a larger TCSNum',
    );
  // Marshalling structure: status, then the address of the shared structure.
  const structure = new Uint8Array(16);
  new DataView(structure.buffer).setBigUint64(8, BigInt(calls.shared.address), true);
  const back = start.ecall(init, structure);
  const status = new DataView(back.buffer, back.byteOffset).getUint32(0, true);
  if (status !== 0) throw new SgxStatusError(status, `ECALL ${INIT}`);
  const workers = Array.from({ length: trustedWorkers }, () => {
    const { thread, gate } = start.takeThread();
    gate.lookedAfterBy(calls);
    return new TrustedWorker(thread, gate, worker);
  });
  if (untrustedWorkers > 0) start.gates.watch(calls);
  calls.start(workers);
}

function indexOf(description: EdlDescription | undefined, name: string): number {
  const index = description?.ecalls.findIndex((ecall) => ecall.name === name) ?? -1;
  if (index >= 0) return index;
  throw sdkError(
    'SWITCHLESS_UNAVAILABLE',
    description === undefined
      ? 'switchless calls need the EDL file of the enclave'
      : `the EDL file of the enclave does not import ${name}`,
    'import sgx_tswitchless.edl, link the enclave with libsgx_tswitchless, and load it with its EDL file',
  );
}
