/** The machine under attack: a confidential VM behind a socket, watched so that nothing of it is left behind. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type AttachOptions, ControlSocket } from '@nestedsgx/guest';
import { close, connectUnix, socketpair, spawn } from '@nestedsgx/os';
import { Cvm, endProcess, type LaunchedCvm, type LaunchOptions, launchCvm } from '@nestedsgx/sdk';
import type { Cast } from '../people.js';

const MIB = 2 ** 20;
const GUARD = fileURLToPath(new URL('./guard.js', import.meta.url));

/** Options of the machines that the suite launches; the suite sets user, isolation, socket and lifetime itself. */
export type MachineOptions = Pick<LaunchOptions, 'ramBytes' | 'epcBytes' | 'patch' | 'stderr' | 'timeoutMs'>;

/** Where guest RAM lies. */
export interface Ram {
  fd: number;
  base: number;
  size: number;
}

/** Options for a machine that lives as long as its host. */
export function launchOptions(cast: Cast, options: MachineOptions = {}): LaunchOptions {
  const user = cast.cvm === null ? undefined : { uid: cast.cvm.uid, gid: cast.cvm.gid };
  return {
    ramBytes: 256 * MIB,
    epcBytes: 256 * MIB,
    stderr: 'ignore',
    ...options,
    stateDir: null,
    isolation: cast.isolation,
    user,
  };
}

/** A machine that several guests may attach to. */
export class AttackedMachine {
  private constructor(
    readonly launched: LaunchedCvm,
    readonly cvm: Cvm,
    readonly socketPath: string,
    readonly ram: Ram,
    private readonly spy: ControlSocket,
    private readonly guard: { pid: number; pidfd: number; fd: number },
    private readonly folder: string,
  ) {}

  get pid(): number {
    return this.launched.pid;
  }

  /** Launches it and attaches the suite as its host. @throws what launching and attaching throw */
  static async launch(cast: Cast, options: MachineOptions = {}): Promise<AttackedMachine> {
    const folder = mkdtempSync(join(tmpdir(), 'nsgx-attack-'));
    chmodSync(folder, 0o755);
    const socketPath = join(folder, 'socket');
    let launched: LaunchedCvm | null = null;
    try {
      launched = await launchCvm({
        ...launchOptions(cast, options),
        lifetime: 'service',
        listen: { path: socketPath, mode: 0o666 },
      });
      const guard = startGuard(launched.pidfd, folder);
      const { ram, spy } = await takeRam(socketPath);
      const share: AttachOptions = { sliceBytes: 64 * MIB, epcBytes: 64 * MIB };
      const cvm = await Cvm.connect(socketPath, share);
      return new AttackedMachine(launched, cvm, socketPath, ram, spy, guard, folder);
    } catch (error) {
      if (launched !== null) await endProcess(launched.pid, launched.pidfd, 0);
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.cvm.close();
    this.spy.close();
    close(this.ram.fd);
    try {
      await this.launched.control.request({ op: 'stop' }, 1000);
    } catch {
      // It ended already, or does not answer: it is ended below.
    }
    this.launched.control.close();
    await endProcess(this.launched.pid, this.launched.pidfd, 1000);
    close(this.guard.fd);
    await endProcess(this.guard.pid, this.guard.pidfd, 500);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** The descriptor of guest RAM, which every guest gets: adversaries are given it, and nothing else. */
async function takeRam(socketPath: string): Promise<{ ram: Ram; spy: ControlSocket }> {
  const spy = new ControlSocket(connectUnix(socketPath));
  const { body, fds } = await spy.request({ op: 'attach', slice: 2 * MIB, epc: MIB });
  const [fd, pidfd] = fds as [number, number];
  close(pidfd);
  const { base, size } = body.ram as { base: number; size: number };
  return { ram: { fd, base, size }, spy };
}

/** A process in a session of its own that ends the machine if this process ends without doing so. */
function startGuard(pidfd: number, folder: string): { pid: number; pidfd: number; fd: number } {
  const [ours, theirs] = socketpair();
  try {
    const child = spawn({
      executable: process.execPath,
      argv: ['node', '--no-warnings', GUARD, folder],
      env: [],
      cwd: '/',
      fds: [
        [2, 2],
        [3, theirs],
        [4, pidfd],
      ],
      newSession: true,
    });
    return { ...child, fd: ours };
  } finally {
    close(theirs);
  }
}
