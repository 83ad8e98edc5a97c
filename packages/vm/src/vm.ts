/** A guest: QEMU with a stock Linux kernel whose RAM is a memory file of ours. */

import { readFileSync } from 'node:fs';
import { PassThrough, type Readable } from 'node:stream';
import { close, memfdCreate, pwrite } from '@nestedsgx/os';
import type { Cvm } from '@nestedsgx/sdk';
import type { CommandEnd, GuestCommand } from './agent/command.js';
import type { RunRequest } from './agent/protocol.js';
import { AgentSession } from './agent/session.js';
import { vmError } from './errors.js';
import { CPU_MODEL, chooseAccelerator } from './host/accelerator.js';
import type { GuestKernel } from './host/kernels.js';
import { findProgram } from './host/programs.js';
import { defaultCache, provideBusybox, provideKernel } from './host/requirements.js';
import { RELAY_AT } from './info-page.js';
import { AGENT_PATH, assembleGuest, NEEDED_MODULES } from './initramfs/assemble.js';
import { type KernelModule, KernelModules } from './initramfs/kernel-modules.js';
import type { GuestTree } from './initramfs/tree.js';
import { type GuestMachine, launchMachine, plainMachine } from './machine.js';
import { buildModule } from './module-build.js';
import { agentProgram } from './native.js';
import { type CompleteOptions, commandLine, completeOptions, type VmOptions, WINDOW } from './options.js';
import { type QemuProcess, qemuArguments, startQemu } from './qemu.js';
import { Relay, type RelayCounters } from './relay.js';

const CONSOLE_KEPT = 65_536;
const CAPTURE_LIMIT = 64 * 2 ** 20;
/** What a guest's kernel, its page tables and its caches want beside the image and the window. */
const KERNEL_BYTES = 96 * 2 ** 20;
const ENVIRONMENT: Readonly<Record<string, string>> = {
  PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
  HOME: '/root',
  LANG: 'C.UTF-8',
};

/** How a command is run. */
export interface RunOptions {
  /** Added to PATH, HOME, LANG and TERM. */
  env?: Readonly<Record<string, string>>;
  /** Default /root. */
  cwd?: string;
  /** A terminal of this size instead of pipes; then all output comes from stdout. */
  terminal?: { rows: number; columns: number };
}

/** Times of a start in milliseconds: all of it, and the guest's own clock when it was ready. */
export interface StartTimes {
  prepared: number;
  ready: number;
  uptime: number;
}

/** A running guest. `await using vm = await Vm.start()`; it ends with this object and with this process. */
export class Vm implements AsyncDisposable {
  readonly kernel: GuestKernel;
  readonly accel: 'tcg' | 'kvm';
  /** QEMU's process. */
  readonly pid: number;
  /** What the guest's kernel writes to its console. Kept in memory up to 64 KiB while nobody reads it. */
  readonly console: Readable;
  /** Resolved when the guest has ended, for whatever reason. */
  readonly exit: Promise<void>;
  readonly times: StartTimes;
  readonly #qemu: QemuProcess;
  readonly #session: AgentSession;
  readonly #machine: GuestMachine;
  readonly #relay: Relay;
  readonly #log: ConsoleLog;

  private constructor(parts: VmParts, times: StartTimes) {
    this.kernel = parts.kernel;
    this.accel = parts.accel;
    this.pid = parts.qemu.pid;
    this.times = times;
    this.#qemu = parts.qemu;
    this.#session = parts.session;
    this.#machine = parts.machine;
    this.#relay = parts.relay;
    this.#log = parts.log;
    this.console = parts.log.stream;
    this.exit = parts.over;
  }

  /**
   * Boots a guest and waits until commands can be run.
   * @throws VM_OPTION_INVALID, VM_PROGRAM_MISSING, VM_KERNEL_MISSING, VM_HEADERS_MISSING, VM_DOWNLOAD_FAILED,
   *   VM_MODULE_BUILD, VM_MODULE_MISSING, VM_MODULE_REFUSED, VM_PART_MISSING, VM_FILE, VM_LIBRARY_MISSING,
   *   VM_IMAGE_TOO_LARGE, VM_START_FAILED, VM_PROTOCOL
   */
  static async start(options: VmOptions = {}): Promise<Vm> {
    const began = performance.now();
    const complete = completeOptions(options);
    const program = findProgram('qemu-system-x86_64');
    const cache = complete.cache ?? defaultCache();
    const kernel = await provideKernel(cache, complete.kernel, complete.progress);
    const accel = await chooseAccelerator(complete.accel, program, kernel, cache, complete.progress);
    const tree = await prepareTree(complete, kernel, cache);
    const machine = complete.machine
      ? await launchMachine(complete.memoryBytes, complete.launch)
      : plainMachine(complete.memoryBytes);
    let parts: VmParts;
    try {
      parts = launch(program, { ...complete, accel }, kernel, tree, machine);
    } catch (error) {
      await machine.close();
      throw error;
    }
    const prepared = performance.now();
    try {
      const ready = await withinTime(parts, complete.startMs);
      const times = { prepared: prepared - began, ready: performance.now() - began, uptime: ready.uptimeMs };
      if (ready.refused.length > 0)
        throw vmError(
          'VM_MODULE_REFUSED',
          `the guest's kernel ${kernel.version} does not load ${ready.refused.join('; ')}`,
          'see its console (--console)',
        );
      return new Vm(parts, times);
    } catch (error) {
      parts.qemu.kill();
      await parts.over;
      throw error;
    }
  }

