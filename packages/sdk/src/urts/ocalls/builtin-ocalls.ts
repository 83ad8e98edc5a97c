/** What the untrusted half of Intel's SDK answers by itself. */
import type { BuiltinHost, BuiltinOcalls } from './builtin-host.js';
import { cpuidOcalls } from './cpuid.js';
import { FileFolder } from './file-folder.js';
import { noFileOcalls } from './no-files.js';
import { nodeFileOcalls } from './node-files.js';
import { protectedFileOcalls } from './protected-files.js';
import { serviceOcalls } from './services.js';
import { eventOcalls, ThreadEvents } from './thread-events.js';
import { threadOcalls } from './threads.js';

/**
 * Handlers for the OCALLs of the SDK's own EDL files, by name, for one enclave. A handler that the host gives under the same
 * name goes first.
 * @throws ENCLAVE_FILES_FOLDER when `host.files` is no folder
 */
export function builtinOcalls(host: BuiltinHost): BuiltinOcalls {
  const events = new ThreadEvents(host.ended);
  const folder = host.files === undefined ? undefined : new FileFolder(host.files);
  const files =
    folder === undefined
      ? noFileOcalls()
      : { ...nodeFileOcalls(host, folder), ...protectedFileOcalls(host, folder) };
  return Object.freeze({
    ...cpuidOcalls,
    ...eventOcalls(events),
    ...threadOcalls(host, events),
    ...files,
    ...serviceOcalls,
  });
}
