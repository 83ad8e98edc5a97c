import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { type Attack, finding, Tally } from '../attack.js';
import { Evil, type EvilCalls } from '../stage/evil.js';
import { runnerCode } from '../stage/runner-code.js';
import type { Stage } from '../stage/stage.js';

const COMPATIBILITY_SELECTOR = 0x23;
const VSYSCALL = 0xffff_ffff_ff60_0000n;

/** System calls by number that would matter most: files, memory, processes, the kernel's own attack surface. */
const CALLS: readonly (readonly [name: string, number: number, ...args: number[]])[] = [
  ['getpid', 39],
  ['write', 1, 2, 0x1000, 1],
  ['openat', 257, 0, 0x1000],
  ['mmap', 9, 0, 4096, 7, 0x22],
  ['mprotect', 10, RUNNER_MEMORY.IMAGE, 4096, 7],
  ['execve', 59, 0x1000],
  ['ptrace', 101, 16, 1],
  ['kill', 62, 1, 0],
  ['socket', 41, 1, 1],
  ['clone', 56, 17],
  ['rt_sigreturn', 15],
  ['prctl', 157, 4, 1],
  ['process_vm_readv', 310, 1],
  ['memfd_create', 319, 0x1000],
  ['userfaultfd', 323],
  ['io_uring_setup', 425, 1],
  ['getpid of x32', 0x4000_0000 + 39],
];
/** 32-bit numbers: getpid, write, mmap2, modify_ldt, set_thread_area, socketcall. */
const CALLS_32 = [20, 4, 192, 123, 243, 102];

export const enclaveSyscall: Attack = Object.freeze({
  name: 'enclave-syscall',
  group: 'process',
  by: 'enclave',
  control: 'the enclave answers honest calls before',
  title: 'system calls from inside an enclave',
  tries: 'SYSCALL, INT 0x80 and SYSENTER, the vsyscall page, and far jumps into 32-bit code',
  run: async (stage: Stage) => {
    const evil = new Evil(stage);
    const codes = new Tally();
    const broken: string[] = [];
    const attempt = async (what: string, action: (calls: EvilCalls) => Promise<unknown>) => {
      const { how, value } = await evil.attempt(action);
      codes.add(how);
      if (how === 'returned') broken.push(`${what} returned ${String(value)}`);
      if (how === 'no answer') broken.push(`${what} never came back`);
    };
    const words = (values: readonly number[]) => Array.from({ length: 6 }, (_, i) => BigInt(values[i] ?? 0));
    for (const [name, number, ...args] of CALLS)
      await attempt(name, (calls) => calls.system_call!(BigInt(number), ...words(args)));
    for (const number of CALLS_32)
      await attempt(`int 0x80 with ${number}`, (calls) => calls.int80!(BigInt(number), 0n, 0n, 0n));
    await attempt('sysenter', (calls) => calls.sysenter_call!(20n));
    for (const entry of [0n, 0x400n, 0x800n])
      await attempt('the vsyscall page', (calls) => calls.jump!(VSYSCALL + entry, new Uint8Array(112)));
    const { syscalls, int80 } = runnerCode();
    for (const address of [syscalls[0]?.address, int80[0], RUNNER_MEMORY.IMAGE, 0x1000])
      if (address !== undefined)
        await attempt('a far jump to 32-bit code', (calls) =>
          calls.far_jump!(BigInt(address), BigInt(COMPATIBILITY_SELECTOR)),
        );
    await evil.renew();
    return [
      finding(
        'a malicious enclave',
        `${codes.total} attempts, each ended its enclave: ${codes}; no call reached the kernel`,
        broken,
      ),
    ];
  },
});
