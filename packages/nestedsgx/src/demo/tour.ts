import { chownSync, mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Cvm, type LaunchOptions } from '@nestedsgx/sdk';
import colors from '../cli/colors.js';
import type { Terminal } from '../cli/terminal.js';

/** Account of the machines that the tour starts when it runs as root: confidential VMs need no privilege. */
const UNPRIVILEGED = Object.freeze({ uid: 64_210, gid: 64_210 });

/** One line of the tour: what was done, and what came out. */
export interface TourLine {
  step: string;
  what: string;
  observed: string;
  ok: boolean;
}

/** The state that the tour's steps share. */
export class Tour implements AsyncDisposable {
  readonly lines: TourLine[] = [];
  /** Where the tour leaves its evidence, policy and enclave. */
  readonly folder: string;
  readonly startedMs = performance.now();
  private readonly machines: Cvm[] = [];
  private step = '';

  constructor(private readonly terminal: Terminal) {
    this.folder = mkdtempSync(join(tmpdir(), 'nestedsgx-tour-'));
  }

  /** True when every line so far came out as the tour says it must. */
  get ok(): boolean {
    return this.lines.every((line) => line.ok);
  }

  /** Begins a step of the tour. */
  begin(title: string): void {
    this.step = title;
    this.terminal.line(`\n${colors.bold(title)}`);
  }

  /** Records one line; `ok` says whether it came out as it must. */
  record(what: string, observed: string, ok = true): void {
    this.lines.push({ step: this.step, what, observed, ok });
    this.terminal.line(`  ${ok ? colors.green('✓') : colors.red('✗')} ${what}: ${observed}`);
  }

  /** Runs something that must be refused, and records how. */
  async refused(what: string, body: () => unknown): Promise<void> {
    try {
      await body();
      this.record(what, 'was NOT refused', false);
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? ` [${String(error.code)}]` : '';
      this.record(what, `refused: ${(error as Error).message}${code}`);
    }
  }

  /**
   * Launches a machine whose chip keys live under `chip` in the tour's folder: the same name is the same chip. It ends
   * with the tour.
   */
  async launch(chip: string, options: LaunchOptions = {}): Promise<Cvm> {
    const stateDir = join(this.folder, chip);
    mkdirSync(stateDir, { recursive: true, mode: 0o700 });
    const isRoot = process.getuid?.() === 0;
    if (isRoot) {
      chownSync(stateDir, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
      chownSync(this.folder, UNPRIVILEGED.uid, UNPRIVILEGED.gid);
    }
    const cvm = await Cvm.launch({ stateDir, user: isRoot ? { ...UNPRIVILEGED } : undefined, ...options });
    this.machines.push(cvm);
    return cvm;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.machines.map((cvm) => cvm.close()));
  }
}
