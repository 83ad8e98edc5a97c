/** The thread that the program begins with. */
import { root } from '../fs/path';
import { setFirst } from './exit';
import { FIRST_PID, nextId, Process } from './process';
import { setCurrentThread, Thread, threads } from './thread';

export function startFirst(): void {
  nextId();
  const process = new Process(FIRST_PID, null, root);
  setFirst(process);
  const thread = new Thread(FIRST_PID, 0, process);
  threads[0] = thread;
  setCurrentThread(thread);
}
