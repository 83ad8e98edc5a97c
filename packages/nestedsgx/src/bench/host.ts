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
