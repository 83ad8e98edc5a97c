import {
  buildModule,
  defaultCache,
  fetchFiles,
  type GuestCommand,
  guestKernels,
  guestProgram,
  parseCopy,
  provideKernel,
  Vm,
  type VmOptions,
} from '@nestedsgx/vm';
import type { Command } from 'commander';
import type { ActionWrapper, CommandModule } from '../program.js';
import { ExitWith, type Terminal, UsageError } from '../terminal.js';

interface VmRunOptions {
  vcpus: string;
  memory: string;
  accel: string;
  kernel?: string;
  rootfs?: string;
  copy: string[];
  out: string[];
  append: string[];
  env: string[];
  cwd?: string;
  tty?: boolean;
  module: boolean;
  machine: boolean;
  epc?: string;
  modulePath?: string;
  timeout?: string;
  console?: boolean;
}

const MIB = 2 ** 20;
const SIGNALLED = 128;
/** What timeout(1) gives. */
const TIMED_OUT = 124;

export const vmCommand: CommandModule = {
  name: 'vm',
  register(program: Command, act: ActionWrapper): void {
    const vm = program
      .command('vm')
      .description('a stock Linux kernel under QEMU as the untrusted guest')
      .addHelpText('after', '\nExamples:\n  $ nsgx vm run\n  $ nsgx vm run -- ./app');
    vm.command('run')
      .description('boot a guest, run a command in it (default: a shell), and end it')
      .argument('[command...]', 'a program of the guest, or of this machine: it is brought along')
      .option('--copy <host[:guest]>', 'bring a file or folder into the guest; may be repeated', collect, [])
      .option('--out <guest:host>', 'bring a file or folder out afterwards; may be repeated', collect, [])
      .option('--rootfs <dir>', 'root file system, as debootstrap makes one (default: busybox alone)')
      .option('--env <name=value>', 'environment of the command; may be repeated', collect, [])
      .option('--cwd <dir>', 'its working directory (default: /root)')
      .option('-t, --tty', 'give the command a terminal')
      .option('--vcpus <n>', 'processors of the guest', '1')
      .option('--memory <mib>', 'its memory in MiB', '512')
      .option('--accel <name>', 'tcg, kvm or auto', 'auto')
      .option('--kernel <version>', 'an installed kernel (default: the newest cloud kernel)')
      .option('--append <word>', "a word for the kernel's command line; may be repeated", collect, [])
      .option('--no-module', 'do not load the guest module')
      .option('--no-machine', 'no confidential VM behind the guest: it has no enclaves')
      .option('--epc <mib>', 'EPC of the machine in MiB')
      .option('--module-path <file>', 'load this module instead')
      .option('--timeout <seconds>', 'end the guest after that time (exit code 124)')
      .option('--console', "show the kernel's console on stderr")
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx vm run\n  $ nsgx vm run --copy enclave.signed.so -- ./app\n  $ nsgx vm run --rootfs bookworm --memory 2048 -- bash -c "ls /dev/sgx*"',
      )
      .action(act(runVm));
    vm.command('kernels').description('kernels that a guest can boot here').action(act(listKernels));
    vm.command('module')
      .description('build the guest module and print its path')
      .option('--kernel <version>', 'for this kernel')
      .action(act(buildVmModule));
  },
};

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}

async function runVm(terminal: Terminal, command: string[], options: VmRunOptions): Promise<void> {
  const withTerminal = options.tty ?? (command.length === 0 && process.stdin.isTTY === true);
  const [name = 'sh', ...args] = command;
  const program = guestProgram(name, options.rootfs);
  const outs = options.out.map(parseOut);
  const start = startOptions(terminal, options, program.copies);
  const seconds = options.timeout === undefined ? undefined : number(options.timeout, '--timeout');
  await using vm = await Vm.start(start);
  if (options.console) vm.console.pipe(process.stderr, { end: false });
  let late = false;
  const timer =
    seconds === undefined
      ? undefined
      : setTimeout(() => {
          late = true;
          void vm.close();
        }, seconds * 1000);
  try {
    const running = vm.run([program.path, ...args], {
      env: Object.fromEntries(options.env.map(parseVariable)),
      cwd: options.cwd,
      terminal: withTerminal ? windowSize() : undefined,
    });
    const end = await attached(running, withTerminal);
    for (const { from, to } of outs) await fetchFiles(vm, from, to);
    const status = end.code ?? SIGNALLED + (end.signal ?? 0);
    terminal.json && terminal.answer({ status, ...end, times: vm.times, kernel: vm.kernel.version }, []);
    if (status !== 0) throw new ExitWith(status);
  } catch (error) {
    if (!late) throw error;
    terminal.note(`the guest was ended after ${seconds} s`);
    throw new ExitWith(TIMED_OUT);
  } finally {
    clearTimeout(timer);
  }
}