  /**
   * Starts a command. A name without a slash is looked up in the guest's PATH.
   * @throws VM_OPTION_INVALID, VM_COMMAND, VM_GUEST_ENDED
   */
  run(argv: readonly string[], options: RunOptions = {}): GuestCommand {
    const term = options.terminal ? { TERM: process.env.TERM ?? 'linux' } : {};
    const env = Object.entries({ ...ENVIRONMENT, ...term, ...options.env }).map(
      ([name, value]) => `${name}=${value}`,
    );
    const request: RunRequest = { argv, env, cwd: options.cwd ?? '/root', terminal: options.terminal };
    return this.#session.run(request);
  }

  /**
   * Runs a command to its end and collects what it writes, up to `limit` bytes of each stream (default 64 MiB); a command
   * that writes more is killed.
   * @throws VM_OPTION_INVALID, VM_COMMAND with too much output, VM_GUEST_ENDED
   */
  async capture(
    argv: readonly string[],
    options: RunOptions & { input?: Uint8Array | string; limit?: number } = {},
  ): Promise<CommandEnd & { stdout: Buffer; stderr: Buffer }> {
    const command = this.run(argv, options);
    command.stdin.end(options.input ?? '');
    const limit = options.limit ?? CAPTURE_LIMIT;
    try {
      const [stdout, stderr, end] = await Promise.all([
        gather(command.stdout, limit),
        gather(command.stderr, limit),
        command.ended,
      ]);
      return { ...end, stdout, stderr };
    } catch (error) {
      command.kill(9);
      throw error;
    }
  }

  /** The confidential VM behind the guest: its evidence, its enclaves. Undefined for a guest without. */
  get cvm(): Cvm | undefined {
    return this.#machine.cvm;
  }

  /** What the console said lately. */
  get consoleText(): string {
    return this.#log.text;
  }

  get relay(): RelayCounters {
    return this.#relay.counters;
  }

  /** Where guest-physical address 0 is in this process. */
  get ramAddress(): number {
    return this.#machine.address;
  }

  /** A part of the guest's RAM. Valid until the guest has ended. */
  memory(gpa: number, length: number): Uint8Array {
    return this.#machine.view(gpa, length);
  }

  /** Asks the guest to switch itself off, and waits for that. */
  async powerOff(): Promise<void> {
    this.#session.powerOff();
    await this.exit;
  }

