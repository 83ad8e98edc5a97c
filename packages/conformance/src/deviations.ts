/** Where the software machine differs from the manual, each with its reason. */

/** One deviation. */
export interface Deviation {
  readonly id: string;
  /** Leaf functions concerned; empty: execution as a whole. */
  readonly leaves: readonly string[];
  readonly what: string;
  readonly reason: string;
}

/** Every known deviation. The document of conformance is made from this list. */
export const DEVIATIONS: readonly Deviation[] = Object.freeze([
  {
    id: 'native-instructions',
    leaves: [],
    what: 'CPUID, SGDT, SIDT, SLDT, STR, SMSW, VMMCALL and loads of segment registers execute inside an enclave instead of raising #UD.',
    reason:
      'Enclave code runs natively in user mode, and the processor does not trap these there. Where it can make CPUID fault, CPUID is #UD.',
  },
  {
    id: 'syscall-registers',
    leaves: [],
    what: 'SYSCALL raises #UD, but RCX and R11 in the frame hold what the instruction stored in them.',
    reason: 'The processor executes it before the kernel’s filter refuses it.',
  },
  {
    id: 'host-descriptors',
    leaves: [],
    what: 'An enclave that its host loads with hostDescriptors may call one address outside its ELRANGE, where the runner makes read, write, poll, epoll_wait, private futex and their like on descriptors that the host grants. Interrupted there, its frame has that RIP.',
    reason:
      'What no processor has, for measuring without the cost of exits. Off unless asked for, and a machine can forbid it.',
  },
  {
    id: 'int1',
    leaves: [],
    what: 'INT1 raises #DB with the RIP that the processor reports; breakpoints by debug registers, monitor trap flag and performance monitoring are the host’s affair.',
    reason: 'They belong to the kernel under the runner.',
  },
  {
    id: 'one-step-site',
    leaves: ['every ENCLU leaf'],
    what: 'With debug opt-in a single step takes the MOV and the ENCLU of a patched site as one instruction.',
    reason: 'A jump stands in their place; `--no-patch` runs without.',
  },
  {
    id: 'page-table-rights',
    leaves: [],
    what: 'A page fault for a right that only the guest’s page table refuses has the SGX bit; one of a page that is PENDING, MODIFIED or blocked and taken away has not, and P = 0.',
    reason:
      'The effective mapping is what both allow, and the processor reports only whether there is one. The guest can bring the page, or finds nothing to bring.',
  },
  {
    id: 'vector-registers',
    leaves: ['EENTER', 'EEXIT'],
    what: 'Extended state never crosses between host and enclave: EENTER finds what its thread’s last exit left (initial state after an AEX, the enclave’s own after EEXIT).',
    reason: 'Host and enclave run in two processes and exchange general registers only.',
  },
  {
    id: 'xfrm-not-enforced',
    leaves: ['EENTER', 'ERESUME'],
    what: 'XFRM decides which state is saved, restored and initialised; instructions of a component outside XFRM execute instead of raising #UD.',
    reason: 'XCR0 cannot be changed from user mode.',
  },
  {
    id: 'patched-code',
    leaves: [],
    what: 'Enclave code that reads its own ENCLU instructions may see a jump in place of the MOV before them.',
    reason:
      'A trapping ENCLU costs 20 times a jump. Measurement, EWB, EDBGRD and EACCEPTCOPY see the original bytes; `--no-patch` runs without.',
  },
  {
    id: 'all-of-guest-ram',
    leaves: [],
    what: 'An enclave can read and write all guest RAM of its machine, not just the memory of the process that entered it.',
    reason: 'Guest RAM is one file that every enclave maps; the embedded guest is one trust domain.',
  },
  {
    id: 'one-frame',
    leaves: ['EADD', 'EAUG', 'ELDB', 'ELDU', 'ELDBC', 'ELDUC'],
    what: 'A second EPC page for the same linear address of the same enclave is refused while the first is there.',
    reason: 'An enclave’s memory is one file indexed by linear address: each address has room for one page.',
  },
  {
    id: 'frame-owner',
    leaves: ['every ENCLS leaf'],
    what: 'An EPC page that belongs to another guest connection is refused as an operand (SVSM_ERR_INVALID_PARAMETER).',
    reason:
      'One machine serves several guests that must not touch each other’s enclaves; hardware has one OS.',
  },
  {
    id: 'resources',
    leaves: ['ECREATE', 'EADD', 'EAUG', 'EINIT', 'EWB', 'ELDU'],
    what: 'A leaf is refused with SVSM_ERR_BUSY when the host has no memory, process or descriptor for it, or a limit is reached.',
    reason: 'EPC, processors and enclaves are resources of a host that may run out.',
  },
  {
    id: 'no-conflicts',
    leaves: ['every leaf'],
    what: 'Conflicts of concurrent leaves (#GP(0), SGX_EPC_PAGE_CONFLICT, SGX_ENTRYEPOCH_LOCKED, SGX_LOCKFAIL) do not occur.',
    reason:
      'The monitor executes one leaf at a time; every outcome is one that some order on hardware gives.',
  },
  {
    id: 'fixed-aep',
    leaves: ['EENTER', 'ERESUME', 'EEXIT'],
    what: 'EENTER and ERESUME take no AEP, and EEXIT gives none; after EENTER, RCX is 1000H, not the address behind the ENCLU of the host.',
    reason:
      'Host and enclave are processes of their own: an exit goes back through the gate, not to an address.',
  },
  {
    id: 'threads-by-gates',
    leaves: ['EACCEPT', 'ELDB', 'ELDU', 'ELDBC', 'ELDUC', 'EENTER'],
    what: 'A TCS can be entered only while it has one of the gates that were bound before EINIT; one more waits until a gate is free.',
    reason:
      'A gate is a page of guest RAM that runner and host share; where it lies is fixed when the runner starts.',
  },
  {
    id: 'ssa-frames-from-zero',
    leaves: ['EENTER', 'ERESUME', 'EDECCSSA'],
    what: 'A thread may use the SSA frames from 0 up to the first one that EENTER would refuse, and at most 64; hardware looks at the current one only.',
    reason:
      'The monitor checks SSA pages when they change, not at each entry, and the processor knows how many there are.',
  },
  {
    id: 'provision-seal-configsvn',
    leaves: ['EGETKEY'],
    what: 'The provisioning seal key refuses a CONFIGSVN beyond the enclave’s, as the seal key does.',
    reason: 'Otherwise an older configuration could derive the keys of newer ones.',
  },
  {
    id: 'no-unmasked-event',
    leaves: ['EINIT'],
    what: 'SGX_UNMASKED_EVENT does not occur.',
    reason: 'EINIT is not interrupted.',
  },
  {
    id: 'blocked-at-once',
    leaves: ['EBLOCK'],
    what: 'EBLOCK takes a page away from all threads at once (the EVICT call: when it writes the page out), not only from those that enter later. SSA pages stay mapped until EWB; blocking one keeps out the next entry.',
    reason:
      'Translations are taken from outside a running thread. An asynchronous exit still needs its SSA frame.',
  },
  {
    id: 'occupied-slot-in-bulk',
    leaves: ['EWB'],
    what: 'The EVICT call leaves a page whose version slot is occupied where it is; EWB itself overwrites the slot, as the manual has it.',
    reason: 'A list that names a slot twice is a mistake of the guest that would cost it a page.',
  },
  {
    id: 'execute-means-read',
    leaves: ['EADD', 'EMODPE', 'EMODPR'],
    what: 'A page with X can also be read. A hostile enclave can give X to its own pages though the EPCM says otherwise; W and presence are out of its reach.',
    reason: 'X is a property of a mapping that the runner itself sets on the monitor’s order.',
  },
  {
    id: 'pkru',
    leaves: ['EENTER', 'ERESUME'],
    what: 'With XFRM bit 9, an enclave whose PKRU denies key 0 cannot execute leaves: they fault.',
    reason: 'The runner’s own code lies in the same address space, under key 0.',
  },
  {
    id: 'debug-write-waits',
    leaves: ['EDBGWR'],
    what: 'EDBGWR of TCS.FLAGS takes effect when the thread is outside.',
    reason: 'The processor takes a TCS over at an entry.',
  },
  {
    id: 'cpusvn-fixed',
    leaves: ['EUPDATESVN'],
    what: 'EUPDATESVN renews CR_BASE_PK; CPUSVN does not rise at run time.',
    reason: 'The software processor has no microcode to load.',
  },
  {
    id: 'no-cet',
    leaves: ['ECREATE', 'EADD', 'EAUG', 'EINIT', 'EACCEPT', 'EACCEPTCOPY', 'EREPORT', 'EGETKEY', 'EDECCSSA'],
    what: 'CET is not offered: its attribute bits must be 0 and shadow-stack page types are refused.',
    reason: 'The platform does not enumerate it, as processors without CET.',
  },
  {
    id: 'accept-range',
    leaves: ['EACCEPT_RANGE'],
    what: 'ENCLU has a leaf 80H that hardware answers with #GP(0): EACCEPT of a range of pages in one call.',
    reason:
      'Each page of a growing enclave costs a call of the monitor. Nothing changes for enclaves that do not know it.',
  },
  {
    id: 'no-enclv',
    leaves: [],
    what: 'ENCLV and the virtualisation of EPC (VIRTCHILDCNT) are not offered.',
    reason: 'There is no VMX on this machine.',
  },
  {
    id: 'same-kind-of-processor',
    leaves: ['EINIT'],
    what: 'Enclaves without MODE64BIT are built and measured, but not executed.',
    reason: 'The runner is a 64-bit process.',
  },
] as const);
