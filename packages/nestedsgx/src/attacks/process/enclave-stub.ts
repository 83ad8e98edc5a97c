import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { type Attack, finding, Tally } from '../attack.js';
import { Evil } from '../stage/evil.js';
import { runnerCode } from '../stage/runner-code.js';
import type { Stage } from '../stage/stage.js';

/** Registers by their place in the sample's `jump`. */
const REGISTER = { rax: 0, rdx: 3, rsi: 4, rdi: 5, r8: 6, r9: 7, r10: 8 } as const;
type Registers = Partial<Record<keyof typeof REGISTER, number>>;

const FUTEX = 202;

interface Jump {
  what: string;
  address: number;
  registers: Registers;
}

/** Numbers that the stub's own calls are not: tried at every SYSCALL of the runner. */
const HOSTILE: readonly (readonly [name: string, registers: Registers])[] = [
  ['getpid', { rax: 39 }],
  ['openat', { rax: 257, rdi: 0x1_0000_0000 - 100, rsi: RUNNER_MEMORY.IMAGE }],
  ['mmap', { rax: 9, rsi: 4096, rdx: 7, r10: 0x22, r8: 0xffff_ffff }],
  ['execve', { rax: 59, rdi: RUNNER_MEMORY.IMAGE }],
];

/** The stub's own calls with arguments that it would never use. */
function twisted(number: number, cvm: number): (readonly [name: string, registers: Registers])[] {
  switch (number) {
    case 202:
      return [
        ['futex requeue', { rsi: 3, rdx: 0, r10: 64 }],
        ['futex lock_pi', { rsi: 6 }],
        ['futex wait_requeue_pi', { rsi: 11 }],
      ].map(([name, registers]) => [
        name as string,
        { rax: 202, rdi: RUNNER_MEMORY.CONTROL, ...(registers as Registers) },
      ]);
    case 203:
      return [
        ['sched_setaffinity of the machine', { rax: 203, rdi: cvm, rsi: 128, rdx: RUNNER_MEMORY.IMAGE }],
      ];
    case 0:
      return [0, 1, 2, 4, 5, 6, 7, 8].map((fd) => [
        `read of descriptor ${fd}`,
        { rax: 0, rdi: fd, rsi: RUNNER_MEMORY.IMAGE, rdx: 1 },
      ]);
    case 234:
      return [
        ['tgkill of the machine', { rax: 234, rdi: cvm, rsi: cvm, rdx: 12 }],
        ['tgkill with SIGKILL', { rax: 234, rdi: cvm, rsi: cvm, rdx: 9 }],
      ];
    default:
      return [];
  }
}

function encode(registers: Registers): Uint8Array {
  const words = new BigUint64Array(14);
  for (const [name, value] of Object.entries(registers))
    words[REGISTER[name as keyof typeof REGISTER]] = BigInt(value);
  return new Uint8Array(words.buffer);
}

export const enclaveStub: Attack = Object.freeze({
  name: 'enclave-stub',
  group: 'process',
  by: 'enclave',
  control: 'a harmless call through the same stub comes back',
  title: "use the runner's own code as a gadget",
  tries:
    "jumps from an enclave to every SYSCALL of the runner's file with numbers and arguments of the attacker's choice: other " +
    'calls, other descriptors, other processes',
  run: async (stage: Stage) => {
    const evil = new Evil(stage);
    const { pid } = await stage.machine();
    const { syscalls } = runnerCode();
    // The socket of the runner is the one descriptor that it may read: found by leaving it out of the list.
    const jumps: Jump[] = syscalls.flatMap(({ address, number }) =>
      [...HOSTILE, ...(number === null ? [] : twisted(number, pid))].map(([what, registers]) => ({
        what: `${what} at 0x${address.toString(16)}`,
        address,
        registers,
      })),
    );
    const codes = new Tally();
    const broken: string[] = [];
    // One call that the stub itself makes, with harmless arguments, shows that such jumps arrive at all.
    const futex = syscalls.find(({ number }) => number === FUTEX);
    const control = await evil.attempt((calls, { address }) =>
      calls.jump!(BigInt(futex?.address ?? 0), encode({ rax: FUTEX, rdi: address, rsi: 1, rdx: 1 })),
    );
    if (control.how !== 'returned')
      broken.push(`a harmless jump into the stub ended with ${control.how}, so this shows nothing`);
    for (const { what, address, registers } of jumps) {
      const { how, value } = await evil.attempt((calls) => calls.jump!(BigInt(address), encode(registers)));
      codes.add(how);
      if (how === 'returned') broken.push(`${what} returned ${String(value)}`);
      if (how === 'no answer') broken.push(`${what} never came back`);
    }
    await evil.renew();
    return [
      finding(
        'a malicious enclave',
        `${syscalls.length} SYSCALL instructions, ${jumps.length} jumps with hostile registers: ${codes}; a harmless futex wake through the stub came back`,
        broken,
      ),
    ];
  },
});
