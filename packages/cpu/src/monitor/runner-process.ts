import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  close,
  futexWait,
  memfdCreate,
  pidfdSignal,
  pollFds,
  pwrite,
  recvFds,
  sealMemfd,
  sendFds,
  socketpair,
  spawn,
  spinThenWait,
  waitPidfd,
} from '@nestedsgx/os';
import { CpuError } from '../errors.js';
import { CONTROL } from '../layout/control.js';
import { layoutId } from '../layout/header.js';
import {
  AGENT,
  AGENT_OP,
  HELLO,
  HELLO_FLAG,
  MAGIC,
  START,
  STARTED,
  STARTED_FLAG,
} from '../layout/messages.js';
import { PLAN_FILE } from '../layout/plan.js';
import { encode, readText, readU32, readU64 } from '../layout/writer.js';
import type { ControlMemory } from './control-memory.js';

const POLLIN = 1;
const SIGKILL = 9;
/** F_SEAL_SEAL | SHRINK | GROW | WRITE. */
const ALL_SEALS = 0xf;
const HELLO_TIMEOUT_MS = 2000;
const START_TIMEOUT_MS = 4000;
/** The monitor waits for one runner at a time, so it looks this often whether that was stopped meanwhile. */
const LOOK_MS = 50;
const EXIT_TIMEOUT_MS = 2000;
/** How long a runner's agent may take for an order; an honest one may have to wait for a busy machine's CPU. */
const AGENT_TIMEOUT_MS = 500;
const AGENT_LOOK_MS = 10;
/** An idle CPU wakes up within this time. */
const AGENT_SPIN_CYCLES = 60_000;

/** What a runner says about itself and the machine before it gets anything. */
export interface RunnerFacts {
  /** XCR0: state components that the kernel has enabled. */
  xcr0: bigint;
  /** Bytes of an XSAVE image with all of them. */
  xsaveBytes: number;
  /** False: without a per-thread descriptor limit no ENCLU site can be patched. */
  threadLookup: boolean;
  selector: number;
  patchedEnclu: number;
  /** Whether the process could not be read or traced from its first instruction on. */
  notDumpableFromStart: boolean;
  userfault: boolean;
}

/** The runner's program as built in this package. @throws CpuError RUNNER_MISSING */
export function readRunnerProgram(path?: string): Uint8Array {
  const file = path ?? join(dirname(fileURLToPath(import.meta.url)), '../../../native/build/nsgx-runner');
  try {
    return readFileSync(file);
  } catch (cause) {
    throw new CpuError('RUNNER_MISSING', `The runner program ${file} cannot be read.`, {
      cause,
      advice: 'Build it: npm run build (needs gcc and make).',
    });
  }
}

/**
 * Puts the runner's program into a sealed memory file with mode 0111, from which it starts: the bytes executed are
 * the bytes given, and ordinary users cannot read or trace the process even for a moment.
 */
export function sealRunnerProgram(program: Uint8Array): number {
  const fd = memfdCreate('nsgx-runner', { size: program.byteLength, exec: true, mode: 0o111 });
  pwrite(fd, program, 0);
  sealMemfd(fd, ALL_SEALS);
  return fd;
}

/** Options of {@link RunnerProcess}. */
export interface RunnerOptions {
  /** Account to run under (needs the right to change to it). */
  uid?: number;
  gid?: number;
}

/** One runner process: started, and waiting for an enclave or executing one. */
export class RunnerProcess {
  readonly pid: number;
  readonly pidfd: number;
  #socket: number;
  #facts: RunnerFacts | undefined;
  #exited = false;
  #agentSeq = 0;

