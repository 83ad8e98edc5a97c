/** Tries every enclave of a folder in a process of its own, under time limits. */
import { type ChildProcess, fork } from 'node:child_process';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type Found, findEnclaves } from './find.js';
import type {
  CallOutcome,
  ChildMessage,
  ChildTask,
  CompatReport,
  EnclaveReport,
  RunPlace,
} from './report.js';

const CHILD = fileURLToPath(new URL('./child.js', import.meta.url));

/** Time limits, in seconds. */
export interface CompatOptions {
  /** Of reading, launching a machine and loading. Default 120. */
  readonly loadSeconds?: number;
  /** Of a call for which the plan says nothing. Default 10. */
  readonly callSeconds?: number;
  /** Told after each enclave. */
  readonly progress?: (report: EnclaveReport, done: number, all: number) => void;
}

/**
 * Runs a folder's enclaves and scenarios one after the other.
 * @throws COMPAT_FOLDER; what enclaves do is in the report
 */
export async function runCompat(folder: string, options: CompatOptions = {}): Promise<CompatReport> {
  const { root, found } = findEnclaves(folder);
  const place = placeOfRun();
  const enclaves: EnclaveReport[] = [];
  for (const one of found) {
    const report = await tryOne(root, one, options);
    enclaves.push(report);
    options.progress?.(report, enclaves.length, found.length);
  }
  return { place, enclaves };
}

function placeOfRun(): RunPlace {
  return {
    processor: cpus()[0]?.model.trim() ?? 'unknown',
    kernel: release().split('-')[0] ?? '',
    node: process.versions.node,
    version: '0.1.0',
    date: new Date().toISOString().slice(0, 10),
  };
}

/** Makes one report; a process that hangs or dies is followed by another one for the calls that are left. */
async function tryOne(
  root: string,
  { file, path, kind }: Found,
  options: CompatOptions,
): Promise<EnclaveReport> {
  const report: EnclaveReport = { file, kind, loaded: false, calls: [], leftOut: [], zeros: [] };
  for (let from = 0; from !== null; ) {
    const next = await new Attempt(report, { root, path, kind, from }, options).run();
    if (next === null) return report;
    from = next;
  }
  return report;
}

/** One process. */
class Attempt {
  readonly #report: EnclaveReport;
  readonly #task: ChildTask;
  readonly #options: CompatOptions;
  #calls: readonly { name: string; seconds?: number }[] = [];
  #told = false;
  #current: { index: number; name: string; since: number } | null = null;
  #timer: NodeJS.Timeout | undefined;
  #hung = false;
  #done = false;

  constructor(report: EnclaveReport, task: ChildTask, options: CompatOptions) {
    this.#report = report;
    this.#task = task;
    this.#options = options;
  }

  /** The number of the call that another process should begin with, or null. */
  async run(): Promise<number | null> {
    const child = fork(CHILD, { stdio: ['ignore', 'ignore', 'ignore', 'ipc'], serialization: 'json' });
    const exited = new Promise<string>((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`));
      child.once('error', (error) => resolve(error.message));
    });
    child.on('message', (message: ChildMessage) => this.#take(child, message));
    this.#limit(child, this.#options.loadSeconds ?? 120);
    child.send(this.#task);
    const how = await exited;
    clearTimeout(this.#timer);
    return this.#done ? null : this.#ended(how);
  }

  #limit(child: ChildProcess, seconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#hung = true;
      child.kill('SIGKILL');
    }, seconds * 1000);
  }

  #take(child: ChildProcess, message: ChildMessage): void {
    const report = this.#report;
    const load = this.#options.loadSeconds ?? 120;
    switch (message.kind) {
      case 'inspected':
        report.inspection = message.inspection;
        return;
      case 'edl':
        report.edl = message.edl;
        report.noEdl = message.noEdl;
        return;
      case 'plan':
        this.#calls = message.calls;
        this.#told = message.told;
        Object.assign(report, { title: message.title, note: message.note, leftOut: message.leftOut });
        return;
      case 'loaded':
        report.loaded = true;
        return;
      case 'calling': {
        const { index } = message;
        const { name = message.name ?? '', seconds } = this.#calls[index] ?? {};
        this.#current = { index, name, since: performance.now() };
        // A call may have to load the enclave once more.
        this.#limit(
          child,
          seconds ?? (this.#task.kind === 'scenario' ? load : (this.#options.callSeconds ?? 10)),
        );
        return;
      }
      case 'called':
        report.calls.push(message.call);
        this.#current = null;
        this.#limit(child, load);
        return;
      case 'zeros':
        if (!report.zeros.includes(message.name)) report.zeros.push(message.name);
        return;
      case 'failed':
        report.failure ??= message.failure;
        return;
      case 'done':
        this.#done = true;
        this.#limit(child, load);
    }
  }

  /** A process that was ended by its limit or by itself. */
  #ended(how: string): number | null {
    const report = this.#report;
    if (this.#current === null) {
      const what = report.loaded ? 'closing the enclave' : 'loading the enclave';
      report.failure ??= {
        code: this.#hung ? 'HUNG' : 'PROCESS_ENDED',
        status: null,
        message: this.#hung
          ? `${what} took longer than its time limit`
          : `the process ended while ${what}: ${how}`,
      };
      return null;
    }
    const { index, name, since } = this.#current;
    const call: CallOutcome = {
      name,
      told: this.#told,
      outcome: this.#hung ? 'hung' : 'crashed',
      milliseconds: performance.now() - since,
    };
    report.calls.push(
      this.#hung
        ? call
        : {
            ...call,
            failure: { code: 'PROCESS_ENDED', status: null, message: `the host process ended: ${how}` },
          },
    );
    return this.#task.kind === 'enclave' && index + 1 < this.#calls.length ? index + 1 : null;
  }
}
