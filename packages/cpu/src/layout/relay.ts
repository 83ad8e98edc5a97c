import { defineLayout } from './layout.js';

/**
 * The relay page of a window: how a guest with a kernel of its own reaches sleepers outside, which it cannot wake itself,
 * and how it is woken. Bit i of the bitmap asks for a wake-up of everybody who sleeps on the first word of page i of the
 * window; bit j of the summary says that word j of the bitmap is not zero.
 */
export const RELAY = defineLayout('relay', 4096, {
  // Written by the guest (bits set), and by the relay (bits taken).
  bitmap: ['u64', 0, 256],
  summary: ['u64', 2048, 4],
  /** Written by the relay: it waits for a kick, and must be sent one. */
  relayAsleep: ['u32', 2112],
  /** Incremented, and woken, by whoever answers a guest that sleeps: the guest is interrupted. */
  irqWord: ['u32', 3072],
});

/** First page of a window: what its guest has to know. Written before the guest starts; addresses are guest-physical. */
export const VM_INFO = defineLayout('vm_info', 4096, {
  signature: ['u64', 0],
  formatVersion: ['u32', 8],
  /** vCPUs of the monitor: GHCB page at `vcpu` + n * `vcpuStride`, calling area in the page after it. */
  vcpus: ['u32', 12],
  ramBytes: ['u64', 16],
  /** Virtual address of guest-physical address 0 in runners. */
  ramBase: ['u64', 24],
  windowGpa: ['u64', 32],
  windowBytes: ['u64', 40],
  doorbellGpa: ['u64', 48],
  relayGpa: ['u64', 56],
  vcpuGpa: ['u64', 64],
  vcpuStride: ['u64', 72],
  /** What the guest's driver may use as it likes: gates, lists, buffers. */
  sliceGpa: ['u64', 80],
  sliceBytes: ['u64', 88],
  epcGpa: ['u64', 96],
  epcPages: ['u64', 104],
  /** Bytes beside an ELRANGE that trampolines take; see BESIDE. */
  trampolineBytes: ['u64', 112],
  kickPort: ['u32', 120],
  irqPort: ['u32', 124],
  irq: ['u32', 128],
  /** Pairs of start and end: virtual addresses that runners need, where no enclave's process may have anything. */
  reserved: ['u32', 132],
  reservedRanges: ['u64', 136, 16],
});

/** VM_INFO.signature: "NSGXVM1\0" as a little-endian number. */
export const VM_INFO_MAGIC = 0x00_314d_5658_4753_4en;
export const VM_INFO_VERSION = 1;

/**
 * Page behind an enclave's gates, in vm mode: takes mappings of its process' memory back. The guest zeroes it before it
 * binds the gates. It increments `invalidating` and `generation`, stores the range, increments `seq`, waits for `ackSeq`,
 * changes its page tables and decrements `invalidating`. While that is not 0, or when `generation` has changed meanwhile,
 * the runner maps nothing.
 */
export const REVOKE = defineLayout('revoke', 4096, {
  // Guest.
  seq: ['u32', 0],
  start: ['u64', 8],
  end: ['u64', 16],
  invalidating: ['u32', 24],
  generation: ['u32', 28],
  // Runner.
  ackSeq: ['u32', 64],
  asleep: ['u32', 68],
  /** Mappings there are: with none the guest need not ask. */
  mapped: ['u32', 72],
  // Guest.
  guestAsleep: ['u32', 128],
});

/**
 * Where trampolines may lie, as BIND_GATES says in R9: 0 leaves it to the machine; with CHOSEN, below the ELRANGE
 * (trampolineBytes up to it) and above it (from one page after it), as far as the guest keeps that free.
 */
export const BESIDE = Object.freeze({ CHOSEN: 1, BELOW: 2, ABOVE: 4 });
