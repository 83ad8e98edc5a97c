/**
 * One open `/dev/sgx_enclave`: the ioctls of Linux's SGX driver with its checks, order and errno values
 * (arch/x86/kernel/cpu/sgx/ioctl.c of Linux 6.x as documentation), translated to SVSM calls.
 */
import { ATTRIBUTES_DEBUG, ENCLS, PT_REG, PT_TCS, SECS, SGX_ERROR, sgxErrorName } from '@nestedsgx/arch';
import type { SgxDevice } from './device.js';
import { UNPRIVILEGED_ATTRIBUTES } from './device.js';
import { type ErrnoName, SgxIoctlError } from './errors.js';
import type { GuestBlock } from './memory.js';
import { EnclavePageTable } from './page-table.js';
import { addRange, type RangeSource } from './range-add.js';
import { encls, type LeafOutcome, leafOutcome, SGX_CALL, sgxCall, svsmRefused } from './svsm.js';
import { SVSM_RESULT } from './vcpu.js';

const PAGE = 4096;
const SIGSTRUCT_SIZE = 1808;
const TOKEN_SIZE = 304;
const VENDOR_INTEL = 0x8086;
/** Frames that one REMOVE_RANGE takes at most. */
const REMOVE_AT_ONCE = 4096;
/** Attempts, a millisecond apart, to remove pages of an enclave with threads inside. */
const REMOVE_ATTEMPTS = 100;
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** Flag of `addPages`: EEXTEND every 256-byte chunk of the pages. */
export const SGX_PAGE_MEASURE = 1;

/** Argument of `addPages`; `offset` and `length` in bytes, `secinfo` the 64-byte structure. */
export interface AddPages {
  /** Page contents: bytes of this process, or a page-aligned block of guest RAM (then nothing is copied). */
  src: Uint8Array | GuestBlock;
  offset: number;
  length: number;
  secinfo: Uint8Array;
  flags: number;
}

/** Why the monitor says that an enclave is no more, from ENCLAVE_STATUS. */
export interface EnclaveStatus {
  state: 'uninitialised' | 'running' | 'lost';
  reason: number;
}

/** The driver's view of one enclave, from `create` to `close`. */
export class SgxEnclaveFile {
  readonly device: SgxDevice;
  readonly pages = new EnclavePageTable();
  readonly #onClose: () => void;
  #reserved = 0;
  #secsFrame = 0;
  #base = 0;
  #size = 0;
  #attributes = 0n;
  #allowed = UNPRIVILEGED_ATTRIBUTES;
  #provision = false;
  #initialised = false;
  #threads = 0;
  #closed = false;

  constructor(device: SgxDevice, onClose: () => void) {
    this.device = device;
    this.#onClose = onClose;
  }

  /** BASEADDR; 0 before `create`. */
  get base(): number {
    return this.#base;
  }

  /** Size of the ELRANGE in bytes; 0 before `create`. */
  get size(): number {
    return this.#size;
  }

  /** Guest-physical address of the SECS page: the enclave's name in SVSM calls. */
  get secs(): number {
    return this.#secsFrame;
  }

  get initialised(): boolean {
    return this.#initialised;
  }

