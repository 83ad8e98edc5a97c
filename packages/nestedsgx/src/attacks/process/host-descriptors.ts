import { DESCRIPTOR_CALL } from '@nestedsgx/cpu/host';
import { close, pipe, write } from '@nestedsgx/os';
import { type Attack, finding } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { loadWithDescriptors, type Victim } from '../stage/victim.js';

const EPERM = -1;
const READ = 0;
const RECVMSG = 47;
const GRANT_SOCKET = 5;
/** Numbers that the kernel knows, and some that it does not. */
const NUMBERS = 480;
/** Not tried with any descriptor. */
const PASSED_OVER: ReadonlySet<number> = new Set([
  7, // poll: tells which descriptors are ready
  24, // sched_yield
  219, // restart_syscall: a poll or futex
  335, // uretprobe and uprobe: the kernel asks no filter, and ends a process that is not being probed
  336,
]);
/** Descriptors outside the range: the runner's own, its fillers, the first beyond, none, and one with high bits. */
const OUTSIDE = [0, 1, 2, 3, 4, 5, 6, 63, 2048, 8191, -1, -100];

/** Calls with what stands in RDI, RSI, RDX, R10, R8, R9. */
function call(victim: Victim, number: number, ...args: (number | bigint)[]): number {
  const [rdi = 0, rsi = 0, rdx = 0, r10 = 0, r8 = 0, r9 = 0] = args;
  const words = [number, 0, 0, rdx, rsi, rdi, r8, r9, r10].map((word) => BigInt.asUintN(64, BigInt(word)));
  const registers = new Uint8Array(new BigUint64Array(words).buffer);
  return Number(BigInt.asIntN(64, BigInt(victim.calls.jump!(BigInt(DESCRIPTOR_CALL), registers))));
}

/** Takes what was granted; its number. */
function take(victim: Victim): number {
  // msghdr, iovec at 64, control at 128, data at 192.
  const at = victim.address;
  const put = (offset: number, value: number): void => {
    victim.calls.write_word!(BigInt(at + offset), BigInt(value));
  };
  [0, 0, at + 64, 1, at + 128, 24, 0].forEach((word, i) => {
    put(i * 8, word);
  });
  put(64, at + 192);
  put(72, 8);
  call(victim, RECVMSG, GRANT_SOCKET, at, 0x40);
  return Number(BigInt(victim.calls.read_word!(BigInt(at + 144))) & 0xffff_ffffn);
}

export const hostDescriptors: Attack = Object.freeze({
  name: 'host-descriptors',
  group: 'process',
  by: 'enclave',
  control: 'the enclave reads the one descriptor that it was granted',
  title: 'reach beyond descriptors that were granted',
  tries:
    'every system call, in an enclave that may use descriptors of its host: on descriptors that it was not granted, and with ' +
    'addresses, commands and flags',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const victim = await loadWithDescriptors(device, stage.image('evil'));
    const [from, to] = pipe();
    const broken: string[] = [];
    let tried = 0;
    try {
      victim.enclave.grantDescriptor(from);
      const granted = take(victim);
      write(to, Uint8Array.of(7));
      if (call(victim, READ, granted, victim.address, 8) !== 1)
        broken.push('the granted descriptor could not be read, so this shows nothing');
      const expect = (what: string, result: number) => {
        tried++;
        if (result !== EPERM) broken.push(`${what} gave ${result}`);
      };
      for (let number = 0; number < NUMBERS; number++) {
        if (PASSED_OVER.has(number)) continue;
        for (const fd of OUTSIDE) {
          if (number === RECVMSG && fd === GRANT_SOCKET) continue;
          expect(`call ${number} on descriptor ${fd}`, call(victim, number, fd, victim.address, 8, 1, 1, 1));
        }
      }
      for (const number of [16, 32, 33, 42, 43, 46, 47, 72, 233, 288, 292, 299, 307, 425, 426])
        expect(`call ${number} on what was granted`, call(victim, number, granted, victim.address, 8));
      for (const number of [44, 45])
        for (const args of [[victim.address], [0, victim.address], [1n << 40n]])
          expect(
            `call ${number} with an address`,
            call(victim, number, granted, victim.address, 1, 0x40, ...args),
          );
      for (const operation of [0, 1, 3, 4, 6, 9, 130, 131, 134, 137])
        expect(`futex operation ${operation}`, call(victim, 202, victim.address, operation, 0, 1));
    } finally {
      close(from);
      close(to);
      await victim.close();
    }
    return [
      finding('a malicious enclave', `${tried} calls were refused; the granted pipe could be read`, broken),
    ];
  },
});
