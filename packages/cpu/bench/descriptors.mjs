// Cycles of system calls on host descriptors from inside an enclave, beside the same calls of an ordinary process.
//   node packages/cpu/bench/descriptors.mjs
import { execFileSync, spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventfd, loadLibrary, memfdCreate, socketpair } from '@nestedsgx/os';
import { assemble, enclu } from '../dist/test/assemble.js';
import { AT, BenchMachine } from '../dist/test/bench-machine.js';
import { SystemCalls } from '../dist/test/system-calls.js';

const CALLS = 2000;
const BATCHES = 41;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

/** R12 = the call (number, six arguments); makes it R13 times; cycles in RAX. `call` makes one. */
const loop = (call) => `
  rdtsc
  shl $32,%rdx
  lea (%rdx,%rax),%r14
1: mov (%r12),%rax
  mov 8(%r12),%rdi
  mov 16(%r12),%rsi
  mov 24(%r12),%rdx
  mov 32(%r12),%r10
  mov 40(%r12),%r8
  mov 48(%r12),%r9
  ${call}
  dec %r13
  jnz 1b
  mov %rax,%r15
  rdtsc
  shl $32,%rdx
  or %rdx,%rax
  sub %r14,%rax`;

const inside = assemble(`
  lea _start+${AT.DATA + 0x3000 - AT.CODE}(%rip),%rsp
  cmp $${CALLS},%rdx
  je 2f
  mov %rdi,%r12
  mov %rsi,%rbx
  mov $1,%r13d
  ${loop('call *%rbx')}
  mov %r15,%rdi
  ${enclu(4)}
2: mov %rdi,%r12
  mov %rsi,%rbx
  mov %rdx,%r13
  ${loop('call *%rbx')}
  mov %rax,%rdi
  ${enclu(4)}`);

/** Reads calls from its input (56 bytes each), and writes the cycles of one of each, the median of its batches. */
const OUTSIDE = `
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <x86intrin.h>
static int order(const void *a, const void *b) { return *(const long *)a < *(const long *)b ? -1 : 1; }
static struct { char data[32768]; int fd; short events, revents; } memory;
static long make(const uint64_t *c) {
  register uint64_t r10 __asm__("r10") = c[4], r8 __asm__("r8") = c[5], r9 __asm__("r9") = c[6];
  long result;
  __asm__ volatile("syscall" : "=a"(result) : "a"(c[0]), "D"(c[1]), "S"(c[2]), "d"(c[3]), "r"(r10), "r"(r8), "r"(r9)
    : "rcx", "r11", "memory");
  return result;
}
int main(void) {
  uint64_t call[7];
  memory.fd = 3;
  memory.events = 1;
  while (fread(call, 56, 1, stdin) == 1) {
    for (int i = 1; i < 7; i++) if (call[i] >> 32 == 0x7777) call[i] = (uint64_t)&memory + (uint32_t)call[i];
    long cycles[${BATCHES}];
    for (int b = 0; b < ${BATCHES}; b++) {
      uint64_t start = __rdtsc();
      for (int i = 0; i < ${CALLS}; i++) make(call);
      cycles[b] = (long)(__rdtsc() - start) / ${CALLS};
    }
    qsort(cycles, ${BATCHES}, sizeof(long), order);
    printf("%ld %ld\\n", cycles[${BATCHES} / 2], make(call));
  }
}`;

const zero = openSync('/dev/zero', 'r');
const nothing = openSync('/dev/null', 'w');
const counter = eventfd(1);
const file = memfdCreate('file', { size: 65536 });
const [one] = socketpair();
const libc = loadLibrary('libc.so.6');
const epoll = libc.func('int epoll_create1(int flags)')(0);
// struct epoll_event: ready for reading, and data.
libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)')(
  epoll,
  1,
  counter,
  Uint8Array.of(1, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0),
);
const memory = (offset) => (0x7777n << 32n) | BigInt(offset);
// Each of these descriptors is `fd` there, and what it was granted as here.
const SUBJECTS = [
  ['read of 8 bytes', zero, (fd) => [0, fd, memory(0), 8]],
  ['read of 16 KiB', file, (fd) => [17, fd, memory(0), 16384, 0]],
  ['write of 8 bytes', nothing, (fd) => [1, fd, memory(0), 8]],
  ['write of 16 KiB', file, (fd) => [18, fd, memory(0), 16384, 0]],
  ['recvfrom with nothing there (EAGAIN)', one, (fd) => [45, fd, memory(0), 8, 0x40, 0, 0]],
  ['futex wake of nobody', zero, () => [202, memory(0), 129, 1]],
  ['epoll_wait with an event there', epoll, (fd) => [232, fd, memory(0), 16, 0]],
  ['poll of a ready descriptor', counter, (fd) => [7, memory(32768), 1, 0, fd]],
];

const machine = new BenchMachine();
const calls = new SystemCalls(machine, { code: inside });
const folder = mkdtempSync(join(tmpdir(), 'nsgx-bench-'));
try {
  writeFileSync(join(folder, 'a.c'), OUTSIDE);
  execFileSync('gcc', ['-O2', '-o', join(folder, 'a'), join(folder, 'a.c')]);
  for (const [name, fd, make] of SUBJECTS) {
    const granted = calls.grant(fd).number;
    calls.words(32768, [BigInt(granted) | (1n << 32n)]);
    const here = make(granted).map((a) => (typeof a === 'bigint' ? calls.at(Number(a & 0xffffffffn)) : a));
    const first = calls.call(here[0], here.slice(1));
    const { gate } = calls.enclave;
    const cycles = median(
      Array.from({ length: BATCHES }, () => {
        gate.setRegisters({ rdx: CALLS });
        gate.enter(machine.base + 0xc0_0000, 0x4100_0000);
        return Number(gate.exit(1).rdi) / CALLS;
      }),
    );
    gate.setRegisters({ rdx: 0 });
    const words = new BigUint64Array(7);
    make(3).forEach((a, i) => {
      words[i] = BigInt(a);
    });
    const { stdout } = spawnSync(join(folder, 'a'), {
      input: new Uint8Array(words.buffer),
      stdio: ['pipe', 'pipe', 'inherit', fd],
    });
    const [outside, result] = stdout.toString().split(' ').map(Number);
    if (result !== first) throw new Error(`${name}: ${first} inside, ${result} natively`);
    console.log(
      `${name.padEnd(40)} ${cycles.toFixed(0).padStart(7)} cycles inside, ${String(outside).padStart(7)} natively`,
    );
  }
} finally {
  rmSync(folder, { recursive: true });
  calls.close();
  machine.close();
  closeSync(zero);
  closeSync(nothing);
}
process.exit(0);
