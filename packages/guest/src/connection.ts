/** A guest's attachment to a confidential VM: guest RAM, vCPUs, a slice of RAM and a range of EPC frames. */
import {
  close,
  connectUnix,
  fstatSize,
  type Mapping,
  mmap,
  PROT_READ,
  PROT_WRITE,
  usableCpus,
} from '@nestedsgx/os';
import { ControlSocket, integer, object } from './control.js';
import { EpcFrames } from './epc-frames.js';
import { guestError } from './errors.js';
import { GuestMemory } from './memory.js';
import { cvmEnded, Vcpu } from './vcpu.js';

const PAGE = 4096;
/** What sleeping and being woken from another CPU costs in a virtual machine: longer spins never pay. */
const MAX_SPIN_CYCLES = 200_000;
const TIB = 2 ** 40;
const MAX_RAM = TIB;
/** Longest view that Node can make of native memory, in whole pages. */
const MAX_VIEW = 2 ** 32 - PAGE;

/** Sizes to ask for, in bytes; 0 leaves the choice to the cvm. */
export interface AttachOptions {
  sliceBytes?: number;
  epcBytes?: number;
  timeoutMs?: number;
}

interface AttachReply {
  ram: { base: number; size: number };
  doorbell: number;
  vcpus: VcpuPlace[];
  slice: { gpa: number; length: number };
  epc: { first: number; count: number };
}

interface VcpuPlace {
  id: number;
  ghcb: number;
  caa: number;
}

/**
 * One attached guest. All its resources end with `close()` (or with the process): the cvm removes its enclaves and
 * takes RAM slice, EPC frames and vCPUs back.
 */
export class GuestConnection {
  readonly control: ControlSocket;
  /** Virtual address of guest-physical address 0. */
  readonly ramBase: number;
  /** Size of guest RAM in bytes. */
  readonly ramSize: number;
  readonly memory: GuestMemory;
  readonly epc: EpcFrames;
  /** The vCPU that calls of this process use by default. */
  readonly vcpu: Vcpu;
  /** Becomes readable when the cvm ends. Owned by the connection. */
  readonly cvmPidfd: number;
  readonly #mapping: Mapping;
  readonly #doorbell: number;
  readonly #vcpus: Vcpu[] = [];
  readonly #maxSpin: number;
  #closed = false;

  private constructor(control: ControlSocket, reply: AttachReply, mapping: Mapping, cvmPidfd: number) {
    this.control = control;
    this.#mapping = mapping;
    this.ramBase = reply.ram.base;
    this.ramSize = reply.ram.size;
    this.cvmPidfd = cvmPidfd;
    this.#doorbell = reply.doorbell;
    this.#maxSpin = usableCpus().length > 1 ? MAX_SPIN_CYCLES : 0;
    const length = Math.min(reply.slice.length, MAX_VIEW);
    const { gpa } = reply.slice;
    this.memory = new GuestMemory({ base: reply.ram.base, slice: mapping.view(gpa, length), gpa, length });
    this.epc = new EpcFrames(reply.epc.first, reply.epc.count);
    this.vcpu = this.#makeVcpu(reply.vcpus[0]);
  }

  /**
   * Connects to a cvm's socket and attaches.
   * @throws CVM_LOST when nobody listens there, and all that `attach` throws
   */
  static async connect(socketPath: string, options: AttachOptions = {}): Promise<GuestConnection> {
    let fd: number;
    try {
      fd = connectUnix(socketPath);
    } catch (cause) {
      throw guestError(
        'CVM_LOST',
        `no confidential VM answers at ${socketPath}`,
        'start one with: nsgx cvm start',
        cause,
      );
    }
    return GuestConnection.attach(fd, options);
  }

  /**
   * Attaches over a connected socket, of which it takes ownership (a descriptor is closed also when it fails).
   * @throws GUEST_REFUSED, GUEST_PROTOCOL, GUEST_RAM_RANGE_TAKEN, GUEST_TIMEOUT, CVM_LOST
   */
  static async attach(socket: number | ControlSocket, options: AttachOptions = {}): Promise<GuestConnection> {
    const control = typeof socket === 'number' ? new ControlSocket(socket) : socket;
    let fds: number[] = [];
    try {
      const message = await control.request(
        { op: 'attach', slice: options.sliceBytes ?? 0, epc: options.epcBytes ?? 0 },
        options.timeoutMs,
      );
      fds = message.fds;
      if (fds.length !== 2)
        throw guestError('GUEST_PROTOCOL', `the attach reply carries ${fds.length} descriptors instead of 2`);
      const reply = readAttachReply(message.body);
      if (fstatSize(fds[0]) < reply.ram.size)
        throw guestError('GUEST_PROTOCOL', `guest RAM is shorter than the ${reply.ram.size} bytes announced`);
      const mapping = mapRam(fds[0], reply.ram);
      close(fds[0]);
      const pidfd = fds[1];
      fds = [];
      return new GuestConnection(control, reply, mapping, pidfd);
    } catch (error) {
      for (const fd of fds) close(fd);
      if (typeof socket === 'number') control.close();
      throw error;
    }
  }

