/** What says that a path of this machine was not changed since: like make, but by all that the system tells. */
import { type BigIntStats, lstatSync } from 'node:fs';

/** A path, and what it was. */
export type Fact = readonly [path: string, fact: string];

/** What is at a path now; links are not followed. */
export function factOf(path: string): string {
  let status: BigIntStats | undefined;
  try {
    status = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return '-';
  }
  if (status === undefined) return '-';
  const { dev, ino, size, mode, mtimeNs, ctimeNs } = status;
  // What is in a folder does not matter: each name in it that does was looked at itself.
  return status.isDirectory() ? `${dev} ${ino} ${mode}` : [dev, ino, size, mode, mtimeNs, ctimeNs].join(' ');
}
