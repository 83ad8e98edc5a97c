/** Starting the process of a confidential VM. */
import { closeSync, constants, mkdirSync, openSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';
import { ControlSocket } from '@nestedsgx/guest';
import {
  close,
  connectUnix,
  getRlimit,
  listenUnix,
  pidfdSignal,
  pollFds,
  setRlimit,
  socketpair,
  spawn,
  waitPid,
} from '@nestedsgx/os';
import { sdkError } from '../errors.js';
import { findInstallation, type Installation } from './installation.js';
import { LAUNCH_ARGV, LAUNCH_FDS, launchEnvironment } from './loader.js';
import type { CompleteLaunchOptions, LaunchOptions } from './options.js';
import { sealedMemory, sealParts } from './parts.js';
import { freeRamSlot, releaseRamSlot } from './ram-slot.js';

/** A confidential VM that has started and reported ready. The caller owns socket and pidfd. */
export interface LaunchedCvm {
  control: ControlSocket;
  /** Descriptor of the control socket. */
  socketFd: number;
  pid: number;
  /** Descriptor that becomes readable when the process ends. */
  pidfd: number;
  /** Where guest RAM lies; given back with `releaseRamSlot` once the machine has ended. */
  ramSlot: number | null;
  /** Hex SHA-384 launch digest, as the software PSP measured it. */
  launchDigest: string;
  /** The whole ready message. */
  ready: Record<string, unknown>;
}

const SIGKILL = 9;
const LAUNCH_ATTEMPTS = 3;

/**
 * Starts a confidential VM and waits until it is ready: reads every part once into sealed memory, starts Node with a
 * fixed command line and a cleared environment, and hands over the descriptors of LAUNCH_FDS.
 * @throws PLATFORM_UNSUPPORTED, INSTALLATION_INCOMPLETE, LAUNCH_OPTION_INVALID, CVM_LAUNCH_FAILED
 */
export async function launchCvm(options: LaunchOptions = {}): Promise<LaunchedCvm> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await launchOnce(options);
    } catch (error) {
      // Node's own heap lies anywhere: now and then some of it in the new process, where guest RAM was to be.
      const code = ((error as Error).cause as { code?: unknown } | undefined)?.code;
      if (code !== 'MACHINE_NO_SLOT' || attempt >= LAUNCH_ATTEMPTS) throw error;
    }
  }
}

async function launchOnce(options: LaunchOptions): Promise<LaunchedCvm> {
  // Loaded when it is needed: its schema takes longer to load than all else here.
  const { completeOptions } = await import('./options.js');
  const complete = completeOptions(options);
  const installation = { ...findOrGiven(complete.installation) };
  if (complete.configuration.stateDir !== null) makeStateDir(complete.configuration.stateDir, complete.user);
  // A machine of this process is mapped in here too; one that outlives it takes any place.
  const ramSlot = complete.configuration.lifetime === 'service' ? null : freeRamSlot();
  complete.configuration.ramSlot = ramSlot;
  const opened: number[] = [];
  const keep = (fd: number): number => {
    opened.push(fd);
    return fd;
  };
  let control: ControlSocket | null = null;
  try {
    const [ours, theirs] = socketpair();
    control = new ControlSocket(ours);
    keep(theirs);
    const tracer = connectTracer(process.env.NSGX_TRACE);
    if (tracer !== null) {
      keep(tracer);
      complete.configuration.tracer = true;
    }
    const parts = sealParts(installation);
    for (const fd of Object.values(parts.fds)) keep(fd);
    const configuration = new TextEncoder().encode(JSON.stringify(complete.configuration));
    const configurationFd = keep(sealedMemory('nsgx-configuration', configuration));
    const fds: [number, number][] = [
      [LAUNCH_FDS.control, theirs],
      [LAUNCH_FDS.monitor, parts.fds.monitor],
      [LAUNCH_FDS.koffi, parts.fds.koffi],
      [LAUNCH_FDS.library, parts.fds.library],
      [LAUNCH_FDS.runner, parts.fds.runner],
      [LAUNCH_FDS.configuration, configurationFd],
    ];
    if (complete.listen !== undefined) fds.push([LAUNCH_FDS.listener, keep(listenAt(complete.listen))]);
    if (tracer !== null) fds.push([LAUNCH_FDS.tracer, tracer]);
    const { pid, pidfd } = start(complete, fds);
    limitLocked(pid, complete.lockMemory);
    // The child has its own now; while its end of the socket is open here, its end would go unnoticed.
    for (const fd of opened.splice(0)) close(fd);
    try {
      const ready = await awaitReady(control, complete.timeoutMs);
      return {
        control,
        socketFd: control.fd,
        pid,
        pidfd,
        ramSlot,
        launchDigest: String(ready.launchDigest ?? ''),
        ready,
      };
    } catch (error) {
      await endProcess(pid, pidfd, 0);
      if (complete.listen !== undefined) rmSync(complete.listen.path, { force: true });
      throw error;
    }
  } catch (error) {
    control?.close();
    releaseRamSlot(ramSlot);
    throw error;
  } finally {
    for (const fd of opened) close(fd);
  }
}

function findOrGiven(given: Record<string, string> | undefined): Installation {
  if (given === undefined) return findInstallation();
  return { ...(needsFound(given) ? findInstallation() : ({} as Installation)), ...given } as Installation;
}

function needsFound(given: Record<string, string>): boolean {
  return !['monitor', 'koffi', 'library', 'runner'].every((name) => name in given);
}