function startOptions(terminal: Terminal, options: VmRunOptions, copies: VmOptions['copies']): VmOptions {
  return {
    memoryBytes: number(options.memory, '--memory') * MIB,
    vcpus: number(options.vcpus, '--vcpus'),
    accel: options.accel as VmOptions['accel'],
    kernel: options.kernel,
    rootfs: options.rootfs,
    copies: [...(copies ?? []), ...options.copy.map((text) => parseCopy(text))],
    append: options.append,
    module: options.module && options.machine,
    machine: options.machine,
    launch: options.epc === undefined ? {} : { epcBytes: number(options.epc, '--epc') * MIB },
    modulePath: options.modulePath,
    progress: (text) => terminal.note(`nsgx: ${text}`),
  };
}

/** Connects this process's streams to the command's until it ends. */
async function attached(command: GuestCommand, withTerminal: boolean): ReturnType<typeof endOf> {
  const raw = withTerminal && process.stdin.isTTY === true;
  const onResize = () => command.resize(windowSize());
  if (raw) {
    process.stdin.setRawMode(true);
    process.stdout.on('resize', onResize);
  }
  process.stdin.pipe(command.stdin);
  command.stdin.on('error', () => undefined);
  command.stdout.pipe(process.stdout, { end: false });
  command.stderr.pipe(process.stderr, { end: false });
  try {
    return await endOf(command);
  } finally {
    process.stdin.unpipe(command.stdin);
    process.stdin.pause();
    process.stdin.unref?.();
    if (raw) {
      process.stdin.setRawMode(false);
      process.stdout.off('resize', onResize);
    }
  }
}

/** Its end, once all that it wrote has been passed on. */
async function endOf(command: GuestCommand): Promise<Awaited<GuestCommand['ended']>> {
  const drained = [command.stdout, command.stderr].map(
    (stream) => new Promise<void>((resolve) => stream.once('end', resolve)),
  );
  const end = await command.ended;
  await Promise.all(drained);
  return end;
}

function windowSize(): { rows: number; columns: number } {
  return { rows: process.stdout.rows || 24, columns: process.stdout.columns || 80 };
}

function parseOut(text: string): { from: string; to: string } {
  const at = text.indexOf(':');
  if (at < 1 || at === text.length - 1) throw new UsageError(`--out wants GUEST:HOST, not "${text}"`);
  return { from: text.slice(0, at), to: text.slice(at + 1) };
}

function parseVariable(text: string): [string, string] {
  const at = text.indexOf('=');
  if (at < 1) throw new UsageError(`--env wants NAME=VALUE, not "${text}"`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function number(text: string, option: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1) throw new UsageError(`${option} wants a whole number, not "${text}"`);
  return value;
}

function listKernels(terminal: Terminal): void {
  const kernels = guestKernels();
  terminal.answer(
    kernels.map(({ version, image }) => ({ version, image })),
    kernels.length === 0
      ? 'none: apt install linux-image-cloud-amd64'
      : terminal.table(kernels.map(({ version, image }) => [version, image])),
  );
}

async function buildVmModule(terminal: Terminal, options: { kernel?: string }): Promise<void> {
  const progress = (text: string) => terminal.note(`nsgx: ${text}`);
  const kernel = await provideKernel(defaultCache(), options.kernel, progress);
  const path = await buildModule(kernel, defaultCache(), progress);
  terminal.answer({ path, kernel: kernel.version }, path);
}
