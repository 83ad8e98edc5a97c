/** The security monitor: serves virtual CPUs and enclave threads, synchronously, in one thread. */
import { EnclaveMeasurement, type HashProvider, SVSM } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { MonitorError } from './errors.js';
import { checkInvariants } from './invariants.js';
import { wipe } from './keys/cmac.js';
import { KeyHierarchy } from './keys/hierarchy.js';
import type { LeafOutcome } from './leaf/checks.js';
import { type LeafCount, LeafCounters } from './leaf/counters.js';
import { allEnclaves, destroyEvicted, removeVersionArray } from './paging/evicted-enclaves.js';
import { PageCipher, systemEntropy } from './paging/page-cipher.js';
import type {
  EnclaveProcessor,
  HashingPort,
  MachinePort,
  PageGcmFactory,
  ReportPort,
  VcpuPort,
} from './ports.js';
import { QuotingEnclave } from './quote/quoting-enclave.js';
import { executeRunnerLeaf } from './runner-leaves.js';
import { attempt, available } from './state/available.js';
import { type EnclaveRecord, LOST_REASON } from './state/enclave.js';
import { loseEnclave, removeWhole } from './state/enclave-life.js';
import { DEFAULT_PLATFORM, type Platform } from './state/platform.js';
import { type FrameOwner, type MonitorState, newState } from './state/state.js';
import { type EnclaveStats, enclaveStats } from './stats.js';
import { failure } from './svsm/context.js';
import { dispatch } from './svsm/dispatch.js';
import { enclaveAt } from './svsm/sgx.js';
import type { TraceSink } from './trace.js';

/** How a machine holds apart its guest and its monitor. */
export type Isolation = 'same-user' | 'separate-user' | 'sev-snp';

/** What a monitor is made of. */
export interface MonitorOptions {
  machine: MachinePort;
  processor: EnclaveProcessor;
  /** PSP guest messages of VMPL0. */
  channel: ReportPort;
  /** Certificates of SNP reports (DER), leaf first; the machine's PSP has them otherwise. */
  certificates?: readonly Uint8Array[];
  isolation: Isolation;
  platform?: Partial<Platform>;
  /** CR_SGXOWNEREPOCH (16 bytes); zero by default. */
  ownerEpoch?: Uint8Array;
  hash?: HashProvider;
  /** Replaces the measurement, for example by one that hashes in another thread. */
  hashing?: HashingPort;
  /** Replaces the cipher of evicted pages, for example by one that costs less a page. */
  gcm?: PageGcmFactory;
  /** Receives one event for every leaf and call. */
  log?: TraceSink;
}

/** Figures of a monitor. */
export interface MonitorStats {
  isolation: Isolation;
  epc: { frames: number; used: number; deposited: number };
  calls: number;
  /** What processor and operating system refused: how often, and the latest. */
  failures: { count: number; recent: string[] };
  leaves: Record<string, LeafCount>;
  enclaves: EnclaveStats[];
}

/** VMPL0. A {@link MonitorInvariantError} (or any untyped exception) from a method means: stop the machine. */
export class Monitor {
  readonly state: MonitorState;
  readonly quoting: QuotingEnclave;
  readonly isolation: Isolation;
  readonly #owners = new Map<number, FrameOwner>();
  readonly #vcpuOwner = new Map<number, FrameOwner>();
  readonly #counters = new LeafCounters();
  #log: TraceSink | undefined;

  /** Makes keys and binds the attestation key. Throws MONITOR_CONFIG, MONITOR_QUOTING. */
  constructor(options: MonitorOptions) {
    const hash = options.hashing?.hash ?? options.hash ?? nodeHash;
    const hashing = options.hashing ?? { hash, measurement: () => new EnclaveMeasurement(hash) };
    const sealSecret = options.channel.deriveKey();
    const keys = KeyHierarchy.fromSealSecret(sealSecret, options.ownerEpoch);
    wipe(sealSecret);
    const platform: Platform = { ...DEFAULT_PLATFORM, ...options.platform };
    if (platform.cpuSvn.length !== 16) throw new MonitorError('MONITOR_CONFIG', 'CPUSVN has 16 bytes');
    this.isolation = options.isolation;
    this.state = newState({
      platform,
      machine: options.machine,
      processor: options.processor,
      hashing,
      keys,
      pageCipher: new PageCipher(systemEntropy, options.gcm),
    });
    this.quoting = new QuotingEnclave(hash, options.channel, chainOf(options));
    this.#log = options.log;
  }

  /** Sets or removes the trace hook. */
  set log(sink: TraceSink | undefined) {
    this.#log = sink;
  }

