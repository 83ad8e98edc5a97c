/** Where a confidential VM keeps the keys of its software chip. */
import { homedir } from 'node:os';
import { join } from 'node:path';

/** $NSGX_HOME, else $XDG_STATE_HOME/nestedsgx, else ~/.local/state/nestedsgx. */
export function defaultStateDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.NSGX_HOME) return env.NSGX_HOME;
  if (env.XDG_STATE_HOME?.startsWith('/')) return join(env.XDG_STATE_HOME, 'nestedsgx');
  return join(homedir(), '.local', 'state', 'nestedsgx');
}

/** The socket of a long-lived confidential VM: $NSGX_SOCKET, else `cvm.sock` in the state directory. */
export function defaultSocketPath(env: NodeJS.ProcessEnv = process.env): string {
  return env.NSGX_SOCKET || join(defaultStateDir(env), 'cvm.sock');
}
