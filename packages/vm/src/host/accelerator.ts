/** Whether the kernel's hypervisor can run a guest here. A device node does not say so: inside some clouds it hangs. */
import { accessSync, constants, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import type { Accelerator } from '../qemu.js';
import { PRIVATE, runProgram } from './commands.js';
import type { GuestKernel } from './kernels.js';
import type { Progress } from './packages.js';

const DEVICE = '/dev/kvm';
/** A kernel without anything to run gives up within a second where it runs at all. */
const PROBE_MS = 5000;

/** The processor model for each accelerator: all that it offers. */
export const CPU_MODEL: Readonly<Record<'tcg' | 'kvm', string>> = Object.freeze({
  tcg: 'max',
  // QEMU 7.2 offers a register of Intel's on AMD, which newer kernels then refuse to set.
  kvm: 'host,-arch-capabilities',
});

/** True when this account may use the kernel's hypervisor. */
export function kvmThere(): boolean {
  try {
    accessSync(DEVICE, constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

/** What `auto` means here. The first time it boots a kernel under KVM to see; the answer is kept in the cache. */
export async function chooseAccelerator(
  wanted: Accelerator,
  program: string,
  kernel: GuestKernel,
  cache: string,
  progress: Progress,
): Promise<'tcg' | 'kvm'> {
  if (wanted !== 'auto') return wanted;
  if (!kvmThere()) return 'tcg';
  const key = `${release()} ${statSync(program).mtimeMs} ${kernel.version}`;
  const file = join(cache, 'kvm-works');
  const known = readAnswer(file);
  if (known?.key === key) return known.works ? 'kvm' : 'tcg';
  progress('trying whether KVM works here');
  const works = await tryKvm(program, kernel);
  mkdirSync(cache, { recursive: true, mode: PRIVATE });
  writeFileSync(file, `${JSON.stringify({ key, works })}\n`);
  return works ? 'kvm' : 'tcg';
}

async function tryKvm(program: string, kernel: GuestKernel): Promise<boolean> {
  const args = ['-accel', 'kvm', '-cpu', CPU_MODEL.kvm, '-m', '256', '-nodefaults', '-no-user-config'];
  args.push('-display', 'none', '-no-reboot', '-kernel', kernel.image, '-append', 'panic=-1 quiet');
  const { status } = await runProgram(program, args, { timeoutMs: PROBE_MS });
  return status === 0;
}

function readAnswer(file: string): { key: string; works: boolean } | undefined {
  try {
    const answer = JSON.parse(readFileSync(file, 'utf8')) as { key?: unknown; works?: unknown };
    return typeof answer.key === 'string' && typeof answer.works === 'boolean'
      ? { key: answer.key, works: answer.works }
      : undefined;
  } catch {
    return undefined;
  }
}
