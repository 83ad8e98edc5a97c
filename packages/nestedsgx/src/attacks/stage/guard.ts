/**
 * Ends a machine whose suite is gone, however that ended: waits for the end of descriptor 3, then kills the process of
 * descriptor 4 and removes the folder of its socket (first argument).
 */
import { rmSync } from 'node:fs';
import { pidfdSignal, recvFds } from '@nestedsgx/os';

for (;;) {
  const message = recvFds(3, 1, 0, 60_000);
  if (message?.eof) break;
}
try {
  pidfdSignal(4, 'SIGKILL');
} catch {
  // It ended already.
}
const folder = process.argv[2];
if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
