import { type NativeEnclave, NativeProcessor } from '@nestedsgx/cpu/monitor';
import {
  DOORBELL_ASLEEP,
  DOORBELL_GPA,
  DOORBELL_WAKE,
  EPC_GPA,
  type Machine,
  PAGE_SIZE,
  RELAY_GPA,
  RELAY_IRQ_WORD,
  SLICES_GPA,
} from '@nestedsgx/machine';
import {
  DEFAULT_PLATFORM,
  Monitor,
  type MonitorStats,
  nodeGcm,
  ThreadedHashing,
  type TraceSink,
} from '@nestedsgx/monitor';
import * as os from '@nestedsgx/os';
import type { CvmConfiguration } from './configuration.js';
import { type GuestShare, Resources } from './control/resources.js';
import { type ControlBackend, ControlServer } from './control/server.js';
import { HashPlacement } from './hash-placement.js';
import { guestMessages, launchMachine } from './launch.js';
import { LAUNCH_FDS, type MeasuredLaunch } from './parts.js';

const WAIT_MICROSECONDS = 50_000;
/** The same while a tracer has no room for its records. */
const TRACING_WAIT_MICROSECONDS = 2_000;
/** What sleeping and being woken from another CPU costs in a virtual machine: longer spins never pay. */
const MAX_SPIN_CYCLES = 200_000;
const RUNNER_CHECK_MS = 50;
/** Tokens of the pump: the listening socket, then the control server's from 1 on, then the runners'. */
const LISTENER_TOKEN = 0;
const FIRST_RUNNER_TOKEN = 0x8000_0000;

const turn = () => new Promise<void>((done) => setImmediate(done));

/**
 * One confidential VM: the machine, the monitor at VMPL0 and the doors to both. The monitor runs synchronously in this
 * thread; sockets and process ends reach it through the event pump, which rings the same doorbell as the guests.
 */
export class ConfidentialVm implements ControlBackend {
  readonly isolation: CvmConfiguration['isolation'];
  readonly resources: Resources;
  readonly ram: ControlBackend['ram'];
  readonly selfPidfd = os.pidfdOpen(process.pid);
  private readonly monitor: Monitor;
  private readonly processor: NativeProcessor;
  private readonly pump: os.EventPump;
  private readonly placement = new HashPlacement();
  /** With a second CPU, large enclaves are hashed beside the copying of their pages. */
  private readonly hashing = os.usableCpus().length > 1 ? new ThreadedHashing(this.placement) : undefined;
  private readonly server: ControlServer;
  private readonly waiter: os.AdaptiveWaiter;
  private readonly vcpus = new Set<number>();
  private readonly runners = new Map<number, NativeEnclave>();
  private nextRunnerToken = FIRST_RUNNER_TOKEN;
  private readonly wake: Int32Array;
  private readonly started = Date.now();
  private stopping = false;

  private constructor(
    private readonly configuration: CvmConfiguration,
    private readonly machine: Machine,
    private readonly launched: MeasuredLaunch,
  ) {
    const { memory, window } = machine;
    const doorbell = window.gpa + DOORBELL_GPA;
    this.isolation = configuration.isolation;
    this.resources = new Resources(window, machine.epcBytes, configuration.lifetime);
    this.ram = { base: memory.base, size: memory.ramBytes, doorbell, fd: memory.ramFd };
    this.wake = memory.words.subarray((doorbell + DOORBELL_WAKE) / 4, (doorbell + DOORBELL_WAKE) / 4 + 1);
    const wakeAddress = memory.base + doorbell + DOORBELL_WAKE;
    const asleepAddress = memory.base + doorbell + DOORBELL_ASLEEP;
    this.pump = new os.EventPump(wakeAddress, asleepAddress);
    this.waiter = new os.AdaptiveWaiter(wakeAddress, asleepAddress, {
      maxSpinCycles: os.usableCpus().length > 1 ? MAX_SPIN_CYCLES : 0,
    });
    this.processor = new NativeProcessor({
      ramFd: memory.ramFd,
      ramBase: memory.base,
      ramBytes: memory.ramBytes,
      doorbell: wakeAddress,
      vm: window.relayed ? { wakeWord: memory.base + window.gpa + RELAY_GPA + RELAY_IRQ_WORD } : undefined,
      runnerFd: LAUNCH_FDS.runner,
      patch: configuration.patch,
      spare: 'later',
      onStarted: (enclave) => this.watch(enclave),
      onEnded: (enclave) => this.unwatch(enclave),
    });
    this.monitor = new Monitor({
      machine,
      processor: this.processor,
      channel: guestMessages(machine),
      hashing: this.hashing,
      gcm: (key) => os.PageGcm.create(key) ?? nodeGcm(key),
      isolation: configuration.isolation,
      platform: {
        depositBase: window.gpa + SLICES_GPA,
        hostDescriptors: configuration.hostDescriptors && !window.relayed,
        xfrmMask: DEFAULT_PLATFORM.xfrmMask & this.processor.facts().xcr0,
        launchSigners:
          configuration.launchSigners.length === 0
            ? null
            : configuration.launchSigners.map((signer) => new Uint8Array(Buffer.from(signer, 'hex'))),
      },
    });
    this.server = new ControlServer(this.pump, this, configuration.lifetime);
  }

