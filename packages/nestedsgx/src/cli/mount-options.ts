/** `--mount` and `--cwd` of nsgx exec: folders of this machine for a program, and where it starts. */
import { resolve } from 'node:path';
import type { MountOptions } from '@nestedsgx/libos/run';
import { UsageError } from './terminal.js';

/** `DIR:/PATH`, `DIR:/PATH:ro` or `DIR:/PATH:rw`; without a word it is ro. @throws UsageError */
export function parseMount(text: string): Required<MountOptions> {
  const [, folder, path, word] = /^(.+?):(\/[^:]*)(?::([^:]*))?$/.exec(text) ?? [];
  if (folder === undefined || (word !== undefined && word !== 'ro' && word !== 'rw'))
    throw new UsageError(`--mount takes DIR:/PATH, with :ro or :rw behind it, not "${text}"`);
  return { folder: resolve(folder), path: normal(path), writable: word === 'rw' };
}

/** The folder that a program starts in, by its path inside. @throws UsageError */
export function parseStart(text: string): string {
  if (!text.startsWith('/')) throw new UsageError(`--cwd is an absolute path inside, not "${text}"`);
  return normal(text);
}

function normal(path: string): string {
  return resolve('/', path);
}

/** Holds what is given against the places of an image; says which places stay without a folder. @throws UsageError */
export function checkMounts(
  given: readonly Required<MountOptions>[],
  places: readonly { readonly path: string; readonly writable: boolean }[],
): string[] {
  for (const { path, writable } of given) {
    const place = places.find((at) => at.path === path);
    if (place === undefined)
      throw new UsageError(
        `the image has no place for a folder at ${path}; it has ${places.map((at) => at.path).join(', ') || 'none'}`,
      );
    if (writable && !place.writable)
      throw new UsageError(`the image does not let its program change what is at ${path}: give it as ro`);
  }
  return places
    .filter(({ path }) => !given.some((mount) => mount.path === path))
    .map(
      ({ path, writable }) => `no folder is mounted at ${path} (--mount DIR:${path}${writable ? ':rw' : ''})`,
    );
}
