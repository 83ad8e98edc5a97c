import { check, checkInteger } from './errors.js';
import { native } from './native.js';

/** CPUs that a mask can name. */
const MASK_BYTES = 1024;
let frequency: number | undefined;

/** The time stamp counter. */
export function rdtsc(): number {
  return native().rdtsc();
}

/** Its frequency in Hz, measured once (about 30 ms) and remembered. */
export function tscHz(): number {
  frequency ??= native().tscHz(10) as number;
  return frequency;
}

/** The CPUs on which this process (or `pid`) may run. */
export function usableCpus(pid = 0): number[] {
  const mask = new Uint8Array(MASK_BYTES);
  const bytes = check(native().getAffinity(pid, mask, MASK_BYTES), 'sched_getaffinity');
  const cpus: number[] = [];
  for (let cpu = 0; cpu < bytes * 8; cpu++) if ((mask[cpu >> 3]! >> (cpu & 7)) & 1) cpus.push(cpu);
  return cpus;
}

/** Binds a thread (0: the calling one; a process number: its main thread) to one CPU or several. */
export function setAffinity(pid: number, cpu: number | readonly number[]): void {
  if (typeof cpu === 'number' && cpu < 1024) {
    check(native().setAffinityOne(pid, checkInteger(cpu, 'cpu')), 'sched_setaffinity', `CPU ${cpu}`);
    return;
  }
  const mask = new Uint8Array(MASK_BYTES);
  for (const c of typeof cpu === 'number' ? [cpu] : cpu) {
    checkInteger(c, 'cpu', 0, MASK_BYTES * 8 - 1);
    mask[c >> 3]! |= 1 << (c & 7);
  }
  check(native().setAffinity(pid, mask, MASK_BYTES), 'sched_setaffinity', `CPUs ${cpu}`);
}

/** The CPU on which the calling thread runs now. */
export function getCpu(): number {
  return check(native().getcpu(), 'getcpu');
}

/** Kernel's number of the calling thread. */
export function threadId(): number {
  return native().gettid();
}