  /** Starts a runner. Call it from the main thread: the runner ends with the thread that started it. */
  constructor(programFd: number, options: RunnerOptions = {}) {
    const [here, there] = socketpair();
    try {
      const ids = options.uid === undefined ? {} : { uid: options.uid, gid: options.gid ?? options.uid };
      const { pid, pidfd } = spawn({
        executable: { fd: programFd },
        argv: ['nsgx-runner'],
        env: [],
        fds: [[3, there]],
        deathSignal: SIGKILL,
        newSession: true,
        noCore: true,
        dropCapabilities: true,
        noNewPrivileges: true,
        ...ids,
      });
      this.pid = pid;
      this.pidfd = pidfd;
      this.#socket = here;
    } catch (error) {
      close(here);
      throw error;
    } finally {
      close(there);
    }
  }

  /** Waits for the runner's first message. @throws CpuError RUNNER_REFUSED, RUNNER_MISMATCH, RUNNER_TIMEOUT */
  facts(): RunnerFacts {
    if (this.#facts) return this.#facts;
    const message = this.#receive(HELLO.size, 0, HELLO_TIMEOUT_MS, 'HELLO');
    const bytes = message.bytes;
    if (
      bytes.byteLength !== HELLO.size ||
      readU32(HELLO, 'magic', bytes) !== MAGIC.HELLO ||
      readU64(HELLO, 'layout', bytes) !== layoutId()
    )
      throw new CpuError('RUNNER_MISMATCH', 'The runner was built from other layouts than this monitor.', {
        advice: 'Build both again: npm run build.',
      });
    const flags = readU32(HELLO, 'flags', bytes);
    if (flags & HELLO_FLAG.REFUSED)
      throw new CpuError(
        'RUNNER_REFUSED',
        `The runner refuses to start: ${readText(HELLO, 'reason', bytes)}.`,
        {
          advice: 'Run "nsgx doctor" for what this machine lacks.',
        },
      );
    this.#facts = {
      xcr0: readU64(HELLO, 'xcr0', bytes),
      xsaveBytes: readU32(HELLO, 'xsaveBytes', bytes),
      threadLookup: (flags & HELLO_FLAG.THREAD_LOOKUP) !== 0,
      selector: readU32(HELLO, 'selector', bytes),
      patchedEnclu: readU32(HELLO, 'patchedEnclu', bytes),
      notDumpableFromStart: (flags & HELLO_FLAG.NOT_DUMPABLE_FROM_START) !== 0,
      userfault: (flags & HELLO_FLAG.USERFAULT) !== 0,
    };
    return this.#facts;
  }

