/** From what a person types to a program of this machine. */
import { accessSync, closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';

/** What a shell answers when a command is not there, and when it cannot be executed. */
export const NOT_FOUND = 127;
export const NOT_EXECUTABLE = 126;

const ELF = '\x7fELF';

/** What is at a path: a program, something that is executed otherwise, something that is not, or nothing. */
function kindOf(path: string): 'program' | 'script' | 'other' | 'none' {
  try {
    if (!statSync(path).isFile()) return 'other';
    accessSync(path, constants.X_OK);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EACCES' ? 'other' : 'none';
  }
  const first = Buffer.alloc(ELF.length);
  try {
    const fd = openSync(path, constants.O_RDONLY);
    try {
      readSync(fd, first);
    } finally {
      closeSync(fd);
    }
  } catch {
    return 'other';
  }
  return first.toString('latin1') === ELF ? 'program' : 'script';
}

function notExecutable(path: string, why: string): NsgxError {
  return new NsgxError('PROGRAM_MALFORMED', `${path} ${why}`, {
    advice: 'Give a program for x86-64 Linux, or an image of nsgx image build.',
  });
}

/**
 * The path of a program: a path itself, or a name that is looked for in PATH. Scripts there that stand for a program (pyenv)
 * are passed over.
 * @throws PROGRAM_MISSING (a shell's 127), PROGRAM_MALFORMED (its 126)
 */
export function findProgram(name: string, searched = process.env.PATH ?? ''): string {
  const candidates = name.includes('/')
    ? [resolve(name)]
    : searched.split(delimiter).map((folder) => resolve(join(folder || '.', name)));
  const found = candidates.map((path) => ({ path, kind: kindOf(path) }));
  const program = found.find(({ kind }) => kind === 'program');
  if (program !== undefined) return program.path;
  const script = found.find(({ kind }) => kind === 'script');
  if (script !== undefined)
    throw notExecutable(script.path, 'is a script, not a program: name its interpreter, and it with --copy');
  const other = found.find(({ kind }) => kind === 'other');
  if (other !== undefined) throw notExecutable(other.path, 'is not an executable file');
  throw new NsgxError('PROGRAM_MISSING', `${name}: there is no such program`, {
    advice: name.includes('/') ? 'Check the path.' : 'Give its path; PATH has no folder with it.',
  });
}
