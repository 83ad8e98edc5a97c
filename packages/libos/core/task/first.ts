/** The thread that the program begins with. */
import { root } from '../fs/path';
import { FIRST_PID, nextId, Process } from './process';
import { setCurrentThread, Thread, threads } from './thread';

export function startFirst(): void {
  nextId();
  const thread = new Thread(FIRST_PID, 0, new Process(FIRST_PID, null, root));
  threads[0] = thread;
  setCurrentThread(thread);
}
