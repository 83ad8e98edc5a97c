/** Sites that were found before, by the digest of the file: decoding a C library takes longer than all else of a start. */
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileOffset, type Program } from '../elf/program.js';
import { findSites, type Site, type SiteScan } from './sites.js';

/** Goes up when `findSites` finds other sites than before. */
const VERSION = 1;
const ROW = 4;
/** Files that are kept: those of a program with some hundred libraries, and of many others. */
export const MAX_KEPT = 512;
/** Fewer are left when there are too many, so that it is not each time. */
const LEFT = 384;

interface Kept {
  /** at, bytes before, bytes after, next; for each site. */
  readonly sites: readonly number[];
  readonly trapping: readonly number[];
}

/**
 * As `findSites`, from a file below `folder` if it is there. What it says is checked as far as the code's bytes can tell;
 * whoever may write there may change what is signed, as with the key. A folder that cannot be written is not an error.
 */
export function keptSites(program: Program, folder: string | undefined): SiteScan {
  if (folder === undefined) return findSites(program);
  const digest = createHash('sha256').update(program.bytes).digest('hex');
  const path = join(folder, `${digest}-${VERSION}.json`);
  const kept = read(path, program);
  if (kept !== null) {
    used(path);
    return kept;
  }
  const scan = findSites(program);
  const sites = scan.sites.flatMap(({ at, before, after, next }) => [at, before.length, after.length, next]);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(
      `${path}.${process.pid}`,
      JSON.stringify({ sites, trapping: scan.trapping } satisfies Kept),
    );
    renameSync(`${path}.${process.pid}`, path);
    forget(folder);
  } catch {
    // Found again next time.
  }
  return scan;
}

function used(path: string): void {
  try {
    const now = new Date();
    utimesSync(path, now, now);
  } catch {
    // It counts as used when it was written.
  }
}

/** Removes those that were not used for longest, where there are too many. */
function forget(folder: string): void {
  const names = readdirSync(folder);
  if (names.length <= MAX_KEPT) return;
  const last = (name: string) => statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs ?? 0;
  const inOrder = names.map((name) => ({ name, at: last(name) })).sort((a, b) => b.at - a.at);
  for (const { name } of inOrder.slice(LEFT)) rmSync(join(folder, name), { force: true });
}

function read(path: string, program: Program): SiteScan | null {
  try {
    const { sites, trapping } = JSON.parse(readFileSync(path, 'utf8')) as Kept;
    const list: Site[] = [];
    for (let i = 0; i < sites.length; i += ROW) list.push(site(program, sites.slice(i, i + ROW)));
    return { sites: list, trapping };
  } catch {
    return null;
  }
}

function site(program: Program, [at, before, after, next]: readonly number[]): Site {
  const offset = fileOffset(program.segments, at);
  const { bytes } = program;
  const call = (offset ?? -1) + before;
  const whole = before + 2 + after;
  if (
    offset === undefined ||
    bytes[call] !== 0x0f ||
    bytes[call + 1] !== 0x05 ||
    whole < 5 ||
    next !== at + whole
  )
    throw new RangeError('not a site of this file');
  return {
    at,
    before: bytes.slice(offset, call),
    after: bytes.slice(call + 2, call + 2 + after),
    next,
  };
}
