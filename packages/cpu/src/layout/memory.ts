/**
 * Where things lie in a runner's address space. All of it is below 2 GiB, so that the stub reaches it with 32-bit
 * absolute addresses from whatever code the enclave runs; and above 1 GiB, where the program of a guest with a kernel of
 * its own, whose memory the runner shows to the enclave, has nothing.
 */
export const RUNNER_MEMORY = Object.freeze({
  /** The runner's own image. */
  IMAGE: 0x4100_0000,
  /** One thread block of 4 KiB for each thread: index << 12 is its offset, and the limit of its GDT entry. */
  THREADS: 0x4200_0000,
  /** Ordinary stacks of the threads. */
  STACKS: 0x4500_0000,
  STACK_STRIDE: 0x1_0000,
  /** Control memory shared with the monitor's process. */
  CONTROL: 0x4600_0000,
  /** The plan: what to map, and how many threads to start. Read only. */
  PLAN: 0x4700_0000,
  PLAN_MAX: 0x0100_0000,
  /** u64 addresses that patched 7-byte sites jump through. Read only. */
  SLOTS: 0x4800_0000,
  /** Trampolines of 7-byte sites, one for each row of the site table. */
  TRAMPOLINES: 0x4810_0000,
  TRAMPOLINES_MAX: 0x0040_0000,
  TRAMPOLINE_STRIDE: 128,
  /** The site table, one PLAN_SITE for each patched site. Read only. */
  SITES: 0x4880_0000,
  /** XSAVE areas used by ERESUME. */
  XSAVE: 0x4900_0000,
  XSAVE_STRIDE: 0x4000,
  /**
   * Alternate signal stacks; the index of a thread follows from the address of its stack. Signals are not blocked while
   * one is handled, so a burst of them nests: each takes about 4 KiB, and 1 MiB holds some 250.
   */
  SIGNAL_STACKS: 0x5000_0000,
  SIGNAL_STACK_STRIDE: 0x10_0000,
  /** End of the low region. */
  END: 0x6000_0000,
});

/** Where pages of an enclave can lie that ends below the runner: Linux maps nothing below this (vm.mmap_min_addr). */
export const LOWEST_PAGE = 0x1_0000;

/** Threads (TCS) that one runner can serve; index 255 is the agent's own. */
export const MAX_THREADS = 255;

/** Patched sites per enclave over its whole life; sites beyond this trap. */
export const MAX_SITES = 8191;

/** Mappings of one ELRANGE, well below the kernel's default vm.max_map_count of 65,530. */
export const MAX_MAPS = 30_000;

/** RCX at EENTER: the asynchronous exit pointer. Nothing is ever executed there. */
export const AEP_ADDRESS = 0x1000;

/** Descriptor of guest RAM that a runner keeps in vm mode. */
export const RAM_FILE = 4;

/** Where an enclave with host descriptors calls for a system call on them: number in EAX, arguments as the kernel has them. */
export const DESCRIPTOR_CALL: number = RUNNER_MEMORY.IMAGE;

/** Descriptor of the socket on which such an enclave receives what its host grants. */
export const GRANT_SOCKET = 5;

/**
 * Granted descriptors are the numbers from DESCRIPTORS to 2 * DESCRIPTORS - 1; where the limit of open files is lower, a
 * smaller power of two. All numbers below are taken, so the kernel puts received ones there.
 */
export const DESCRIPTORS = 1024;
export const DESCRIPTORS_MIN = 64;

/** Mappings of guest memory outside the ELRANGE in vm mode; at more, all of them go and are made anew. */
export const MAX_OUTSIDE_MAPS = 24_000;

/** Signal that makes a running thread leave its enclave (the stand-in for an interrupt): SIGUSR2. */
export const KICK_SIGNAL = 12;

/** Signal of the timer that frees a long-running thread from its caller's CPU: SIGVTALRM. */
export const SLICE_SIGNAL = 26;

/** CPU time after which a thread inside is freed, in milliseconds. */
export const SLICE_MS = 4;

/** Longest time either side spins for the other, in TSC cycles. */
export const SPIN_MAX_CYCLES = 4000;

/** The same in vm mode, where the guest's next entry is some emulated system calls away. */
export const VM_SPIN_CYCLES = 100_000;