  /**
   * Launches the machine from the descriptors the launcher handed over: measures the parts, makes the keys, opens the
   * doors and tells the launcher that it is ready.
   */
  static async launch(configuration: CvmConfiguration): Promise<ConfidentialVm> {
    const { machine, launched } = await launchMachine(configuration);
    const vm = new ConfidentialVm(configuration, machine, launched);
    const launcher = vm.server.adopt(LAUNCH_FDS.control, true);
    if (configuration.tracer) vm.server.adoptTracer(LAUNCH_FDS.tracer);
    if (configuration.lifetime === 'service') {
      os.refuseDescriptors(LAUNCH_FDS.listener);
      vm.pump.add(LAUNCH_FDS.listener, LISTENER_TOKEN, 'listen');
    }
    vm.server.announce(launcher, { op: 'ready', ...vm.info() });
    return vm;
  }

  /** Serves until told to stop, or until the launcher is gone and the machine was to end with it. */
  async run(): Promise<void> {
    let checked = 0;
    while (!this.stopping) {
      // Ended runners announce themselves; those that somebody stopped must be looked for.
      const now = performance.now();
      if (now - checked > RUNNER_CHECK_MS) {
        checked = now;
        this.processor.checkRunners();
        // Node frees memory that native code lent to it in turns of its event loop only, of which this loop has none.
        await turn();
      }
      const seen = Atomics.load(this.wake, 0) >>> 0;
      const served = this.serveOnce();
      const waiting = this.server.flushTraces(served ? 'busy' : 'idle');
      if (served) continue;
      if (!this.placement.isApart) this.processor.prepareSpare();
      this.waiter.wait(seen, waiting ? TRACING_WAIT_MICROSECONDS : WAIT_MICROSECONDS);
    }
    this.server.flushTraces('end');
    this.close();
  }

  /** One round over everything that can ask: sockets, vCPUs, enclaves; each gets one turn. True if anything was done. */
  private serveOnce(): boolean {
    let served = false;
    for (const event of this.pump.drain()) {
      served = true;
      if (event.token === LISTENER_TOKEN) {
        for (const fd of event.fds) this.server.accepted(fd);
      } else if (!this.server.handle(event)) this.runners.get(event.token)?.markLost();
    }
    for (const vcpu of this.vcpus) if (this.monitor.serveVcpu(vcpu)) served = true;
    if (this.monitor.serveRunners()) served = true;
    return served;
  }

  attach(owner: number, share: GuestShare): void {
    for (const vcpu of share.vcpus) this.addVcpu(owner, vcpu, share);
  }

  addVcpu(owner: number, vcpu: number, share: GuestShare): void {
    this.machine.vcpus.add(vcpu);
    this.vcpus.add(vcpu);
    this.monitor.attach(owner, vcpu, {
      first: (share.epc.start - EPC_GPA) / PAGE_SIZE,
      count: share.epc.length / PAGE_SIZE,
    });
  }

  detach(owner: number, share: GuestShare): void {
    this.monitor.detach(owner);
    for (const vcpu of share.vcpus) {
      this.vcpus.delete(vcpu);
      this.machine.vcpus.remove(vcpu);
    }
    // What the host left in its slice, and made of it, is nobody's any more. Another host's EPC stays that host's.
    const { frames } = this.monitor.state;
    this.machine.reclaim(share.slice.start, share.slice.length, (gpa) => frames.isEpc(gpa));
  }

  takeGrants(owner: number, secs: number): number | null {
    return this.monitor.takeGrants(owner, secs);
  }

  /** Notices the end of an enclave's runner, so that its hosts are told at once. */
  private watch(enclave: NativeEnclave): void {
    const token = this.nextRunnerToken++;
    this.pump.add(enclave.pidfd, token, 'pidfd');
    this.runners.set(token, enclave);
  }

  private unwatch(enclave: NativeEnclave): void {
    for (const [token, other] of this.runners)
      if (other === enclave) {
        this.runners.delete(token);
        this.pump.remove(token);
      }
  }

  info(): Record<string, unknown> {
    return {
      pid: process.pid,
      launchDigest: this.launched.launchDigest,
      rootFingerprint: this.launched.rootFingerprint,
      isolation: this.configuration.isolation,
      launchSigners: this.configuration.launchSigners,
      components: this.launched.components,
      ramBytes: this.machine.memory.ramBytes,
      epcBytes: this.machine.epcBytes,
      lifetime: this.configuration.lifetime,
      uptimeMs: Date.now() - this.started,
      guests: this.server.guests,
    };
  }

  processes(): { owner: number }[] {
    return this.monitor
      .stats()
      .enclaves.map(({ transitions: _, paging: __, leaves: ___, ...enclave }) => enclave);
  }

  stats(): MonitorStats {
    return this.monitor.stats();
  }

  setTrace(sink: TraceSink | undefined): void {
    this.monitor.log = sink;
  }

  requestStop(): void {
    this.stopping = true;
  }

  private close(): void {
    this.monitor.close();
    this.hashing?.close();
    this.processor.close();
    this.pump.close();
    this.machine.close();
  }
}