  /** Ends the guest as if its plug were pulled. Harmless when repeated. */
  async close(): Promise<void> {
    this.#qemu.kill();
    await this.exit;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

interface VmParts {
  accel: 'tcg' | 'kvm';
  kernel: GuestKernel;
  qemu: QemuProcess;
  session: AgentSession;
  machine: GuestMachine;
  relay: Relay;
  log: ConsoleLog;
  over: Promise<void>;
}

async function prepareTree(options: CompleteOptions, kernel: GuestKernel, cache: string): Promise<GuestTree> {
  const modules: KernelModule[] = new KernelModules(kernel.modules).withNeeds(NEEDED_MODULES);
  const own =
    options.modulePath ?? (options.module ? await buildModule(kernel, cache, options.progress) : undefined);
  if (own !== undefined) modules.push({ name: 'nsgx', bytes: readFileSync(own) });
  return assembleGuest({
    agent: agentProgram(),
    busybox: await provideBusybox(cache, options.progress),
    modules,
    rootfs: options.rootfs,
    copies: options.copies,
  });
}

function launch(
  program: string,
  options: CompleteOptions & { accel: 'tcg' | 'kvm' },
  kernel: GuestKernel,
  tree: GuestTree,
  machine: GuestMachine,
): VmParts {
  const initrd = initrdFile(tree, options.memoryBytes);
  let qemu: QemuProcess;
  try {
    const args = qemuArguments({
      accel: options.accel,
      cpu: CPU_MODEL[options.accel],
      ramBytes: machine.bytes,
      vcpus: options.vcpus,
      kernel: kernel.image,
      commandLine: commandLine(options, AGENT_PATH),
    });
    qemu = startQemu(program, args, { ram: machine.fd, initrd });
  } finally {
    close(initrd);
  }
  const place = {
    window: machine.address + WINDOW.gpa,
    bytes: WINDOW.bytes,
    page: machine.address + WINDOW.gpa + RELAY_AT,
  };
  const relay = new Relay(place, qemu.kick, qemu.irq);
  const log = new ConsoleLog(qemu);
  const session = new AgentSession(qemu.agent, () => qemu.kill());
  let lost = false;
  machine.onLost(() => {
    lost = true;
    qemu.kill();
  });
  const over = qemu.ended.then(async () => {
    relay.close();
    session.end(lost ? lostError() : endError(qemu, log));
    log.stream.end();
    await machine.close();
  });
  return { accel: options.accel, kernel, qemu, session, machine, relay, log, over };
}

/** The image as a memory file, for QEMU to read. @throws VM_IMAGE_TOO_LARGE */
function initrdFile(tree: GuestTree, memoryBytes: number): number {
  const { pieces, length } = tree.archive();
  // The archive lies at the top of RAM, above the window, while the kernel unpacks it into further memory.
  const room = Math.min(
    (memoryBytes - WINDOW.bytes - KERNEL_BYTES) / 2,
    memoryBytes - WINDOW.gpa - WINDOW.bytes,
  );
  if (length > room)
    throw vmError(
      'VM_IMAGE_TOO_LARGE',
      `the guest starts with ${Math.ceil(length / 2 ** 20)} MiB of files; ${memoryBytes / 2 ** 20} MiB of memory hold ${Math.floor(room / 2 ** 20)}`,
      'give it more memory (--memory), or bring less',
    );
  const fd = memfdCreate('nsgx-guest-image', { size: length });
  let at = 0;
  for (const piece of pieces) {
    pwrite(fd, piece, at);
    at += piece.length;
  }
  return fd;
}

async function withinTime(parts: VmParts, ms: number): ReturnType<typeof ready> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(
        vmError(
          'VM_START_FAILED',
          `the guest is not ready after ${ms / 1000} s${tail(parts.log)}`,
          'see its console (--console)',
        ),
      );
    }, ms);
  });
  try {
    return await Promise.race([ready(parts), late]);
  } finally {
    clearTimeout(timer);
  }
}

async function ready(parts: VmParts) {
  try {
    return await parts.session.ready;
  } catch (cause) {
    const said = parts.qemu.errors();
    throw vmError(
      'VM_START_FAILED',
      said === '' ? `the guest ended while it started${tail(parts.log)}` : `QEMU ended: ${said.slice(-600)}`,
      'see its console (--console), or try --accel tcg',
      cause,
    );
  }
}

function endError(qemu: QemuProcess, log: ConsoleLog): Error {
  const said = qemu.errors();
  return vmError('VM_GUEST_ENDED', `the guest has ended${said === '' ? tail(log) : `: ${said.slice(-600)}`}`);
}

function lostError(): Error {
  return vmError(
    'VM_GUEST_ENDED',
    'the confidential VM of the guest has ended, and the guest with it',
    'see `nsgx doctor`',
  );
}

function tail(log: ConsoleLog): string {
  const lines = log.text.trimEnd().split('\n').slice(-3);
  return lines.join('') === '' ? '' : `; its console said last: ${lines.join(' | ').slice(-400)}`;
}

/** What the console says: a stream for who reads it, and the end of it for error messages. */
class ConsoleLog {
  readonly stream = new PassThrough();
  text = '';

  constructor(qemu: QemuProcess) {
    qemu.console.on('error', () => undefined);
    qemu.console.on('data', (chunk: Buffer) => {
      this.text = (this.text + chunk.toString('latin1').replaceAll('\r', '')).slice(-CONSOLE_KEPT);
      const { stream } = this;
      const room = stream.writableLength + stream.readableLength < CONSOLE_KEPT;
      if (room && !stream.writableEnded && !stream.destroyed) stream.write(chunk);
    });
  }
}

async function gather(stream: Readable, limit: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    length += (chunk as Buffer).length;
    if (length > limit) throw vmError('VM_COMMAND', `a command wrote more than ${limit} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}
