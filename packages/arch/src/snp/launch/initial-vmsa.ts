/**
 * The VMSA pages with which hypervisors start a guest: the processor's state after reset (AMD APM Vol. 2,
 * "Processor Initialization State") as each of them fills it in.
 */
import { VMSA } from '../vmsa.js';

/** Hypervisors whose initial VMSA is known: QEMU with KVM, Amazon EC2, Google Compute Engine. */
export const LAUNCH_VMMS = ['qemu', 'ec2', 'gce'] as const;

/** See {@link LAUNCH_VMMS}. */
export type LaunchVmm = (typeof LAUNCH_VMMS)[number];

/** Where the first vCPU starts. */
export const RESET_VECTOR = 0xffff_fff0;

const PAT_AFTER_RESET = 0x0007_0406_0007_0406n;

interface Habits {
  readonly firstCs: number;
  readonly ss: number;
  readonly tr: number;
  readonly pat: bigint;
  /** RDX after reset; null: the vCPU's signature. */
  readonly rdx: bigint | null;
  readonly mxcsr: number;
  readonly fcw: number;
}

const QEMU: Habits = {
  firstCs: 0x9b,
  ss: 0x93,
  tr: 0x8b,
  pat: PAT_AFTER_RESET,
  rdx: null,
  mxcsr: 0x1f80,
  fcw: 0x37f,
};
const HABITS: Readonly<Record<LaunchVmm, Habits>> = {
  qemu: QEMU,
  ec2: { ...QEMU, firstCs: 0x9a, ss: 0x92, tr: 0x83, rdx: 0x600n, mxcsr: 0, fcw: 0 },
  gce: { ...QEMU, pat: 0x0007_0106n, rdx: 0x600n, mxcsr: 0, fcw: 0 },
};

const flat = (SELECTOR: number, ATTRIB: number) => ({ SELECTOR, ATTRIB, LIMIT: 0xffff_ffff, BASE: 0n });
const real = (ATTRIB: number, SELECTOR = 0, BASE = 0n) => ({ SELECTOR, ATTRIB, LIMIT: 0xffff, BASE });

const COMMON = {
  GS: real(0x93),
  GDTR: real(0),
  IDTR: real(0),
  LDTR: real(0x82),
  EFER: 0x1000n, // SVME, which KVM sets
  CR4: 0x40n, // MCE
  DR7: 0x400n,
  DR6: 0xffff_0ff0n,
  RFLAGS: 2n,
  XCR0: 1n,
} as const;

/** A vCPU of a guest that starts in its firmware: real mode at `rip`, an address below 4 GiB. */
export function firmwareVmsa(vmm: LaunchVmm, rip: number, signature: number, features: bigint): Uint8Array {
  const habits = HABITS[vmm];
  const cs = rip === RESET_VECTOR ? habits.firstCs : QEMU.firstCs;
  return VMSA.encode({
    ...COMMON,
    ES: real(0x93),
    CS: real(cs, 0xf000, BigInt(rip >>> 16) << 16n),
    SS: real(habits.ss),
    DS: real(0x93),
    FS: real(0x93),
    TR: real(habits.tr),
    CR0: 0x10n,
    RIP: BigInt(rip & 0xffff),
    G_PAT: habits.pat,
    RDX: habits.rdx ?? BigInt(signature),
    SEV_FEATURES: features,
    MXCSR: habits.mxcsr,
    X87_FCW: habits.fcw,
  });
}

/** A vCPU of a guest that starts in an SVSM under QEMU: 32-bit protected mode with flat segments at `rip`. */
export function svsmVmsa(rip: number, signature: number): Uint8Array {
  return VMSA.encode({
    ...COMMON,
    ES: flat(16, 0xc93),
    CS: flat(8, 0xc9b),
    SS: flat(16, 0xc93),
    DS: flat(16, 0xc93),
    FS: flat(16, 0xc93),
    TR: real(0x8b),
    CR0: 0x11n,
    RIP: BigInt(rip),
    G_PAT: PAT_AFTER_RESET,
    RDX: BigInt(signature),
    SEV_FEATURES: 1n,
    MXCSR: 0x1f80,
  });
}
