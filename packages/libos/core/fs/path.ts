/** From a path to a file: Linux's rules for `.`, `..`, symbolic links and trailing slashes. */
import { ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR } from '../errno';
import { find, findFailure } from './hostfs';
import { Inode } from './inode';
import { refresh } from './proc';
import { namesChanged } from './store-folder';

const MAX_LINKS = 40;
const NAME_MAX = 255;
const SLASH = 47;

export const root = new Inode(0o040755);
root.parent = root;

/** Why the latest walk failed; 0 when it did not, PENDING when the call is to be made again. */
export let walkFailure: i64 = 0;
/** After `walkParent`: the last component's name, and whether a slash follows it. */
export let lastName: string = '';
export let lastSlash: bool = false;

function fail(code: i64): Inode | null {
  walkFailure = code;
  return null;
}

/** The file at `path`, or null with `walkFailure`. `follow`: whether a link at the end is followed. */
export function walk(path: string, start: Inode, follow: bool): Inode | null {
  return step(path, start, follow, false);
}

/** The folder that holds the last component, whether or not that exists; its name is in `lastName`. */
export function walkParent(path: string, start: Inode): Inode | null {
  return step(path, start, false, true);
}

function step(given: string, start: Inode, follow: bool, parent: bool): Inode | null {
  let path = given;
  let at: Inode = start;
  let links = 0;
  let i = 0;
  walkFailure = 0;
  lastName = '';
  lastSlash = false;
  if (path.length > 0 && path.charCodeAt(0) === SLASH) at = root;
  while (true) {
    while (i < path.length && path.charCodeAt(i) === SLASH) i++;
    if (i >= path.length) return at;
    let end = i;
    while (end < path.length && path.charCodeAt(end) !== SLASH) end++;
    let rest = end;
    while (rest < path.length && path.charCodeAt(rest) === SLASH) rest++;
    const last = rest >= path.length;
    const name = path.substring(i, end);
    const entries = at.entries;
    if (entries === null) return fail(ENOTDIR);
    if (name.length > NAME_MAX) return fail(ENAMETOOLONG);
    if (last && parent) {
      lastName = name;
      lastSlash = rest > end;
      return at;
    }
    i = rest;
    if (name === '.') continue;
    if (name === '..') {
      at = at.parent!;
      continue;
    }
    let next: Inode;
    if (at.outside === null) {
      if (!entries.has(name)) return fail(ENOENT);
      next = entries.get(name);
      if (next.own) refresh(next);
    } else {
      const found = find(at, name, path.substring(rest));
      if (found === null) return fail(findFailure);
      next = found;
    }
    if (next.isLink && (!last || follow || rest > end)) {
      if (++links > MAX_LINKS) return fail(ELOOP);
      if (next.jump !== null) {
        at = next.jump!;
        i = rest;
        continue;
      }
      path = next.target + (last ? (rest > end ? '/' : '') : `/${path.substring(rest)}`);
      i = 0;
      if (path.charCodeAt(0) === SLASH) at = root;
      continue;
    }
    if (rest > end && !next.isDirectory) return fail(ENOTDIR);
    at = next;
  }
}

/** The absolute path of a folder, or '' when it has been removed. */
export function pathOf(folder: Inode): string {
  let path = '';
  let at: Inode = folder;
  while (at !== root) {
    const above = at.parent!;
    if (at.outside !== null && at !== at.outside!.mount.root) {
      if (at.links === 0) return '';
      path = `/${at.outside!.name}${path}`;
      at = above;
      continue;
    }
    const entries = above.entries!;
    const names = entries.keys();
    let found = false;
    for (let i = 0; i < names.length && !found; i++)
      if (entries.get(names[i]) === at) {
        path = `/${names[i]}${path}`;
        found = true;
      }
    if (!found) return '';
    at = above;
  }
  return path.length === 0 ? '/' : path;
}

/** Makes a name for a file in a folder. */
export function link(folder: Inode, name: string, file: Inode): void {
  folder.entries!.set(name, file);
  namesChanged(folder);
  if (folder.stored !== null) file.keep();
  if (file.isDirectory) {
    file.parent = folder;
    folder.links++;
  }
}
