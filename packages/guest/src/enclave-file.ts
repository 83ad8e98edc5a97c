/**
 * One open `/dev/sgx_enclave`: the ioctls of Linux's SGX driver with its checks, order and errno values
 * (arch/x86/kernel/cpu/sgx/ioctl.c of Linux 6.x as documentation), translated to SVSM calls.
 */
import { ATTRIBUTES_DEBUG, ENCLS, GATES_DESCRIPTORS, PT_TCS, SECS, SGX_ERROR } from '@nestedsgx/arch';
import { close } from '@nestedsgx/os';
import { type AddPages, checkAddPages, checkRange, SGX_PAGE_MEASURE } from './add-pages.js';
import type { SgxDevice } from './device.js';
import { UNPRIVILEGED_ATTRIBUTES } from './device.js';
import {
  type ModifyTypes,
  modifyTypes,
  type RemovePages,
  type RestrictPermissions,
  removePages,
  restrictPermissions,
} from './edmm.js';
import { type ErrnoName, guestError, SgxIoctlError } from './errors.js';
import { leafFailure } from './leaf-failure.js';
import type { GuestBlock } from './memory.js';
import { removeFrames, removeRuns, takeAway } from './page-removal.js';
import { EnclavePageTable } from './page-table.js';
import { evictPages } from './paging/evict.js';
import { FaultHandler } from './paging/fault.js';
import { VersionArrays } from './paging/version-arrays.js';
import { addRange, type RangeSource } from './range-add.js';
import { encls, type LeafOutcome, leafOutcome, SGX_CALL, sgxCall, svsmRefused } from './svsm.js';
import { EnclaveThreads } from './threads.js';
import { SVSM_RESULT } from './vcpu.js';

const PAGE = 4096;
const SIGSTRUCT_SIZE = 1808;
const TOKEN_SIZE = 304;
const VENDOR_INTEL = 0x8086;

/** Why the monitor says that an enclave is no more, from ENCLAVE_STATUS. */
export interface EnclaveStatus {
  state: 'uninitialised' | 'running' | 'lost';
  reason: number;
}

/** The driver's view of one enclave, from `create` to `close`. */
export class SgxEnclaveFile {
  readonly device: SgxDevice;
  readonly pages = new EnclavePageTable();
  readonly threads: EnclaveThreads;
  /** Version slots of evicted pages; the backing store knows which of them is whose. */
  readonly versions = new VersionArrays();
  /** Offsets of pages that are perhaps blocked though they were not written back. */
  readonly blocked = new Set<number>();
  /** Answers faults of the enclave's threads. */
  readonly faults: FaultHandler;
  readonly #onClose: () => void;
  #reserved: number | null = null;
  #secsFrame = 0;
  #base = 0;
  #size = 0;
  #ssaFrameBytes = PAGE;
  #attributes = 0n;
  #allowed = UNPRIVILEGED_ATTRIBUTES;
  #provision = false;
  #initialised = false;
  #gone = false;
  #closed = false;
  #stopped: Error | null = null;

  constructor(device: SgxDevice, onClose: () => void) {
    this.device = device;
    this.#onClose = onClose;
    this.threads = new EnclaveThreads(device.connection.vcpu);
    this.faults = new FaultHandler(this, device.edmm);
  }

  /** BASEADDR; 0 before `create`. */
  get base(): number {
    return this.#base;
  }

  /** Size of the ELRANGE in bytes; 0 before `create`. */
  get size(): number {
    return this.#size;
  }

  /** Bytes of one SSA frame. */
  get ssaFrameBytes(): number {
    return this.#ssaFrameBytes;
  }

  /** Guest-physical address of the SECS page: the enclave's name in SVSM calls. */
  get secs(): number {
    return this.#secsFrame;
  }

  /**
   * True once the monitor has removed the enclave. One that lies about its threads may stay until its guest detaches; until
   * then it may write its gate pages, so they must not become another enclave's.
   */
  get gone(): boolean {
    return this.#gone;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get initialised(): boolean {
    return this.#initialised;
  }

