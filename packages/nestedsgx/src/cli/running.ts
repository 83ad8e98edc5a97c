/**
 * Programs that run in enclaves, as far as this account started them: a file for each in the state directory. A file speaks
 * for its process only while that lives: the number and the start time of a process are one.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';
import { defaultStateDir } from '@nestedsgx/sdk';

const LIMIT = 64 * 1024;

/** A program that runs. */
export interface Running {
  readonly pid: number;
  /** In ticks since the machine started (proc(5), stat, field 22). */
  readonly start: string;
  readonly since: string;
  readonly command: readonly string[];
  readonly image: string | null;
}

/** @throws SyntaxError, TypeError for what is no such row */
function parseRow(text: string): Running {
  const { pid, start, since, command, image } = JSON.parse(text) as Record<string, unknown>;
  const texts = (list: unknown): list is string[] =>
    Array.isArray(list) && list.every((item) => typeof item === 'string');
  if (
    !Number.isSafeInteger(pid) ||
    !texts([start, since]) ||
    !texts(command) ||
    (image !== null && typeof image !== 'string')
  )
    throw new TypeError('not a program that runs');
  return { pid: pid as number, start: start as string, since: since as string, command, image };
}

function folder(): string {
  return join(defaultStateDir(), 'running');
}

/** When a process of this account started; undefined when there is none, or it has ended and nobody asked how. */
function startOf(pid: number): string | undefined {
  try {
    if (statSync(`/proc/${pid}`).uid !== process.geteuid!()) return undefined;
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The name, which may have any character, ends at the last parenthesis.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Says that this process runs a program; what is returned takes that back. */
export function announce(command: readonly string[], image: string | null): () => void {
  const { pid } = process;
  const path = join(folder(), `${pid}.json`);
  const row: Running = {
    ...{ pid, start: startOf(pid) ?? '', since: new Date().toISOString() },
    // Arguments may be long; a list of programs need not show all.
    ...{ command: command.slice(0, 32).map((text) => text.slice(0, 256)), image },
  };
  try {
    mkdirSync(folder(), { recursive: true, mode: 0o700 });
    writeFileSync(path, JSON.stringify(row), { mode: 0o600 });
  } catch {
    // A program that is not listed runs as well.
  }
  return () => rmSync(path, { force: true });
}

function read(name: string): Running | undefined {
  const path = join(folder(), name);
  try {
    if (statSync(path).size > LIMIT) return undefined;
    const row = parseRow(readFileSync(path, 'utf8'));
    if (startOf(row.pid) === row.start && name === `${row.pid}.json`) return row;
  } catch {
    // What cannot be read speaks for nobody.
  }
  rmSync(path, { force: true });
  return undefined;
}

/** The programs of this account. Files of those that have ended are removed. */
export function running(): Running[] {
  let names: string[];
  try {
    names = readdirSync(folder());
  } catch {
    return [];
  }
  return names
    .filter((name) => /^\d+\.json$/.test(name))
    .flatMap((name) => read(name) ?? [])
    .sort((a, b) => a.pid - b.pid);
}

/** Sends a signal to a program. @throws NsgxError PROGRAM_NOT_RUNNING */
export function signalProgram(pid: number, signal: NodeJS.Signals): void {
  const gone = () =>
    new NsgxError('PROGRAM_NOT_RUNNING', `no program in an enclave has the number ${pid}`, {
      advice: 'nsgx ps lists those of this account.',
    });
  if (!running().some((row) => row.pid === pid)) throw gone();
  try {
    process.kill(pid, signal);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ESRCH') throw gone();
    throw cause;
  }
}
