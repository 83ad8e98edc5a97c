/** Everything an adversary process can be told to do. */
import { readFileSync } from 'node:fs';
import { guestActs } from './guest-acts.js';
import { memoryActs } from './memory-acts.js';
import { processActs } from './process-acts.js';
import { seizeActs } from './seize-acts.js';
import { whereActs } from './where-acts.js';

export const acts = Object.freeze({
  /** Who this process is, as the kernel says. */
  whoami() {
    const status = readFileSync('/proc/self/status', 'latin1');
    const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '';
    return {
      pid: process.pid,
      uid: process.getuid?.() ?? -1,
      capabilities: BigInt(`0x${capabilities || '0'}`) !== 0n,
    };
  },
  ...memoryActs,
  ...processActs,
  ...guestActs,
  ...seizeActs,
  ...whereActs,
});

/** The acts by name. */
export type Acts = typeof acts;
/** What an act is told: JSON values. */
export type ActArguments<K extends keyof Acts> = Parameters<Acts[K]>[1];
/** What it reports: JSON values. */
export type ActResult<K extends keyof Acts> = Awaited<ReturnType<Acts[K]>>;
