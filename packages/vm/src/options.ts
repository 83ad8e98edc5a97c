/** Options of a guest, checked and completed. */
import type { LaunchOptions } from '@nestedsgx/sdk';
import { vmError } from './errors.js';
import type { GuestCopy } from './initramfs/assemble.js';
import type { Accelerator } from './qemu.js';

const MIB = 2 ** 20;
/** The window that guest and monitor share, kept from the guest's kernel. */
export const WINDOW = Object.freeze({ gpa: 0x800_0000, bytes: 64 * MIB });
/** Above this, QEMU's machine has a hole, and addresses are no longer offsets in the memory file. */
export const MEMORY_LIMIT = 3072 * MIB;
export const MEMORY_LEAST = 256 * MIB;
const MEMORY_USUAL = 512 * MIB;
const VCPUS_LIMIT = 16;
const START_MS = 60_000;

/** Options of `Vm.start`. */
export interface VmOptions {
  /** Guest RAM in bytes, a multiple of 2 MiB from 256 MiB to 3 GiB (default 512 MiB). */
  memoryBytes?: number;
  /** Processors of the guest, 1 … 16 (default 1). */
  vcpus?: number;
  /** `auto` (default): the kernel's hypervisor where it works, else QEMU's emulation. */
  accel?: Accelerator;
  /** Version of an installed kernel (default: the newest cloud kernel, else the newest other one). */
  kernel?: string;
  /** Folder with a root file system; by default there is only busybox. */
  rootfs?: string;
  /** Files and folders for the guest; programs bring their shared libraries along. */
  copies?: readonly GuestCopy[];
  /** More words for the kernel's command line. */
  append?: readonly string[];
  /** How the confidential VM behind the guest is launched. */
  launch?: Omit<LaunchOptions, 'ramBytes' | 'window' | 'lifetime' | 'listen'>;
  /** False: no confidential VM behind the guest, so no enclaves, and no guest module unless it is asked for. */
  machine?: boolean;
  /** Load the guest module (default: when there is a machine). */
  module?: boolean;
  /** A module of one's own instead: path of a .ko for this kernel. */
  modulePath?: string;
  /** Time for the guest to get ready, in milliseconds (default 60,000). */
  startMs?: number;
  /** Folder for what is built and downloaded (default: below the state directory). */
  cache?: string;
  /** Says what is being done where it takes time. */
  progress?: (text: string) => void;
}

export type CompleteOptions = VmOptions &
  Required<
    Pick<
      VmOptions,
      | 'memoryBytes'
      | 'vcpus'
      | 'accel'
      | 'copies'
      | 'append'
      | 'machine'
      | 'launch'
      | 'module'
      | 'startMs'
      | 'progress'
    >
  >;

/** @throws VM_OPTION_INVALID naming the option */
export function completeOptions(options: VmOptions = {}): CompleteOptions {
  const { memoryBytes = MEMORY_USUAL, vcpus = 1, accel = 'auto', startMs = START_MS } = options;
  if (!Number.isSafeInteger(memoryBytes) || memoryBytes % (2 * MIB) !== 0)
    throw invalid('memory', `${memoryBytes} bytes`, 'a multiple of 2 MiB');
  if (memoryBytes < MEMORY_LEAST || memoryBytes > MEMORY_LIMIT)
    throw invalid('memory', `${memoryBytes / MIB} MiB`, 'from 256 MiB to 3072 MiB');
  if (!Number.isSafeInteger(vcpus) || vcpus < 1 || vcpus > VCPUS_LIMIT)
    throw invalid('vcpus', String(vcpus), `from 1 to ${VCPUS_LIMIT}`);
  if (!['tcg', 'kvm', 'auto'].includes(accel)) throw invalid('accel', String(accel), 'tcg, kvm or auto');
  if (!Number.isSafeInteger(startMs) || startMs < 1)
    throw invalid('startMs', String(startMs), 'milliseconds');
  const append = options.append ?? [];
  for (const word of append)
    if (/[^\x21-\x7e]/.test(word))
      throw invalid('append', JSON.stringify(word), 'one word of the command line each');
  return {
    ...options,
    memoryBytes,
    vcpus,
    accel,
    startMs,
    append,
    copies: options.copies ?? [],
    machine: options.machine ?? true,
    launch: options.launch ?? {},
    module: options.module ?? options.machine ?? true,
    progress: options.progress ?? (() => undefined),
  };
}

/** The kernel's command line. */
export function commandLine(options: Pick<CompleteOptions, 'append' | 'accel'>, agent: string): string {
  const window = `memmap=${WINDOW.bytes / MIB}M$0x${WINDOW.gpa.toString(16)}`;
  return [
    // The serial port of interrupts is found first, so the console is the second.
    'console=ttyS1',
    'quiet',
    // A guest that is scheduled like any process would find its clocks apart and fall back to a slow one.
    'tsc=reliable',
    'panic=-1',
    window,
    `rdinit=${agent}`,
    ...options.append,
  ].join(' ');
}

function invalid(name: string, value: string, wanted: string): Error {
  return vmError('VM_OPTION_INVALID', `option ${name} of a guest is ${value}; it must be ${wanted}`);
}
