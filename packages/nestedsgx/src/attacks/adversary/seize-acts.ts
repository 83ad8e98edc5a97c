/** Attacks that take hold of other processes thread by thread, or as soon as they exist. */

import { spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, unlinkSync, writeFileSync } from 'node:fs';
import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { loadLibrary, type NativeFunction, processVmRead } from '@nestedsgx/os';
import { childrenOf } from './process-acts.js';
import { nameOf, type World } from './world.js';

const PAUSE = new Int32Array(new SharedArrayBuffer(4));
const PTRACE_ATTACH = 16;
const PTRACE_DETACH = 17;
const PTRACE_SEIZE = 0x4206;
const KCMP = 312;
const PERF_EVENT_OPEN = 298;
const MOVE_PAGES = 279;

/** One way, and whether it was granted. */
export interface Seizure {
  what: string;
  granted: boolean;
  why: string;
}

let libc: { ptrace: NativeFunction; syscall: NativeFunction } | undefined;
function functions() {
  if (libc === undefined) {
    const library = loadLibrary('libc.so.6');
    libc = {
      ptrace: library.func('long ptrace(long request, int pid, uint64_t address, uint64_t data)'),
      syscall: library.func(
        'long syscall(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e)',
      ),
    };
  }
  return libc;
}

function tasks(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).map(Number);
}

function tryAll(pid: number): Seizure[] {
  const { ptrace, syscall } = functions();
  const seizures: Seizure[] = [];
  const note = (what: string, action: () => boolean) => {
    try {
      const granted = action();
      seizures.push({ what, granted, why: granted ? '' : 'an error' });
    } catch (error) {
      seizures.push({ what, granted: false, why: nameOf(error) });
    }
  };
  for (const [i, tid] of tasks(pid).slice(0, 6).entries()) {
    const which = i === 0 ? 'the main thread' : 'a thread';
    for (const [name, request] of [
      ['PTRACE_SEIZE', PTRACE_SEIZE],
      ['PTRACE_ATTACH', PTRACE_ATTACH],
    ] as const)
      note(`${name} of ${which}`, () => {
        const granted = Number(ptrace(request, tid, 0n, 0n)) === 0;
        if (granted) ptrace(PTRACE_DETACH, tid, 0n, 0n);
        return granted;
      });
    note(`process_vm_readv of ${which}`, () => {
      processVmRead(tid, RUNNER_MEMORY.IMAGE, new Uint8Array(8));
      return true;
    });
    note(`/proc/PID/task/TID/mem of ${which}`, () => {
      closeSync(openSync(`/proc/${pid}/task/${tid}/mem`, 'r'));
      return true;
    });
  }
  note('kcmp', () => Number(syscall(KCMP, BigInt(pid), BigInt(process.pid), 1n, 0n, 0n)) >= 0);
  note('move_pages', () => Number(syscall(MOVE_PAGES, BigInt(pid), 0n, 0n, 0n, 0n)) === 0);
  note('perf_event_open', () => {
    // PERF_TYPE_SOFTWARE, task clock, user mode: what a profiler would ask for.
    const attributes = new Uint8Array(128);
    const view = new DataView(attributes.buffer);
    view.setUint32(0, 1, true);
    view.setUint32(4, 128, true);
    view.setBigUint64(8, 1n, true);
    const open = loadLibrary('libc.so.6').func(
      'long syscall(long number, void *attr, int pid, int cpu, int group, long flags)',
    );
    const fd = Number(open(PERF_EVENT_OPEN, attributes, pid, -1, -1, 0));
    if (fd >= 0) closeSync(fd);
    return fd >= 0;
  });
  return seizures;
}

export const seizeActs = {
  /** Tries every way against `pid`, or (null) against a process of this one that protects nothing. */
  async seize(_world: World, { pid }: { pid: number | null }): Promise<Seizure[]> {
    if (pid !== null) return tryAll(pid);
    const child = spawn('/proc/self/exe', ['-e', 'setInterval(() => {}, 1000)'], {
      env: {},
      stdio: 'ignore',
    });
    try {
      await new Promise<void>((resolve) => setTimeout(resolve, 60));
      return tryAll(child.pid!);
    } finally {
      child.kill('SIGKILL');
    }
  },

  /** Lists, reads, links and changes a folder and its files. */
  readTree(_world: World, { folder, files }: { folder: string; files: string[] }) {
    const outcomes: { what: string; got: boolean; why: string }[] = [];
    const attempt = (what: string, action: () => void) => {
      try {
        action();
        outcomes.push({ what, got: true, why: '' });
      } catch (error) {
        outcomes.push({ what, got: false, why: nameOf(error) });
      }
    };
    attempt('listing the folder', () => readdirSync(folder));
    attempt('a new file', () => {
      writeFileSync(`${folder}/planted`, '', { flag: 'wx' });
      unlinkSync(`${folder}/planted`);
    });
    for (const file of files) {
      attempt(`reading ${file}`, () => closeSync(openSync(file, 'r')));
      attempt(`opening ${file} for writing`, () => closeSync(openSync(file, 'r+')));
    }
    return outcomes;
  },

  /** Opens the memory of every new child of `parent` as often and as early as it can, for `ms`. */
  catch(_world: World, { parent, ms }: { parent: number; ms: number }) {
    const known = new Set(childrenOf(parent));
    const seen = new Set<number>();
    const opened: string[] = [];
    let tries = 0;
    let why = 'no new process';
    const deadline = performance.now() + ms;
    while (performance.now() < deadline) {
      for (const child of childrenOf(parent)) if (!known.has(child)) seen.add(child);
      for (const child of seen) {
        for (const name of ['mem', 'maps', 'fd/3']) {
          tries++;
          try {
            closeSync(openSync(`/proc/${child}/${name}`, 'r'));
            opened.push(name);
          } catch (error) {
            why = nameOf(error);
          }
        }
      }
      Atomics.wait(PAUSE, 0, 0, 0.05);
    }
    return { seen: seen.size, tries, opened: opened.slice(0, 4), why };
  },
};
