/** Runs invocations on both sides. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { buildProgramImage, type ProgramImage } from '../../src/index.js';
import type { Inside } from '../inside.js';
import { type Case, FILES, type Suite } from './case.js';
import { fio, openssl, perl, python, sqlite, stress } from './languages.js';
import { busybox, tools } from './shells.js';

export const SUITES: readonly Suite[] = [busybox, tools, perl, sqlite, openssl, fio, stress, python];

const ENVIRONMENT = { PATH: '/usr/local/bin:/usr/bin:/bin', HOME: '/', LC_ALL: 'C', TZ: 'UTC' };
const LIMIT_MS = 120_000;
const SHOWN = 100;

function isElf(path: string): boolean {
  if (!existsSync(path)) return false;
  const start = Buffer.alloc(4);
  const fd = openSync(path, 'r');
  readSync(fd, start);
  closeSync(fd);
  return start.toString('latin1') === '\x7fELF';
}

/** Full path of a program, if this machine has it; scripts that stand for one do not count. */
export function which(name: string): string | undefined {
  return [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin']
    .map((folder) => join(folder, name))
    .find(isElf);
}

/** A folder with the files that programs get. */
export function makeFiles(): string {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-suite-'));
  for (const [name, text] of Object.entries(FILES)) writeFileSync(join(folder, name), text);
  return folder;
}

function* filesOf(path: string): Generator<string> {
  if (!existsSync(path)) return;
  if (!lstatSync(path).isDirectory()) yield path;
  else for (const name of readdirSync(path)) if (name !== '__pycache__') yield* filesOf(join(path, name));
}

/** Takes away what programs leave where both sides write. */
function tidy(): void {
  for (const name of readdirSync('/dev/shm'))
    if (/^nsgx-(suite|csplit|perl|fio|d$)/.test(name))
      rmSync(join('/dev/shm', name), { recursive: true, force: true });
}

function shown(text: string): string {
  const line = JSON.stringify(text.trim().split('\n').slice(-2).join(' / ')).slice(1, -1);
  return line.length > SHOWN ? `${line.slice(0, SHOWN)}…` : line;
}

/** How an invocation compares. */
export interface Outcome {
  readonly kind: 'same' | 'differs' | 'skipped';
  /** What differs, or why it was not run. */
  readonly text: string;
}

/** Programs that cannot be loaded, so that their libraries are not read each time. */
const unloadable = new Map<string, Outcome>();

/** Runs an invocation on both sides. What this machine has not, and what cannot be loaded, is skipped. */
export async function compare(machine: Inside, one: Case): Promise<Outcome> {
  const program = which(one.program);
  if (program === undefined) return { kind: 'skipped', text: `there is no ${one.program} here` };
  const known = unloadable.get(program);
  if (known !== undefined) return known;
  const variables = Object.entries(ENVIRONMENT).map(([name, value]) => `${name}=${value}`);
  let image: ProgramImage;
  try {
    const copy = (one.copy ?? []).flatMap((path) => [...filesOf(path)]);
    image = buildProgramImage({ program, copy, memory: one.memory, cache: join(machine.folder, 'sites') });
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'PROGRAM_FIXED_ADDRESS') throw error;
    const outcome = { kind: 'skipped', text: `${program} is linked for a fixed address` } as const;
    unloadable.set(program, outcome);
    return outcome;
  }
  tidy();
  const native = spawnSync(program, one.args, {
    ...{ env: ENVIRONMENT, input: Buffer.from(one.input ?? ''), encoding: 'latin1', cwd: '/' },
    ...{ timeout: LIMIT_MS, maxBuffer: 2 ** 26 },
  });
  tidy();
  const found = await machine.run(image, [program, ...one.args], variables, one.input ?? '');
  const status = native.signal === null ? native.status : `signal ${native.signal}`;
  if (found.status !== status)
    return {
      kind: 'differs',
      text: `ends with ${found.status} instead of ${status}: ${shown(found.stderr || found.stdout)}`,
    };
  const idle = one.idle?.exec(found.stdout + found.stderr);
  if (idle) return { kind: 'differs', text: `says "${shown(idle[0])}"` };
  if (found.stdout !== native.stdout)
    return { kind: 'differs', text: `writes "${shown(found.stdout)}" instead of "${shown(native.stdout)}"` };
  return { kind: 'same', text: '' };
}