  /** True once `close` was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** True when the cvm process has ended. */
  get lost(): boolean {
    return this.#closed || cvmEnded(this.cvmPidfd);
  }

  /** One more vCPU, for callers that call from inside another call. */
  async addVcpu(): Promise<Vcpu> {
    const { body } = await this.control.request({ op: 'vcpu' });
    return this.#makeVcpu(readVcpu(object(body.vcpu, 'vcpu'), this.ramSize));
  }

  /**
   * A view of guest RAM at a guest-physical address, for looking at memory outside of this connection's slice.
   * Valid until `close`.
   */
  view(gpa: number, length: number): Uint8Array {
    return this.#mapping.view(gpa, length);
  }

  /**
   * Ends the attachment. Guest RAM is unmapped, unless `keepMapping` says that native threads may still look at gates in
   * it. Harmless when repeated.
   */
  close(options: { keepMapping?: boolean } = {}): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const vcpu of this.#vcpus) vcpu.close('the connection to the confidential VM was closed');
    this.memory.close();
    this.control.close();
    close(this.cvmPidfd);
    if (options.keepMapping !== true) this.#mapping.unmap();
  }

  #makeVcpu(place: VcpuPlace): Vcpu {
    const page = (gpa: number) => this.#mapping.view(gpa, PAGE);
    const vcpu = new Vcpu({
      id: place.id,
      ghcb: page(place.ghcb),
      caa: page(place.caa),
      caaAddress: this.ramBase + place.caa,
      doorbell: page(this.#doorbell),
      doorbellAddress: this.ramBase + this.#doorbell,
      cvmPidfd: this.cvmPidfd,
      maxSpinCycles: this.#maxSpin,
    });
    this.#vcpus.push(vcpu);
    return vcpu;
  }
}

function mapRam(fd: number, ram: { base: number; size: number }): Mapping {
  try {
    return mmap({
      fd,
      length: ram.size,
      address: ram.base,
      prot: PROT_READ | PROT_WRITE,
      shared: true,
      noReplace: true,
    });
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'EEXIST')
      throw guestError(
        'GUEST_RAM_RANGE_TAKEN',
        `addresses 0x${ram.base.toString(16)}+${ram.size} are already in use in this process`,
        'attach once per process to the same confidential VM, or launch another one',
        cause,
      );
    throw guestError('GUEST_PROTOCOL', 'guest RAM cannot be mapped', undefined, cause);
  }
}

/** Checks a vCPU's place. @throws GUEST_PROTOCOL */
export function readVcpu(value: Record<string, unknown>, ramSize: number): VcpuPlace {
  return {
    id: integer(value.id, 'vcpu.id', 0, 65_535),
    ghcb: integer(value.ghcb, 'vcpu.ghcb', PAGE, ramSize - PAGE, PAGE),
    caa: integer(value.caa, 'vcpu.caa', PAGE, ramSize - PAGE, PAGE),
  };
}

/** Checks every field of an attach reply. @throws GUEST_PROTOCOL naming the first bad one */
export function readAttachReply(body: Record<string, unknown>): AttachReply {
  const ramIn = object(body.ram, 'ram');
  const size = integer(ramIn.size, 'ram.size', 2 * PAGE, MAX_RAM, PAGE);
  const base = integer(ramIn.base, 'ram.base', 2 ** 32, 0x7000_0000_0000 - size, PAGE);
  const doorbell = integer(body.doorbell, 'doorbell', PAGE, size - PAGE, PAGE);
  if (!Array.isArray(body.vcpus) || body.vcpus.length < 1 || body.vcpus.length > 256)
    throw guestError('GUEST_PROTOCOL', 'field vcpus of the reply is not a list of 1 to 256 vCPUs');
  const vcpus = body.vcpus.map((vcpu) => readVcpu(object(vcpu, 'vcpus'), size));
  const sliceIn = object(body.slice, 'slice');
  const gpa = integer(sliceIn.gpa, 'slice.gpa', PAGE, size - PAGE, PAGE);
  const length = integer(sliceIn.length, 'slice.length', PAGE, size - gpa, PAGE);
  const epcIn = object(body.epc, 'epc');
  const first = integer(epcIn.first, 'epc.first', size, 2 ** 46, PAGE);
  const count = integer(epcIn.count, 'epc.count', 1, 2 ** 28);
  return { ram: { base, size }, doorbell, vcpus, slice: { gpa, length }, epc: { first, count } };
}
