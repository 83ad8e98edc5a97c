import type { EnclaveMemory, EnclaveProcessor, PageRange, ProcessorStart } from '@nestedsgx/arch';
import { close, memfdCreate, OsError, pwrite, sealMemfd, socketpair, viewOf } from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { CONTROL } from '../layout/control.js';
import { GATE, NO_CPU } from '../layout/gate.js';
import { RUNNER_MEMORY, SPIN_MAX_CYCLES } from '../layout/memory.js';
import { writeFields } from '../layout/writer.js';
import { ControlMemory } from './control-memory.js';
import { MemfdEnclaveMemory } from './enclave-memory.js';
import { CodePatches } from './patches.js';
import {
  buildPlan,
  checkStart,
  initialProtections,
  normalizeRanges,
  placesBeside,
  type VmGuest,
} from './plan-builder.js';
import { type RunnerFacts, type RunnerOptions, RunnerProcess } from './runner-process.js';
import { NativeEnclave } from './running-enclave.js';
import { SiteStub, TRAMPOLINES_BYTES } from './site-stub.js';

const ALL_SEALS = 0xf;
/** Executable bytes searched for ENCLU sites when an enclave starts; code beyond this traps. */
const SEARCH_MAX = 256 << 20;

/** Options of {@link NativeProcessor}. */
export interface NativeProcessorOptions extends RunnerOptions {
  /** Sealed memory file of guest RAM, and where every process of the machine maps it. */
  ramFd: number;
  ramBase: number;
  ramBytes: number;
  /** Virtual address of the machine's doorbell word; 0 for none. */
  doorbell: number;
  /** The guest has a kernel of its own. */
  vm?: VmGuest;
  /** Sealed memory file with the runner's program (see sealRunnerProgram). Stays the caller's. */
  runnerFd: number;
  /** Replace `mov $leaf; ENCLU` sites by jumps (default), or let every ENCLU trap. */
  patch?: boolean;
  /** Make userfaultfds (default where the kernel allows them). */
  userfault?: boolean;
  /**
   * Keep one runner started ahead of the next enclave (default true). With `later` the caller does that when it has
   * nothing else to do, by {@link NativeProcessor.prepareSpare}.
   */
  spare?: boolean | 'later';
  /** Called when an enclave's runner is there, and when it has gone. With these its pidfd must be watched. */
  onStarted?: (enclave: NativeEnclave) => void;
  onEnded?: (enclave: NativeEnclave) => void;
}

/** Executes enclaves natively, each in a runner process of its own. */
export class NativeProcessor implements EnclaveProcessor {
  readonly #options: NativeProcessorOptions;
  readonly #enclaves = new Set<NativeEnclave>();
  #spare: RunnerProcess | null = null;
  #closed = false;

  constructor(options: NativeProcessorOptions) {
    this.#options = options;
    this.prepareSpare();
  }

