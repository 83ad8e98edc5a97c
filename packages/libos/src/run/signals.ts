/** Signals of this process, handed on to the program that it runs. */
import { constants } from 'node:os';
import type { RunningProgram } from './exec.js';

const FORWARDED = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGTERM',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
  'SIGTSTP',
] as const;
const FATAL: readonly string[] = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'];
/** A program that does not end: so many of those that end programs in a second end this process. */
const IMPATIENCE = 3;

function windowSize(): number {
  const { rows = 0, columns = 0 } = process.stdout;
  return ((rows & 0xffff) << 16) | (columns & 0xffff);
}

/**
 * Hands this process's signals on until what is returned is called. The program may ignore them; the third of SIGINT, SIGTERM,
 * SIGQUIT or SIGHUP within a second, or one that cannot be handed on, ends this process as it would without.
 */
export function forwardSignals(program: RunningProgram): () => void {
  let times: number[] = [];
  const handler = (name: NodeJS.Signals) => {
    const sent = program.signal(name, name === 'SIGWINCH' ? windowSize() >>> 0 : 0);
    if (!FATAL.includes(name)) return;
    const now = performance.now();
    times = [...times.filter((time) => now - time < 1000), now];
    if (!sent || times.length >= IMPATIENCE) process.exit(128 + constants.signals[name]);
  };
  for (const name of FORWARDED) process.on(name, handler);
  return () => {
    for (const name of FORWARDED) process.off(name, handler);
  };
}