  /**
   * Chooses a linear address range for this file's enclave, as mmap of the device does: aligned to `size`.
   * @throws ELRANGE_EXHAUSTED
   */
  reserve(size: number): number {
    if (this.#reserved !== 0) this.device.ranges.release(this.#reserved);
    this.#reserved = this.device.ranges.reserve(size);
    return this.#reserved;
  }

  /**
   * SGX_IOC_ENCLAVE_CREATE with a 4096-byte SECS.
   * @throws SgxIoctlError EINVAL (created before, SECS of a wrong length), ENOMEM (no EPC), EIO (ECREATE refused)
   */
  create(secs: Uint8Array): void {
    if (this.#closed || this.#secsFrame !== 0)
      throw this.#fail('EINVAL', 'the enclave has been created before');
    if (secs.length !== SECS.size) throw this.#fail('EINVAL', `a SECS has 4096 bytes, not ${secs.length}`);
    const copy = secs.slice();
    const fields = SECS.decode(copy);
    const frame = this.#frame();
    const { operands } = this.device.staging;
    operands.bytes.fill(0, 0, 128);
    operands.bytes.set(copy, PAGE);
    this.#pageinfo(0, operands.gpa + PAGE, 0);
    const outcome = this.#leaf(ENCLS.ECREATE, 'ECREATE', operands.gpa, frame, 0, () =>
      this.device.connection.epc.give(frame, 1),
    );
    if (outcome.fault !== undefined || outcome.code !== 0) {
      this.device.connection.epc.give(frame, 1);
      throw this.#leafFailed('EIO', 'ECREATE refused the SECS', outcome);
    }
    this.#secsFrame = frame;
    this.#base = Number(fields.BASEADDR);
    this.#size = Number(fields.SIZE);
    this.#attributes = fields.ATTRIBUTES.FLAGS;
  }

  /**
   * SGX_IOC_ENCLAVE_ADD_PAGES: EADD, and EEXTEND with SGX_PAGE_MEASURE, for every page of the range. Returns the bytes
   * added; when it throws, the error's `count` says how many had been added before.
   * @throws SgxIoctlError EINVAL (state, alignment, range, SECINFO, flags), EBUSY (page present), ENOMEM, EIO, EFAULT
   */
  addPages(args: AddPages): number {
    this.#checkAdd(args);
    const flags = new DataView(args.secinfo.buffer, args.secinfo.byteOffset, 64).getUint32(0, true);
    const source: RangeSource = args.src instanceof Uint8Array ? { bytes: args.src } : { block: args.src };
    return addRange(this, {
      source,
      offset: args.offset,
      length: args.length,
      secinfoFlags: flags,
      measure: (args.flags & SGX_PAGE_MEASURE) !== 0,
    });
  }

  /**
   * SGX_IOC_ENCLAVE_INIT with the 1808 bytes of a SIGSTRUCT (and, for EINIT of launch-controlled machines, a token).
   * @throws SgxIoctlError EINVAL (state, vendor), EACCES (privileged attribute not granted), EPERM (EINIT returned a code,
   *   see `sgxCode`), EIO (EINIT faulted)
   */
  init(sigstruct: Uint8Array, token?: Uint8Array): void {
    if (this.#closed || this.#secsFrame === 0 || this.#initialised)
      throw this.#fail('EINVAL', 'the enclave is not in the state between create and init');
    if (sigstruct.length !== SIGSTRUCT_SIZE)
      throw this.#fail('EINVAL', `a SIGSTRUCT has ${SIGSTRUCT_SIZE} bytes, not ${sigstruct.length}`);
    if (token !== undefined && token.length !== TOKEN_SIZE)
      throw this.#fail('EINVAL', `an EINITTOKEN has ${TOKEN_SIZE} bytes, not ${token.length}`);
    const vendor = new DataView(sigstruct.buffer, sigstruct.byteOffset).getUint32(16, true);
    if (vendor !== 0 && vendor !== VENDOR_INTEL)
      throw this.#fail('EINVAL', `SIGSTRUCT.VENDOR is 0x${vendor.toString(16)}, neither 0 nor Intel's`);
    if ((this.#attributes & ~this.#allowed) !== 0n)
      throw this.#fail('EACCES', 'the SECS has attributes that were not granted', {
        advice: 'open the provisioning device first (provision)',
      });
    const { operands } = this.device.staging;
    operands.bytes.set(sigstruct, PAGE);
    operands.bytes.fill(0, 2 * PAGE, 2 * PAGE + TOKEN_SIZE);
    if (token !== undefined) operands.bytes.set(token, 2 * PAGE);
    for (let attempt = 0; ; attempt++) {
      const outcome = this.#leaf(
        ENCLS.EINIT,
        'EINIT',
        operands.gpa + PAGE,
        this.#secsFrame,
        operands.gpa + 2 * PAGE,
      );
      if (outcome.fault !== undefined) throw this.#leafFailed('EIO', 'EINIT faulted', outcome);
      if (outcome.code === 0) break;
      if (outcome.code === SGX_ERROR.SGX_UNMASKED_EVENT && attempt < 50) continue;
      throw this.#leafFailed('EPERM', 'EINIT refused the enclave', outcome);
    }
    this.#initialised = true;
  }

  /** SGX_IOC_ENCLAVE_PROVISION: lets the enclave have PROVISIONKEY. @throws SgxIoctlError EINVAL, EACCES */
  provision(): void {
    if (this.#closed || this.#initialised) throw this.#fail('EINVAL', 'the enclave is initialised or closed');
    this.#provision = true;
    this.#allowed |= 1n << 4n;
    if (this.#secsFrame !== 0) this.authorizeProvision();
  }

  /** Tells the monitor that PROVISIONKEY was granted; called by `provision` and after `create`. */
  authorizeProvision(): void {
    if (!this.#provision || this.#secsFrame === 0) return;
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.AUTHORIZE_PROVISION, this.#secsFrame);
    if (result.rax !== 0) throw this.#fail('EACCES', 'the monitor does not grant the provisioning key');
  }

  /**
   * Gives the enclave its gate pages (one per TCS, in page order), before `init`.
   * @param gates page-aligned block of guest RAM with `count` pages
   */
  bindGates(gates: GuestBlock, count: number): void {
    const result = sgxCall(
      this.device.connection.vcpu,
      SGX_CALL.BIND_GATES,
      this.#secsFrame,
      gates.gpa,
      count,
    );
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the gate pages');
    const outcome = leafOutcome(result, 'the gate pages');
    if (outcome.code !== 0) throw svsmRefused(outcome.code, 'the gate pages');
    this.#threads = count;
  }

  /** What the monitor says about the enclave. @throws SVSM_REFUSED, CVM_LOST */
  status(): EnclaveStatus {
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.ENCLAVE_STATUS, this.#secsFrame);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the status query');
    const state = result.rcx === 2 ? 'lost' : result.rcx === 1 ? 'running' : 'uninitialised';
    return { state, reason: result.rdx };
  }

  /** Asks for an asynchronous exit of the thread on TCS `index` (stands for the kernel's IPI). */
  kick(index: number): void {
    const result = sgxCall(this.device.connection.vcpu, SGX_CALL.KICK, this.#secsFrame, index);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the kick');
  }

  /** Removes every page and the SECS and gives frames and linear range back. Harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    if (this.#reserved !== 0) this.device.ranges.release(this.#reserved);
    const { connection } = this.device;
    if (this.#secsFrame === 0) return;
    for (const extent of this.pages.extents)
      if (this.#removeFrames(extent.gpa, extent.count)) connection.epc.give(extent.gpa, extent.count);
    this.pages.clear();
    if (this.#removeFrames(this.#secsFrame, 1)) connection.epc.give(this.#secsFrame, 1);
    this.#secsFrame = 0;
  }

  /**
   * Gives `count` frames back, of which the first `inUse` may hold a page of the enclave and are removed before. Frames
   * that the monitor does not release stay taken.
   */
  reclaim(gpa: number, count: number, inUse: number): void {
    const { epc } = this.device.connection;
    if (inUse > 0 && this.#removeFrames(gpa, inUse)) epc.give(gpa, inUse);
    if (count > inUse) epc.give(gpa + inUse * PAGE, count - inUse);
  }

  /** Makes the error for a failed leaf of this file. */
  leafError(errno: ErrnoName, message: string, outcome: LeafOutcome): SgxIoctlError {
    return this.#leafFailed(errno, message, outcome);
  }

  /** True when all were removed. What the monitor no longer knows (cvm gone, enclave lost) is not given out again. */
  #removeFrames(gpa: number, count: number): boolean {
    const { vcpu } = this.device.connection;
    if (vcpu.closed !== null || this.device.connection.closed) return false;
    try {
      for (let done = 0, attempt = 0; done < count; ) {
        const pieces = Math.min(count - done, REMOVE_AT_ONCE);
        const result = sgxCall(vcpu, SGX_CALL.REMOVE_RANGE, gpa + done * PAGE, pieces);
        if (result.rax === SVSM_RESULT.UNSUPPORTED_CALL)
          return this.#removeSingly(gpa + done * PAGE, count - done);
        const outcome = leafOutcome(result, 'REMOVE_RANGE');
        done += Math.floor(outcome.rdx / PAGE);
        if (outcome.fault === undefined && outcome.code === 0) continue;
        if (outcome.code !== SGX_ERROR.SGX_ENCLAVE_ACT || attempt++ >= REMOVE_ATTEMPTS) return false;
        this.#interrupt();
      }
      return true;
    } catch {
      return false;
    }
  }

  /** Makes threads leave that are inside though nobody waits for them: an entry may come from noise in a gate page. */
  #interrupt(): void {
    for (let index = 0; index < this.#threads; index++)
      sgxCall(this.device.connection.vcpu, SGX_CALL.KICK, this.#secsFrame, index);
    Atomics.wait(PAUSE, 0, 0, 1);
  }

  #removeSingly(gpa: number, count: number): boolean {
    const { vcpu } = this.device.connection;
    for (let i = 0, attempt = 0; i < count; ) {
      const outcome = encls(vcpu, ENCLS.EREMOVE, 'EREMOVE', 0, gpa + i * PAGE);
      if (outcome.fault === undefined && outcome.code === 0) i++;
      else if (outcome.code !== SGX_ERROR.SGX_ENCLAVE_ACT || attempt++ >= REMOVE_ATTEMPTS) return false;
      else this.#interrupt();
    }
    return true;
  }

  #frame(): number {
    try {
      return this.device.connection.epc.take(1).gpa;
    } catch (cause) {
      throw this.#fail('ENOMEM', 'no EPC page is free', { cause });
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

  #checkAdd(args: AddPages): void {
    const { offset, length, secinfo, flags } = args;
    if (this.#closed || this.#secsFrame === 0 || this.#initialised)
      throw this.#fail('EINVAL', 'pages can be added only between create and init');
    if ((flags & ~SGX_PAGE_MEASURE) !== 0)
      throw this.#fail('EINVAL', `unknown flags 0x${flags.toString(16)}`);
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % PAGE !== 0)
      throw this.#fail('EINVAL', `offset ${offset} is not page aligned`);
    if (!Number.isSafeInteger(length) || length <= 0 || length % PAGE !== 0)
      throw this.#fail('EINVAL', `length ${length} is not a positive number of whole pages`);
    if (offset + length > this.#size)
      throw this.#fail('EINVAL', `pages ${offset}+${length} end beyond the enclave's ${this.#size} bytes`);
    const sourceLength = args.src instanceof Uint8Array ? args.src.length : args.src.length;
    if (sourceLength < length)
      throw this.#fail('EFAULT', `the source has ${sourceLength} of ${length} bytes`);
    if (!(args.src instanceof Uint8Array) && args.src.gpa % PAGE !== 0)
      throw this.#fail('EINVAL', 'the source is not page aligned');
    this.#checkSecinfo(secinfo);
  }

  /** SECINFO rules of the driver: type REG or TCS, W needs R, TCS without permissions, reserved bits zero. */
  #checkSecinfo(secinfo: Uint8Array): void {
    if (secinfo.length !== 64) throw this.#fail('EFAULT', `a SECINFO has 64 bytes, not ${secinfo.length}`);
    const low = new DataView(secinfo.buffer, secinfo.byteOffset).getUint32(0, true);
    const permissions = low & 7;
    const type = (low >>> 8) & 0xff;
    if (type !== PT_REG && type !== PT_TCS) throw this.#fail('EINVAL', `page type ${type} cannot be added`);
    if ((permissions & 2) !== 0 && (permissions & 1) === 0)
      throw this.#fail('EINVAL', 'a writable page must be readable');
    if (type === PT_TCS && permissions !== 0) throw this.#fail('EINVAL', 'a TCS has no permissions');
    if ((low & ~0xff07) !== 0 || secinfo.subarray(4).some((byte) => byte !== 0))
      throw this.#fail('EINVAL', 'reserved bits of SECINFO are set');
  }

  #fail(
    errno: ErrnoName,
    message: string,
    detail?: ConstructorParameters<typeof SgxIoctlError>[2],
  ): SgxIoctlError {
    return new SgxIoctlError(errno, message, detail);
  }

  #leafFailed(errno: ErrnoName, message: string, outcome: LeafOutcome): SgxIoctlError {
    const { fault, code } = outcome;
    const why =
      fault === undefined
        ? sgxErrorName(code)
        : `vector ${fault.vector}, error code ${fault.errorCode}, check ${fault.check}`;
    const debug = (this.#attributes & ATTRIBUTES_DEBUG) !== 0n;
    const advice =
      code === SGX_ERROR.SGX_INVALID_MEASUREMENT
        ? 'the pages differ from those that were signed: build and sign the enclave again'
        : code === SGX_ERROR.SGX_INVALID_ATTRIBUTE && debug
          ? 'the signature may not allow debug enclaves: load it without debug'
          : undefined;
    return new SgxIoctlError(errno, `${message}: ${why}`, {
      sgxCode: fault ? undefined : code,
      fault,
      advice,
    });
  }
}
