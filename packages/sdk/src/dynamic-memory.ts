/** The host's half of what the trusted runtime does with dynamic memory: new threads, and heap that is given back. */
import { PT_TCS, PT_TRIM } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from '@nestedsgx/guest';
import { sdkError } from './errors.js';
import { COMMAND } from './thread.js';

const PAGE = 4096;

/** Calls a command of the runtime and returns its response. */
type Command = (command: number) => Uint8Array;

/** Words of a response. @throws MESSAGE_MALFORMED */
function words(response: Uint8Array, count: number): number[] {
  if (response.length !== count * 8)
    throw sdkError('MESSAGE_MALFORMED', `the runtime answered with ${response.length} bytes`);
  const view = new DataView(response.buffer, response.byteOffset, response.byteLength);
  return Array.from({ length: count }, (_, i) => Number(view.getBigUint64(i * 8, true)));
}

/** Prepares, changes and accepts the TCS of a new thread; returns its gate. */
export function addThread(file: SgxEnclaveFile, call: Command): number {
  const [tcs, ossa, nssa] = words(call(COMMAND.ADD_THREAD), 3);
  file.modifyTypes({ offset: tcs, length: PAGE, pageType: PT_TCS });
  call(COMMAND.ACCEPT_THREAD);
  const gate = file.threadSlot(tcs);
  if (gate === null)
    throw sdkError(
      'TCS_EXHAUSTED',
      'the machine has no thread left for the new TCS',
      'load with more threads',
    );
  file.threads.learn(gate, { tcs, ossa, nssa }, file.ssaFrameBytes);
  return gate;
}

/** Trims what the runtime offers; returns the bytes. */
export function trimHeap(file: SgxEnclaveFile, call: Command): number {
  const [offset, length] = words(call(COMMAND.TRIM_HEAP), 2);
  if (length === 0) return 0;
  file.modifyTypes({ offset, length, pageType: PT_TRIM });
  call(COMMAND.ACCEPT_TRIM);
  file.removePages({ offset, length });
  return length;
}