  /** Whether pages may be added, changed and removed after `init`. */
  get edmm(): boolean {
    return this.device.edmm;
  }

  /** Why no thread may enter any more (EPC_PAGE_DAMAGED), or null. */
  get stopped(): Error | null {
    return this.#stopped;
  }

  /**
   * Chooses a linear address range for this file's enclave, as mmap of the device does: aligned to `size`.
   * @throws ELRANGE_EXHAUSTED
   */
  reserve(size: number, at?: number): number {
    if (this.#reserved !== null) this.device.ranges.release(this.#reserved);
    this.#reserved = this.device.ranges.reserve(size, at);
    return this.#reserved;
  }

  /**
   * SGX_IOC_ENCLAVE_CREATE with a 4096-byte SECS.
   * @throws SgxIoctlError EINVAL (created before, SECS of a wrong length), ENOMEM (no EPC), EIO (ECREATE refused)
   */
  create(secs: Uint8Array): void {
    if (this.#closed || this.#secsFrame !== 0) throw fail('EINVAL', 'the enclave has been created before');
    if (secs.length !== SECS.size) throw fail('EINVAL', `a SECS has 4096 bytes, not ${secs.length}`);
    const copy = secs.slice();
    const fields = SECS.decode(copy);
    const { supply, staging } = this.device;
    const frame = this.#frame();
    const { operands } = staging;
    operands.bytes.fill(0, 0, 128);
    operands.bytes.set(copy, PAGE);
    this.#pageinfo(0, operands.gpa + PAGE, 0);
    const outcome = this.#leaf(ENCLS.ECREATE, 'ECREATE', operands.gpa, frame, 0, () => supply.give(frame, 1));
    if (outcome.fault !== undefined || outcome.code !== 0) {
      supply.give(frame, 1);
      throw this.leafFailed('EIO', 'ECREATE refused the SECS', outcome);
    }
    this.#secsFrame = frame;
    this.#base = Number(fields.BASEADDR);
    this.#size = Number(fields.SIZE);
    this.#ssaFrameBytes = Math.max(1, fields.SSAFRAMESIZE) * PAGE;
    this.#attributes = fields.ATTRIBUTES.FLAGS;
  }

  /**
   * SGX_IOC_ENCLAVE_ADD_PAGES: EADD, and EEXTEND with SGX_PAGE_MEASURE, for every page of the range. Returns the bytes
   * added; when it throws, the error's `count` says how many had been added before. Where no EPC page is free, pages of
   * this or other enclaves are written back first.
   * @throws SgxIoctlError EINVAL (state, alignment, range, SECINFO, flags), EBUSY (page present), ENOMEM, EIO, EFAULT
   */
  addPages(args: AddPages): number {
    if (this.#closed || this.#secsFrame === 0 || this.#initialised)
      throw fail('EINVAL', 'pages can be added only between create and init');
    checkAddPages(args, this.#size);
    const flags = new DataView(args.secinfo.buffer, args.secinfo.byteOffset, 64).getUint32(0, true);
    const source: RangeSource = args.src instanceof Uint8Array ? { bytes: args.src } : { block: args.src };
    const count = addRange(this, {
      source,
      offset: args.offset,
      length: args.length,
      secinfoFlags: flags,
      measure: (args.flags & SGX_PAGE_MEASURE) !== 0,
    });
    if (flags >>> 8 === PT_TCS) {
      const bytes = args.src instanceof Uint8Array ? args.src : args.src.bytes;
      for (let at = 0; at < count; at += PAGE)
        this.threads.added(args.offset + at, bytes.slice(at, at + PAGE), this.#ssaFrameBytes);
    }
    return count;
  }

  /**
   * SGX_IOC_ENCLAVE_INIT with the 1808 bytes of a SIGSTRUCT (and, for EINIT of launch-controlled machines, a token).
   * @throws SgxIoctlError EINVAL (state, vendor), EACCES (privileged attribute not granted), EPERM (EINIT returned a code,
   *   see `sgxCode`), EIO (EINIT faulted)
   */
  init(sigstruct: Uint8Array, token?: Uint8Array): void {
    if (this.#closed || this.#secsFrame === 0 || this.#initialised)
      throw fail('EINVAL', 'the enclave is not in the state between create and init');
    if (sigstruct.length !== SIGSTRUCT_SIZE)
      throw fail('EINVAL', `a SIGSTRUCT has ${SIGSTRUCT_SIZE} bytes, not ${sigstruct.length}`);
    if (token !== undefined && token.length !== TOKEN_SIZE)
      throw fail('EINVAL', `an EINITTOKEN has ${TOKEN_SIZE} bytes, not ${token.length}`);
    const vendor = new DataView(sigstruct.buffer, sigstruct.byteOffset).getUint32(16, true);
    if (vendor !== 0 && vendor !== VENDOR_INTEL)
      throw fail('EINVAL', `SIGSTRUCT.VENDOR is 0x${vendor.toString(16)}, neither 0 nor Intel's`);
    if ((this.#attributes & ~this.#allowed) !== 0n)
      throw fail('EACCES', 'the SECS has attributes that were not granted', {
        advice: 'open the provisioning device first (provision)',
      });
    const { operands } = this.device.staging;
    operands.bytes.set(sigstruct, PAGE);
    operands.bytes.fill(0, 2 * PAGE, 2 * PAGE + TOKEN_SIZE);
    if (token !== undefined) operands.bytes.set(token, 2 * PAGE);
    const at = operands.gpa;
    for (let attempt = 0; ; attempt++) {
      const outcome = this.#leaf(ENCLS.EINIT, 'EINIT', at + PAGE, this.#secsFrame, at + 2 * PAGE);
      if (outcome.fault !== undefined) throw this.leafFailed('EIO', 'EINIT faulted', outcome);
      if (outcome.code === 0) break;
      if (outcome.code === SGX_ERROR.SGX_UNMASKED_EVENT && attempt < 50) continue;
      throw this.leafFailed('EPERM', 'EINIT refused the enclave', outcome);
    }
    this.#initialised = true;
  }

  /** SGX_IOC_ENCLAVE_PROVISION: lets the enclave have PROVISIONKEY. @throws SgxIoctlError EINVAL, EACCES */
  provision(): void {
    if (this.#closed || this.#initialised) throw fail('EINVAL', 'the enclave is initialised or closed');
    this.#provision = true;
    this.#allowed |= 1n << 4n;
    if (this.#secsFrame !== 0) this.authorizeProvision();
  }

  /** Tells the monitor that PROVISIONKEY was granted; called by `provision` and after `create`. */
  authorizeProvision(): void {
    if (!this.#provision || this.#secsFrame === 0) return;
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.AUTHORIZE_PROVISION, this.#secsFrame);
    if (result.rax !== 0) throw fail('EACCES', 'the monitor does not grant the provisioning key');
  }

  /**
   * SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: EMODPR and ETRACK; the enclave must EACCEPT afterwards. Writes `result` and
   * `count` into `args` and returns the bytes done.
   * @throws SgxIoctlError (with `count`, `sgxCode`) ENODEV (no dynamic memory), EINVAL (state, range, permissions,
   *   outputs not 0, page not regular), EFAULT (no such page, EMODPR or ETRACK failed); EPC_PAGE_DAMAGED
   */
  restrictPermissions(args: RestrictPermissions): number {
    return restrictPermissions(this, args);
  }

  /**
   * SGX_IOC_ENCLAVE_MODIFY_TYPES: EMODT to PT_TCS or PT_TRIM and ETRACK; the enclave must EACCEPT afterwards. Results as
   * for `restrictPermissions`.
   * @throws SgxIoctlError ENODEV, EINVAL (state, range, type, outputs not 0, page of another type), EPERM (a TCS from a
   *   page that is not readable and writable), EFAULT; EPC_PAGE_DAMAGED
   */
  modifyTypes(args: ModifyTypes): number {
    return modifyTypes(this, args);
  }

  /**
   * SGX_IOC_ENCLAVE_REMOVE_PAGES: EREMOVE of trimmed pages that the enclave has accepted.
   * @throws SgxIoctlError ENODEV, EINVAL (state, range, count not 0), EFAULT (no such page), EPERM (not trimmed, or not
   *   accepted); EPC_PAGE_DAMAGED
   */
  removePages(args: RemovePages): number {
    return removePages(this, args);
  }

  /**
   * Adds absent pages of the range before the enclave touches them, as far as EPC is free (MAP_POPULATE): it finds them
   * pending, as after a page fault. Returns how many.
   * @throws SgxIoctlError ENODEV (no dynamic memory), EINVAL (state, range)
   */
  populate(offset: number, length: number): number {
    if (!this.edmm) throw fail('ENODEV', 'dynamic memory is switched off for this device');
    if (this.#closed || !this.#initialised) throw fail('EINVAL', 'the enclave is not initialised');
    checkRange(offset, length, this.#size);
    return this.faults.addAbsent(offset, length);
  }

  /**
   * EREMOVE of pages while no thread is inside, whatever their type; pages that are not there are passed over. Linux
   * has no such call: its loaders leave such pages without access. Returns the bytes removed.
   * @throws SgxIoctlError EINVAL (state, range), EBUSY (a thread is inside)
   */
  takeAway(offset: number, length: number): number {
    if (this.#closed || !this.#initialised) throw fail('EINVAL', 'the enclave is not initialised');
    checkRange(offset, length, this.#size);
    if (this.threads.insideCount > 0) throw fail('EBUSY', 'a thread of the enclave is inside');
    return takeAway(this, offset, length);
  }

  /**
   * Gives the enclave its gate pages, before `init`: one per TCS in page order, and more for threads that come later.
   * @param gates page-aligned block of guest RAM with `count` pages
   * @param descriptors the enclave shall be able to use descriptors that this host grants: see {@link takeGrants}
   * @throws HOST_DESCRIPTORS_REFUSED where the machine does not allow that; SVSM_REFUSED, CVM_LOST
   */
  bindGates(gates: GuestBlock, count: number, descriptors = false): void {
    const { vcpu } = this.device.connection;
    const flags = descriptors ? GATES_DESCRIPTORS : 0;
    const result = sgxCall(vcpu, SGX_CALL.BIND_GATES, this.#secsFrame, gates.gpa, count, undefined, flags);
    if (descriptors && result.rax === SVSM_RESULT.INVALID_REQUEST)
      throw guestError(
        'HOST_DESCRIPTORS_REFUSED',
        'this confidential VM lets no enclave use descriptors of its host',
        'load the enclave without hostDescriptors, or launch the machine with hostDescriptors: true',
      );
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the gate pages');
    const outcome = leafOutcome(result, 'the gate pages');
    if (outcome.code !== 0) throw svsmRefused(outcome.code, 'the gate pages');
    this.threads.bind(gates, count);
  }

  /**
   * The socket over which descriptors are granted to this running enclave (bound with `descriptors`), once. The caller's.
   * @throws GUEST_REFUSED when there is none; GUEST_PROTOCOL, CVM_LOST
   */
  async takeGrants(): Promise<number> {
    const { fds } = await this.device.connection.control.request({ op: 'grants', secs: this.#secsFrame });
    const [fd, ...others] = fds;
    for (const other of others) close(other);
    if (fd === undefined) throw guestError('GUEST_PROTOCOL', 'the reply to `grants` carries no descriptor');
    return fd;
  }

  /** Gate of the TCS at an offset from BASEADDR; null when it has none. @throws SVSM_REFUSED, CVM_LOST */
  threadSlot(tcs: number): number | null {
    const { vcpu } = this.device.connection;
    const result = sgxCall(vcpu, SGX_CALL.ENCLAVE_STATUS, this.#secsFrame, this.#base + tcs);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the status query');
    return result.r8 === 0 ? null : result.r8 - 1;
  }

  /**
   * Writes pages of the EPC back now, before anybody needs their frames. Returns how many were.
   * @throws SgxIoctlError EINVAL (range); GUEST_MEMORY_EXHAUSTED, EPC_EXHAUSTED, CVM_LOST
   */
  pageOut(offset: number, length: number): number {
    checkRange(offset, length, this.#size);
    const offsets: number[] = [];
    for (let at = offset; at < offset + length; at += PAGE) {
      const gpa = this.pages.frame(at);
      if (gpa === 0) continue;
      this.device.supply.list?.remove(gpa);
      offsets.push(at);
    }
    return evictPages(this, offsets);
  }

  /** What the monitor says about the enclave. @throws SVSM_REFUSED, CVM_LOST */
  status(): EnclaveStatus {
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.ENCLAVE_STATUS, this.#secsFrame);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the status query');
    const state = result.rcx === 2 ? 'lost' : result.rcx === 1 ? 'running' : 'uninitialised';
    return { state, reason: result.rdx };
  }

  /** Asks for an asynchronous exit of the thread behind gate `index` (stands for the kernel's IPI). */
  kick(index: number): void {
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.KICK, this.#secsFrame, index);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the kick');
  }

  /** Lets no thread enter any more, for the given reason, and makes those inside leave. */
  stop(why: Error): void {
    if (this.#stopped !== null) return;
    this.#stopped = why;
    this.threads.kickOut(this.#secsFrame);
  }

  /** Removes every page and the SECS and gives frames and linear range back. Harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    if (this.#reserved !== null) this.device.ranges.release(this.#reserved);
    if (this.#secsFrame === 0) {
      this.#gone = true;
      return;
    }
    const { supply } = this.device;
    supply.settle();
    const frames: number[] = [];
    this.pages.forEach((_, where) => {
      if (where > 0) frames.push(where);
      else supply.store.give(-1 - where);
    });
    for (const gpa of [...frames, ...this.versions.frames]) supply.list?.remove(gpa);
    for (const run of [...removeRuns(this, frames), ...removeRuns(this, this.versions.frames)])
      supply.give(run.gpa, run.count);
    this.pages.clear();
    this.versions.clear();
    supply.forget(this);
    this.#gone = removeFrames(this, this.#secsFrame, 1);
    if (this.#gone) supply.give(this.#secsFrame, 1);
    this.#secsFrame = 0;
    this.threads.close();
  }

  /**
   * Gives `count` frames back, of which the first `inUse` may hold a page of the enclave and are removed before. Frames
   * that the monitor does not release stay taken.
   */
  discard(gpa: number, count: number, inUse: number): void {
    const { supply } = this.device;
    if (inUse > 0 && removeFrames(this, gpa, inUse)) supply.give(gpa, inUse);
    if (count > inUse) supply.give(gpa + inUse * PAGE, count - inUse);
  }

  /** Makes the error for a failed leaf of this file. */
  leafFailed(errno: ErrnoName, message: string, outcome: LeafOutcome): SgxIoctlError {
    return leafFailure(errno, message, outcome, (this.#attributes & ATTRIBUTES_DEBUG) !== 0n);
  }

  #frame(): number {
    try {
      return this.device.supply.takeFrame();
    } catch (cause) {
      throw fail('ENOMEM', 'no EPC page is free', { cause });
    }
  }

  #pageinfo(linaddr: number, src: number, secs: number): void {
    const { operands } = this.device.staging;
    const view = new DataView(operands.bytes.buffer, operands.bytes.byteOffset, 128);
    view.setBigUint64(0, BigInt(linaddr), true);
    view.setBigUint64(8, BigInt(src), true);
    view.setBigUint64(16, BigInt(operands.gpa + 64), true);
    view.setBigUint64(24, BigInt(secs), true);
  }

  #leaf(leaf: number, what: string, rbx: number, rcx: number, rdx: number, undo?: () => void): LeafOutcome {
    try {
      return encls(this.device.connection.vcpu, leaf, what, rbx, rcx, rdx);
    } catch (error) {
      undo?.();
      throw error;
    }
  }
}

function fail(
  errno: ErrnoName,
  message: string,
  detail?: ConstructorParameters<typeof SgxIoctlError>[2],
): SgxIoctlError {
  return new SgxIoctlError(errno, message, detail);
}