  /**
   * Hands over the files in the order of PLAN_FILE and waits until the runner has closed its filter. Returns the
   * userfaultfd of its ELRANGE, or null where the kernel refuses one.
   *
   * @param readyAddress address of the control memory's `ready` word in this process
   * @throws CpuError RUNNER_FAILED with the step that failed, RUNNER_TIMEOUT
   */
  start(files: readonly number[], planBytes: number, readyAddress: number): { uffd: number | null } {
    this.facts();
    const order = encode(START, { magic: MAGIC.START, files: PLAN_FILE.COUNT, planBytes });
    sendFds(this.#socket, order, files, START_TIMEOUT_MS);
    const message = this.#receive(STARTED.size, 1, START_TIMEOUT_MS, 'STARTED');
    const { bytes, fds } = message;
    const flags = readU32(STARTED, 'flags', bytes);
    if (bytes.byteLength !== STARTED.size || flags & STARTED_FLAG.FAILED) {
      for (const fd of fds) close(fd);
      const reason = readText(STARTED, 'reason', bytes);
      throw new CpuError(
        'RUNNER_FAILED',
        `The runner could not set the enclave up: step ${readU32(STARTED, 'step', bytes)} (${reason}), ` +
          `error ${readU32(STARTED, 'errorNumber', bytes)} at 0x${readU64(STARTED, 'address', bytes).toString(16)}.`,
      );
    }
    const uffd = fds.length === 1 ? fds[0]! : null;
    let left = START_TIMEOUT_MS;
    while (futexWait(readyAddress, 0, LOOK_MS) === 'timeout') {
      left -= LOOK_MS;
      if (left > 0 && !this.stopped()) continue;
      if (uffd !== null) close(uffd);
      throw new CpuError('RUNNER_TIMEOUT', 'The runner did not become ready in time.');
    }
    return { uffd };
  }

  /** Asks the agent to make a thread leave its enclave. */
  kick(thread: number): void {
    // A runner that does not read its orders is dealt with by whoever waits for their effect.
    this.#order({ op: AGENT_OP.KICK, thread });
  }

  /**
   * Has the agent change the protection of pages of the ELRANGE, and waits for that. Returns its errno (0: done), or null
   * when it did not answer in time.
   */
  protect(control: ControlMemory, address: number, length: number, prot: number): number | null {
    this.#agentSeq = (this.#agentSeq + 1) >>> 0;
    const seq = this.#agentSeq;
    let seen = control.load(CONTROL.at.agentSeq);
    if (!this.#order({ op: AGENT_OP.PROTECT, seq, address, length, prot })) return null;
    const word = control.address + CONTROL.at.agentSeq;
    const end = performance.now() + AGENT_TIMEOUT_MS;
    for (let left = AGENT_TIMEOUT_MS; left > 0; left = end - performance.now()) {
      const slice = Math.ceil(Math.min(AGENT_LOOK_MS, left) * 1000);
      seen = spinThenWait(word, seen, AGENT_SPIN_CYCLES, slice, 0) >>> 0;
      if (seen === seq) return control.load(CONTROL.at.agentResult);
      if (this.exited()) return null;
    }
    return null;
  }

  /** Sends an order; false when the runner does not take it. */
  #order(fields: Parameters<typeof encode<typeof AGENT.fields>>[1]): boolean {
    if (this.#exited) return false;
    try {
      sendFds(this.#socket, encode(AGENT, { magic: MAGIC.AGENT, ...fields }));
      return true;
    } catch {
      return false;
    }
  }

  /** True once the process has ended (it is reaped then). */
  exited(): boolean {
    if (!this.#exited && pollFds([{ fd: this.pidfd, events: POLLIN }], 0)[0] !== 0) this.#reap();
    return this.#exited;
  }

  /** True while the process is stopped by a signal or a tracer. */
  stopped(): boolean {
    if (this.#exited) return false;
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1');
      return /^[Tt]$/.test(stat.charAt(stat.lastIndexOf(')') + 2));
    } catch {
      return false;
    }
  }

  /** Ends the process and waits for its end. */
  kill(): void {
    if (!this.#exited) {
      try {
        pidfdSignal(this.pidfd, SIGKILL);
      } catch {
        // gone already
      }
      pollFds([{ fd: this.pidfd, events: POLLIN }], EXIT_TIMEOUT_MS);
      this.#reap();
    }
    if (this.#socket >= 0) {
      close(this.#socket);
      close(this.pidfd);
      this.#socket = -1;
    }
  }

  #reap(): void {
    try {
      waitPidfd(this.pidfd, true);
    } catch {
      // reaped by somebody else, such as an event pump
    }
    this.#exited = true;
  }

  #receive(bytes: number, fds: number, timeoutMs: number, what: string) {
    let message: ReturnType<typeof recvFds> = null;
    for (let left = timeoutMs; message === null && left > 0; left -= LOOK_MS) {
      message = recvFds(this.#socket, bytes, fds, Math.min(LOOK_MS, left));
      if (message === null && this.stopped())
        throw new CpuError('RUNNER_FAILED', `The runner was stopped by a signal before it sent ${what}.`);
    }
    if (!message)
      throw new CpuError('RUNNER_TIMEOUT', `The runner did not send ${what} within ${timeoutMs} ms.`);
    if (message.eof)
      throw new CpuError('RUNNER_FAILED', `The runner ended before it sent ${what}.`, {
        advice: 'Run "nsgx doctor".',
      });
    return message;
  }
}
