/**
 * What the monitor needs of the world below it, as small structural interfaces: the processor that executes
 * enclaves, and the machine. Offsets are bytes from BASEADDR, addresses are guest-physical (gPA) unless said.
 */
import type { HashProvider } from '@nestedsgx/arch';

export type {
  EnclaveMemory,
  EnclaveProcessor,
  LeafRequest,
  LeafResult,
  PageRange,
  ProcessorCounters,
  ProcessorStart,
  RunningEnclave,
  ThreadStart,
} from '@nestedsgx/arch';

/** Guest memory as the monitor touches it on behalf of a VMPL: every access is checked against the RMP. */
export interface GuestMemoryPort {
  /** A private copy. Throws NESTED_PAGE_FAULT or PAGE_NOT_VALIDATED when `vmpl` may not read it. */
  copyIn(vmpl: number, gpa: number, length: number): Uint8Array;
  /** As copyIn, into the caller's buffer. */
  copyInto(vmpl: number, gpa: number, into: Uint8Array): void;
  /** Writes; all or nothing. Throws as copyIn when `vmpl` may not write it. */
  copyOut(vmpl: number, gpa: number, bytes: Uint8Array): void;
}

/** AES-128-GCM of pages under one key, with IVs of 12, additional data of 128 and MACs of 16 bytes. */
export interface PageGcm {
  /** Encrypts `page` into `out`, which may not overlap it, and puts the MAC into `mac`. */
  seal(iv: Uint8Array, additional: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): void;
  /** Decrypts `page` into `out`; false, and zeros there, when the MAC is not that of the rest. */
  open(iv: Uint8Array, additional: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): boolean;
  /** Forgets the key. */
  close(): void;
}

/** Makes one from 16 bytes of key, which are wiped afterwards. */
export type PageGcmFactory = (key: Uint8Array) => PageGcm;

/** Rights of a mapping. */
export interface Permissions {
  r: boolean;
  w: boolean;
  x: boolean;
}

/** A request in the SVSM calling convention; numbers are exact below 2^53 and no safe integers above. */
export interface CallPort {
  readonly protocol: number;
  readonly call: number;
  readonly rcx: number;
  readonly rdx: number;
  readonly r8: number;
  readonly r9: number;
  big(register: 'rcx' | 'rdx' | 'r8' | 'r9'): bigint;
}

/** Registers of an answer; a missing one keeps what the guest wrote. */
export interface CallAnswer {
  rax: number | bigint;
  rcx?: number | bigint;
  rdx?: number | bigint;
  r8?: number | bigint;
}

/** One virtual CPU: its doorbell words and calling area. */
export interface VcpuPort {
  readonly index: number;
  caaGpa: number;
  pending(): boolean;
  accept(): number;
  complete(ring: number): void;
}

/** What an exit of a virtual CPU was. */
export type ExitPort =
  | { kind: 'call'; call: CallPort }
  | { kind: 'served' }
  | { kind: 'terminated'; set: number; code: number }
  | { kind: 'fault'; fault: Error };

/** The part of the machine that the monitor uses; `Machine` of package machine fits. */
export interface MachinePort {
  /** gPA and bytes of the EPC range, multiples of 4096. */
  readonly epcBase: number;
  readonly epcBytes: number;
  readonly guest: GuestMemoryPort;
  /** Where the certificates of SNP reports come from when they are not given. */
  readonly psp?: { certificates(): { ark: Uint8Array; ask: Uint8Array; vcek: Uint8Array } };
  readonly memory: { readonly ramBytes: number; zero(page: number, pages: number): void };
  readonly rmp: {
    /** Throws when `vmpl` may not access all of the range. */
    check(vmpl: number, gpa: number, length: number, access: 'r' | 'w' | 'x' | 'xs' | 'vmsa'): void;
  };
  readonly vcpus: {
    get(index: number): VcpuPort | undefined;
    registerVmsa(gpa: number, apicId: number, sevFeatures: bigint): unknown;
    unregisterVmsa(gpa: number): boolean;
    vmsa(gpa: number): unknown;
  };
  vmgexit(vcpu: VcpuPort): ExitPort;
  answer(vcpu: VcpuPort, answer: CallAnswer): void;
  rmpadjust(callerVmpl: number, gpa: number, size: number, attrs: number): number;
  /** At VMPL0. */
  pvalidate(gpa: number, size: number, validate: boolean): { code: number; carry: boolean };
  /** RMP ∩ the permissions that the EPCM gives: what a mapping in a runner may be. */
  effectiveMapping(gpa: number, epcm: Readonly<Permissions>): Permissions;
  /** How many pages from `gpa` on, at most `count` and at least one, `effectiveMapping` treats as it. */
  alikePages(gpa: number, count: number): number;
  /** Takes RAM away from VMPL1, zero. Throws MACHINE_DEPOSIT when it is not VMPL1's to give. */
  deposit(gpa: number, length: number): void;
  /** Gives deposited RAM back to VMPL1, zero. Throws MACHINE_DEPOSIT. */
  withdraw(gpa: number, length: number): void;
}

/** Guest messages to the PSP; `GuestMessageChannel` of package machine fits. */
export interface ReportPort {
  /** An SNP attestation report (1184 bytes) over 64 bytes of report data, for the given VMPL. */
  report(reportData: Uint8Array, vmpl: number): Uint8Array;
  /** A key derived from the chip, this launch's measurement and its policy (32 bytes; MSG_KEY_REQ). */
  deriveKey(): Uint8Array;
}

/** A measurement in progress; `EnclaveMeasurement` of package arch fits. */
export interface MeasurementPort {
  ecreate(ssaFrameSize: number, size: bigint): void;
  eadd(offset: bigint, secinfo: Uint8Array): void;
  eextend(offset: bigint, chunk: Uint8Array): void;
  addPages(offset: bigint, secinfo: Uint8Array, pages: Uint8Array, measured: boolean): void;
  digest(): Uint8Array;
  /** Gives back what the measurement holds elsewhere. Nothing else is called afterwards. May be called twice. */
  release?(): void;
}

/** Hashing, replaceable as a whole (a threaded measurement, another SHA-2). */
export interface HashingPort {
  readonly hash: HashProvider;
  measurement(): MeasurementPort;
}