function start(options: CompleteLaunchOptions, fds: [number, number][]): { pid: number; pidfd: number } {
  const service = options.configuration.lifetime === 'service';
  const input = openSync('/dev/null', constants.O_RDONLY);
  const output = openOutput(options.stderr);
  try {
    return spawn({
      executable: process.execPath,
      argv: [...LAUNCH_ARGV],
      env: launchEnvironment(),
      cwd: '/',
      fds: [[0, input], [1, output ?? 2], [2, output ?? 2], ...fds],
      deathSignal: service ? undefined : SIGKILL,
      // Keys of a terminal are for whoever uses the machine; it ends with them.
      newSession: true,
      uid: options.user?.uid,
      gid: options.user?.gid,
    });
  } catch (cause) {
    throw sdkError(
      'CVM_LAUNCH_FAILED',
      `the process of the confidential VM did not start: ${(cause as Error).message}`,
      'see `nsgx doctor`',
      cause,
    );
  } finally {
    closeSync(input);
    if (output !== null) closeSync(output);
  }
}

/** How much the machine and its runners may lock: as much as is allowed to this account, or nothing. */
function limitLocked(pid: number, wanted: boolean): void {
  const { hard } = getRlimit('MEMLOCK');
  for (const limit of wanted ? [Number.POSITIVE_INFINITY, hard] : [0])
    try {
      setRlimit('MEMLOCK', limit, limit, pid);
      return;
    } catch {
      // It stays as it is: pages that the kernel takes are brought back.
    }
}

function openOutput(stderr: CompleteLaunchOptions['stderr']): number | null {
  if (stderr === 'inherit') return null;
  if (stderr === 'ignore') return openSync('/dev/null', constants.O_WRONLY);
  return openSync(stderr.file, constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND, 0o600);
}

async function awaitReady(control: ControlSocket, timeoutMs: number): Promise<Record<string, unknown>> {
  let message: Awaited<ReturnType<ControlSocket['receive']>>;
  try {
    message = await control.receive(timeoutMs);
  } catch (cause) {
    throw sdkError(
      'CVM_LAUNCH_FAILED',
      'the confidential VM ended, or did not get ready in time',
      'look at what it wrote to stderr, and run `nsgx doctor`',
      cause,
    );
  }
  for (const fd of message.fds) close(fd);
  const { body } = message;
  if (body.op === 'ready') return body;
  const field = (name: string, limit: number) =>
    typeof body[name] === 'string' ? (body[name] as string).slice(0, limit) : undefined;
  throw sdkError(
    'CVM_LAUNCH_FAILED',
    `the confidential VM did not start: ${field('message', 500) ?? 'no reason given'} (${field('code', 64) ?? '?'})`,
    field('advice', 500) ?? 'run `nsgx doctor`',
    new NsgxError(field('code', 64) ?? '?', field('message', 500) ?? 'no reason given'),
  );
}

function makeStateDir(path: string, user: { uid: number; gid: number } | undefined): void {
  try {
    makeDirectories(path);
  } catch (cause) {
    if (user !== undefined) return; // its own account may see more than ours
    throw sdkError(
      'CVM_LAUNCH_FAILED',
      `the state directory ${path} cannot be made`,
      'set NSGX_HOME to a directory of yours, or pass stateDir',
      cause,
    );
  }
}

/** One level at a time: Node's own recursion never ends on file systems where nothing can be made, such as /proc. */
export function makeDirectories(path: string, mode = 0o700): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
  if (dirname(path) !== path) makeDirectories(dirname(path), mode);
  try {
    mkdirSync(path, { mode });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !statSync(path).isDirectory()) throw error;
  }
}

/** The tracer that listens at NSGX_TRACE, to be handed to the machine; see `nsgx trace`. */
function connectTracer(path: string | undefined): number | null {
  if (!path) return null;
  try {
    return connectUnix(path);
  } catch (cause) {
    throw sdkError(
      'CVM_LAUNCH_FAILED',
      `nobody traces at ${path}, which NSGX_TRACE names`,
      'start the program with: nsgx trace -- PROGRAM, or unset NSGX_TRACE',
      cause,
    );
  }
}

function listenAt(listen: { path: string; mode: number }): number {
  makeDirectories(dirname(listen.path));
  try {
    return listenUnix(listen.path, listen.mode);
  } catch (cause) {
    throw sdkError(
      'CVM_LAUNCH_FAILED',
      `cannot listen at ${listen.path}: ${(cause as Error).message}`,
      'stop the confidential VM that runs there, or choose another socket',
      cause,
    );
  }
}

/** True when the process behind `pidfd` has ended. */
export function processEnded(pidfd: number): boolean {
  return pollFds([{ fd: pidfd, events: 1 }], 0)[0] !== 0;
}

/**
 * Waits up to `graceMs` for a child's end, then kills it, collects its status and closes `pidfd`.
 * Returns true when it ended by itself.
 */
export async function endProcess(pid: number, pidfd: number, graceMs: number): Promise<boolean> {
  const deadline = performance.now() + graceMs;
  let byItself = true;
  while (!processEnded(pidfd)) {
    if (performance.now() > deadline) {
      byItself = false;
      try {
        pidfdSignal(pidfd, SIGKILL);
      } catch {
        // It ended in between.
      }
      break;
    }
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  }
  for (let i = 0; i < 2000 && !processEnded(pidfd); i++)
    await new Promise<void>((resolve) => setTimeout(resolve, 1));
  try {
    waitPid(pid, true);
  } catch {
    // Not our child, or collected already.
  }
  close(pidfd);
  return byItself;
}