  /**
   * Lets connection `owner` use virtual CPU `vcpu` and the EPC frames [first, first+count). Further virtual CPUs
   * of the same owner are attached with the same frames. Throws MONITOR_ATTACH.
   */
  attach(owner: number, vcpu: number, epcFrames: { first: number; count: number }): void {
    const { first, count } = epcFrames;
    const known = this.#owners.get(owner);
    if (this.#vcpuOwner.has(vcpu))
      throw new MonitorError('MONITOR_ATTACH', `vCPU ${vcpu} is attached already`);
    if (known !== undefined) {
      if (known.first !== first || known.count !== count)
        throw new MonitorError('MONITOR_ATTACH', `connection ${owner} has other EPC frames already`);
      this.#vcpuOwner.set(vcpu, known);
      return;
    }
    const inside = Number.isInteger(first) && Number.isInteger(count) && first >= 0 && count >= 0;
    if (!inside || first + count > this.state.frames.regular)
      throw new MonitorError('MONITOR_ATTACH', `EPC frames ${first}+${count} do not exist`);
    for (const other of this.#owners.values()) {
      if (first < other.first + other.count && other.first < first + count)
        throw new MonitorError(
          'MONITOR_ATTACH',
          `EPC frames ${first}+${count} belong to connection ${other.id}`,
        );
    }
    const record: FrameOwner = Object.freeze({ id: owner, first, count });
    this.#owners.set(owner, record);
    this.#vcpuOwner.set(vcpu, record);
  }

  /** Takes a virtual CPU away from its connection. */
  detachVcpu(vcpu: number): void {
    this.#vcpuOwner.delete(vcpu);
  }

  /** The connection is gone: its enclaves stop, all its EPC is removed and scrubbed, deposited RAM goes back. */
  detach(owner: number): void {
    const record = this.#owners.get(owner);
    if (record === undefined) return;
    const { state } = this;
    for (const enclave of [...state.enclaves.values()])
      if (enclave.owner === owner) removeWhole(state, enclave);
    for (const evicted of [...state.evictedEnclaves.values()])
      if (evicted.enclave.owner === owner) destroyEvicted(state, evicted);
    for (const frame of state.frames.depositsOf(owner)) {
      removeVersionArray(state, frame);
      const gpa = state.frames.withdraw(frame);
      // A page that the hypervisor took meanwhile cannot be given back; nobody has it then.
      available(() => state.machine.withdraw(gpa, 4096));
    }
    for (let frame = record.first; frame < record.first + record.count; frame++) {
      if (state.epcm.valid(frame)) removeVersionArray(state, frame);
    }
    for (const [vcpu, its] of this.#vcpuOwner) if (its === record) this.#vcpuOwner.delete(vcpu);
    this.#owners.delete(owner);
  }

  /** Serves the pending exit of a virtual CPU; true when there was one. */
  serveVcpu(index: number): boolean {
    const { machine } = this.state;
    const vcpu: VcpuPort | undefined = machine.vcpus.get(index);
    if (vcpu === undefined || !vcpu.pending()) return false;
    const ring = vcpu.accept();
    const exit = machine.vmgexit(vcpu);
    if (exit.kind === 'call') {
      const owner = this.#vcpuOwner.get(index);
      const context = { s: this.state, owner: owner!, vcpu, call: exit.call, quoting: this.quoting };
      const served = owner === undefined ? null : dispatch(context, this.#log);
      if (served !== null) {
        const leaf = served.outcome === null ? null : served.name;
        this.#counters.call(leaf, served.outcome);
        served.enclave?.leaves.call(leaf, served.outcome);
      }
      // The guest gave its own GHCB page away during the call, or there is no memory: there is nobody to answer.
      available(() => machine.answer(vcpu, served?.answer ?? failure(SVSM.INVALID_REQUEST)));
    }
    vcpu.complete(ring);
    return true;
  }

  /**
   * The socket over which connection `owner` grants descriptors to its running enclave with SECS page `secs`; null where
   * it has none, or has taken it.
   */
  takeGrants(owner: number, secs: number): number | null {
    const record = this.#owners.get(owner);
    if (record === undefined) return null;
    return enclaveAt({ s: this.state, owner: record }, secs)?.running?.takeGrants?.() ?? null;
  }

  /** Serves leaf requests of enclave threads and notices lost enclaves; true when there was anything. */
  serveRunners(): boolean {
    let served = false;
    for (const enclave of this.state.enclaves.values()) {
      const { running } = enclave;
      if (running === null) continue;
      if (running.lost !== null) {
        loseEnclave(enclave, running.lost, LOST_REASON.RUNNER);
        served = true;
        continue;
      }
      for (const request of running.pendingLeaves()) {
        served = true;
        const result = attempt(() => this.#runnerLeaf(enclave, request), this.state.failures);
        if (result === null) {
          loseEnclave(enclave, 'its memory cannot be touched', LOST_REASON.RUNNER);
          break;
        }
        running.answerLeaf(request.thread, result);
      }
    }
    return served;
  }

  #runnerLeaf(enclave: EnclaveRecord, request: Parameters<typeof executeRunnerLeaf>[2]) {
    return executeRunnerLeaf(this.state, enclave, request, this.#log, (name, outcome: LeafOutcome | null) => {
      this.#counters.leaf(name, outcome);
      enclave.leaves.leaf(name, outcome);
    });
  }

  /** The runner of an enclave ended: the enclave is lost, its pages stay until they are removed. */
  runnerLost(enclaveId: number, why: string): void {
    for (const enclave of allEnclaves(this.state)) {
      if (enclave.id === enclaveId) loseEnclave(enclave, why, LOST_REASON.RUNNER);
    }
  }

  /** Throws MonitorInvariantError when EPCM, enclaves and owners do not fit together. */
  checkInvariants(): void {
    checkInvariants(this.state, this.#owners.values());
  }

  /** Figures of now. */
  stats(): MonitorStats {
    const { frames, epcm } = this.state;
    return {
      isolation: this.isolation,
      epc: { frames: frames.regular, used: epcm.validCount, deposited: frames.depositedCount },
      calls: this.#counters.calls,
      failures: { count: this.state.failures.count, recent: this.state.failures.recent() },
      leaves: this.#counters.snapshot(),
      enclaves: allEnclaves(this.state).map(enclaveStats),
    };
  }

  /** Stops every enclave and scrubs all EPC. */
  close(): void {
    for (const owner of [...this.#owners.keys()]) this.detach(owner);
  }
}

function chainOf(options: MonitorOptions): readonly Uint8Array[] {
  if (options.certificates !== undefined) return options.certificates;
  const chain = options.machine.psp?.certificates();
  if (chain === undefined)
    throw new MonitorError('MONITOR_CONFIG', 'there are no certificates for SNP reports');
  return [chain.vcek, chain.ask, chain.ark];
}