  /**
   * Starts the runner for the next enclave ahead of time, unless there is one. When the system refuses (processes,
   * descriptors), the next enclave tries again and says so.
   */
  prepareSpare(): void {
    if (this.#closed || this.#spare || this.#options.spare === false) return;
    try {
      this.#spare = new RunnerProcess(this.#options.runnerFd, this.#options);
    } catch (error) {
      if (!(error instanceof OsError)) throw error;
    }
  }

  /** What this machine's runner can do. @throws CpuError RUNNER_REFUSED, RUNNER_MISMATCH, RUNNER_TIMEOUT */
  facts(): RunnerFacts {
    this.#spare ??= new RunnerProcess(this.#options.runnerFd, this.#options);
    return this.#spare.facts();
  }

  /** Enclaves that run. */
  get enclaves(): ReadonlySet<NativeEnclave> {
    return this.#enclaves;
  }

  createMemory(size: number): EnclaveMemory {
    return new MemfdEnclaveMemory(size);
  }

  /**
   * Starts an enclave: patches, plan, a runner, mappings. Returns when its gates serve.
   *
   * @throws CpuError PROCESSOR_ARGUMENT, PROCESSOR_LIMIT, RUNNER_*; OsError
   */
  start(start: ProcessorStart): NativeEnclave {
    const { memory } = start;
    if (!(memory instanceof MemfdEnclaveMemory))
      throw new CpuError('PROCESSOR_ARGUMENT', 'The enclave memory was not made by this processor.');
    if (this.#closed) throw new CpuError('ENCLAVE_STOPPED', 'The processor was closed.');
    checkStart(start, this.#options);
    const runner = this.#takeRunner();
    let control: ControlMemory | undefined;
    let planFd = -1;
    const grants = start.gates.descriptors ? socketpair() : null;
    let stub: SiteStub | null = null;
    let enclave: NativeEnclave | undefined;
    try {
      const facts = runner.facts();
      const ranges = normalizeRanges(start.ranges, start.size);
      control = new ControlMemory(start.gates.count);
      start.threads.forEach((thread, i) => {
        control!.setThread(i, start.base, thread, 0);
      });
      stub = this.#patch(start, memory, ranges, facts, control);
      const userfault = facts.userfault && this.#options.userfault !== false;
      const plan = buildPlan(start, ranges, stub?.pieces ?? [], this.#options, control.bytes, userfault);
      if (plan.byteLength > RUNNER_MEMORY.PLAN_MAX)
        throw new CpuError('PROCESSOR_LIMIT', 'The enclave has too many separate page ranges.');
      planFd = sealedFile('nsgx-plan', plan);
      const gates = this.#options.ramBase + start.gates.gpa;
      resetGates(gates, start.gates.count);
      const { uffd } = runner.start(
        [planFd, this.#options.ramFd, memory.fd, control.fd, stub?.fd ?? planFd, grants?.[1] ?? planFd],
        plan.byteLength,
        control.address + CONTROL.at.ready,
      );
      close(planFd);
      planFd = -1;
      control.closeFile();
      const mapped = control;
      const patches = stub;
      enclave = new NativeEnclave({
        runner,
        control,
        memory,
        uffd,
        grants: grants?.[0] ?? null,
        place: {
          base: start.base,
          gates,
          threads: start.threads.length,
          wakeWord: this.#options.vm?.wakeWord,
        },
        protections: initialProtections(start.size, ranges, uffd !== null),
        watched: this.#options.onStarted !== undefined,
        onEnd: (ended) => {
          this.#enclaves.delete(ended);
          patches?.close();
          mapped.detach();
          this.#options.onEnded?.(ended);
        },
      });
      this.#enclaves.add(enclave);
      this.#options.onStarted?.(enclave);
      return enclave;
    } catch (error) {
      if (planFd >= 0) close(planFd);
      if (enclave) enclave.stop();
      else {
        if (grants) close(grants[0]);
        runner.kill();
        memory.patches?.restore(0, memory.size);
        memory.patches = null;
        stub?.close();
        control?.detach();
      }
      throw error;
    } finally {
      if (grants) close(grants[1]);
      if (this.#options.spare !== 'later') this.prepareSpare();
    }
  }

  #takeRunner(): RunnerProcess {
    const spare = this.#spare;
    this.#spare = null;
    if (spare && !spare.exited() && !spare.stopped()) return spare;
    spare?.kill();
    return new RunnerProcess(this.#options.runnerFd, this.#options);
  }

  /** Patches the enclave's code pages, unless ENCLU shall trap. */
  #patch(
    start: ProcessorStart,
    memory: MemfdEnclaveMemory,
    ranges: readonly PageRange[],
    facts: RunnerFacts,
    control: ControlMemory,
  ): SiteStub | null {
    if (this.#options.patch === false || !facts.threadLookup) return null;
    const near = placesBeside(start.base, start.size, this.#options, TRAMPOLINES_BYTES, start.gates.beside);
    const stub = new SiteStub(start.base, facts, near, (sites) => control.store(CONTROL.at.sites, sites));
    const patches = new CodePatches(memory.fd, stub);
    memory.patches = patches;
    let left = SEARCH_MAX;
    try {
      for (const { offset, length, w, x } of ranges) {
        if (!x || w) continue;
        const searched = Math.min(length, left);
        patches.apply(offset, searched);
        left -= searched;
      }
    } catch (error) {
      stub.close();
      throw error;
    }
    return stub;
  }

  /** Marks the enclave of a runner that has ended as lost. Returns it, or null when the process was none of ours. */
  runnerExited(pid: number): NativeEnclave | null {
    for (const enclave of this.#enclaves)
      if (enclave.pid === pid) {
        enclave.markLost();
        return enclave;
      }
    return null;
  }

  /**
   * Looks at every runner: one that has ended, or that somebody stopped (SIGSTOP, a debugger), costs its enclave its
   * life. For the monitor's loop, every 50 ms or so. Returns the enclaves lost since.
   */
  checkRunners(): NativeEnclave[] {
    return [...this.#enclaves].filter((enclave) => enclave.check() !== null);
  }

  /** Stops every enclave and the spare runner. */
  close(): void {
    this.#closed = true;
    for (const enclave of [...this.#enclaves]) enclave.stop();
    this.#spare?.kill();
    this.#spare = null;
  }
}

/** Fresh gate pages: no request, and no CPU named by either side. */
function resetGates(address: number, count: number): void {
  const pages = viewOf(address, count * GATE.size).fill(0);
  for (let i = 0; i < count; i++)
    writeFields(
      GATE,
      { hostCpu: NO_CPU, runnerCpu: NO_CPU, hostPatience: SPIN_MAX_CYCLES },
      pages,
      i * GATE.size,
    );
}

function sealedFile(name: string, bytes: Uint8Array): number {
  const fd = memfdCreate(name, { size: bytes.byteLength });
  pwrite(fd, bytes, 0);
  sealMemfd(fd, ALL_SEALS);
  return fd;
}
