/** What a guest starts with: a root file system, its first process, modules and the files that are brought along. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, posix } from 'node:path';
import { vmError } from '../errors.js';
import type { KernelModule } from './kernel-modules.js';
import { addLibraries, isElf, librariesOf } from './libraries.js';
import { GuestTree, isFolder } from './tree.js';

/** Folder of the guest that is ours on any root file system. */
export const OWN_FOLDER = '/.nsgx';
export const AGENT_PATH = `${OWN_FOLDER}/agent`;
export const BUSYBOX_PATH = `${OWN_FOLDER}/busybox`;
const MODULES_FOLDER = `${OWN_FOLDER}/modules`;
const FOLDERS: readonly string[] = ['/proc', '/sys', '/dev', '/run', '/tmp', '/root', '/etc', '/mnt', '/var'];
/** Modules with which the guest's first process reaches its host. */
export const NEEDED_MODULES: readonly string[] = ['virtio_pci', 'virtio_console'];

/** Something of this machine for the guest. `to` is absolute there. */
export interface GuestCopy {
  from: string;
  to: string;
}

/** Ingredients of a guest's image; all paths are of this machine. */
export interface GuestIngredients {
  agent: string;
  busybox: string;
  /** Loaded in this order before anything else runs. */
  modules: readonly KernelModule[];
  /** A folder with a root file system (debootstrap makes one); without it busybox is all there is. */
  rootfs?: string;
  copies: readonly GuestCopy[];
}

/**
 * Puts an image together. Programs among the copies get the shared libraries that they use here, where the guest does not
 * have them.
 * @throws VM_FILE, VM_LIBRARY_MISSING, VM_PROGRAM_MISSING
 */
export function assembleGuest(ingredients: GuestIngredients): GuestTree {
  const tree = new GuestTree();
  if (ingredients.rootfs !== undefined) addRoot(tree, ingredients.rootfs);
  for (const folder of FOLDERS) tree.directory(folder, folder === '/tmp' ? 0o1777 : 0o755);
  tree.device('/dev/console', 5, 1);
  tree.file(AGENT_PATH, readFileSync(ingredients.agent), 0o755);
  addBusybox(tree, ingredients.busybox, ingredients.rootfs === undefined);
  ingredients.modules.forEach((module_, at) => {
    tree.file(`${MODULES_FOLDER}/${String(at).padStart(3, '0')}-${module_.name}.ko`, module_.bytes);
  });
  for (const { from, to } of ingredients.copies) {
    const programs = tree.copy(from, to).flatMap(([here]) => (isElf(here) ? [here] : []));
    // A folder may hold programs for other systems as well: only what is named itself must be able to run.
    addLibraries(tree, librariesOf(programs, { lenient: isFolder(from) }));
  }
  return tree;
}

/** "HOST[:GUEST]"; without GUEST, or when it ends with a slash, the name stays. @throws VM_FILE */
export function parseCopy(text: string, home = '/root'): GuestCopy {
  const at = text.lastIndexOf(':');
  const from = at > 0 && !existsSync(text) ? text.slice(0, at) : text;
  const to = from === text ? '' : text.slice(at + 1);
  if (!existsSync(from)) throw vmError('VM_FILE', `${from}, which is to go into the guest, does not exist`);
  const path = posix.resolve(home, to === '' ? basename(from) : to);
  return { from, to: to.endsWith('/') ? posix.join(path, basename(from)) : path };
}

function addRoot(tree: GuestTree, rootfs: string): void {
  if (!isFolder(rootfs))
    throw vmError(
      'VM_FILE',
      `${rootfs} is no folder with a root file system`,
      'make one: debootstrap bookworm DIR',
    );
  tree.copy(rootfs, '/');
}

function addBusybox(tree: GuestTree, busybox: string, applets: boolean): void {
  tree.file(BUSYBOX_PATH, readFileSync(busybox), 0o755);
  addLibraries(tree, librariesOf([busybox]));
  if (!applets) return;
  for (const path of busyboxApplets(busybox)) tree.link(path, BUSYBOX_PATH);
  tree.file('/etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n');
  tree.file('/etc/group', 'root:x:0:\nnogroup:x:65534:\n');
  tree.file('/etc/hosts', '127.0.0.1 localhost\n');
}

/** Paths of all applets, as `--list-full` tells them. @throws VM_PROGRAM_MISSING */
function busyboxApplets(busybox: string): string[] {
  const { stdout, status, error } = spawnSync(busybox, ['--list-full'], { encoding: 'utf8' });
  if (error || status !== 0)
    throw vmError('VM_PROGRAM_MISSING', `${busybox} does not run here`, 'apt install busybox-static', error);
  return stdout
    .split('\n')
    .filter((line) => line !== '' && !line.endsWith('busybox'))
    .map((line) => `/${line}`);
}
