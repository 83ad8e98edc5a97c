/** The machine a benchmark ran on. */
import { readFileSync } from 'node:fs';
import { cpus as nodeCpus, release } from 'node:os';
import { tscHz, usableCpus } from '@nestedsgx/os';
import type { Host } from './row.js';

/** Describes this machine now. */
export function thisHost(): Host {
  return {
    tscHz: Math.round(tscHz()),
    cpu: cpuModel(),
    cpus: usableCpus().length,
    kernel: `Linux ${release()}`,
    node: process.version,
    date: new Date().toISOString().replace(/\.\d+Z$/, 'Z'),
  };
}

function cpuModel(): string {
  const model = nodeCpus()[0]?.model.trim();
  if (model !== undefined && model !== '' && model !== 'unknown') return model;
  return /^vendor_id\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'))?.[1] ?? 'unknown';
}

/** A figure of /proc/PID/status in KiB, such as VmHWM; null when the process does not show it. */
export function processMemoryKib(pid: number | 'self', field: 'VmHWM' | 'VmRSS'): number | null {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  const found = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(text);
  return found === null ? null : Number(found[1]);
}

/** Share of all CPUs that is used now (0…1), over `ms` milliseconds in which this process does nothing. */
export async function busyShare(ms = 300): Promise<number> {
  const before = cpuTimes();
  await new Promise<void>((resolve) => setTimeout(resolve, ms));
  const after = cpuTimes();
  const all = after.all - before.all;
  return all <= 0 ? 0 : 1 - (after.idle - before.idle) / all;
}

/** Waits until others leave the machine alone, but not for ever. Returns how busy it is then. */
export async function awaitQuiet(limitMs: number, quiet = 0.1): Promise<number> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const busy = await busyShare();
    if (busy <= quiet || performance.now() > deadline) return busy;
  }
}

function cpuTimes(): { all: number; idle: number } {
  const times = nodeCpus().map((cpu) => cpu.times);
  const idle = times.reduce((sum, { idle }) => sum + idle, 0);
  const all = times.reduce((sum, { user, nice, sys, idle, irq }) => sum + user + nice + sys + idle + irq, 0);
  return { all, idle };
}
