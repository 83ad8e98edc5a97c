/** Which program a command means: one of the guest's own, or one of this machine that is brought along. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { lookUp } from './host/programs.js';
import type { GuestCopy } from './initramfs/assemble.js';

/** How a command is called in the guest, and what has to be copied for it. */
export interface GuestProgram {
  path: string;
  copies: GuestCopy[];
}

/**
 * A path that exists here is copied: an absolute one to the same place, a relative one to /root. A mere name is the guest's
 * own; without a root file system, where only busybox is, programs of this machine's PATH come along.
 */
export function guestProgram(command: string, rootfs?: string): GuestProgram {
  if (command.includes('/')) {
    const absolute = command.startsWith('/');
    if (!existsSync(command) || (absolute && rootfs !== undefined)) return { path: command, copies: [] };
    const to = absolute ? command : `/root/${basename(command)}`;
    return { path: to, copies: [{ from: resolve(command), to }] };
  }
  if (rootfs !== undefined || isApplet(command)) return { path: command, copies: [] };
  const here = lookUp(command);
  if (here === undefined) return { path: command, copies: [] };
  const to = `/usr/bin/${command}`;
  return { path: to, copies: [{ from: here, to }] };
}

function isApplet(name: string): boolean {
  const busybox = lookUp('busybox');
  if (busybox === undefined) return false;
  return spawnSync(busybox, ['--list'], { encoding: 'utf8' }).stdout?.split('\n').includes(name) ?? false;
}
