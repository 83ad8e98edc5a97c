import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CallPool } from '@nestedsgx/os';
import { MAX_OUTSIDE_MAPS, RUNNER_MEMORY } from '../src/layout/memory.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';
import { GuestEnclave, GuestTables, PTE, USER, WAKE_WORD_GPA } from './guest-tables.js';
import { seeded } from './seeded.js';

const PAGE = 4096;
const MIB = 2 ** 20;
const APP = 0x5555_5555_4000;
const DATA = 0x40_0000;
const SEED = Number(process.env.NSGX_SEED ?? 20261123);
const random = seeded(SEED);
/** Adds RSI to the word at the absolute address RDI, and returns what is there then; 0: only reads. */
const peek = assemble(`
  nop
  test %esi,%esi
  jz 1f
  lock addl %esi,(%rdi)
1: movl (%rdi),%edi
  ${enclu(4)}`);

type Seen = { value: number } | { fault: number; address: number };

interface Bench {
  machine: BenchMachine;
  tables: GuestTables;
  guest: GuestEnclave;
  see(address: number, add?: number): Seen;
}

function withGuest(levels: 4 | 5, run: (bench: Bench) => void): void {
  const machine = new BenchMachine({ vm: { wakeWord: wakeWord() } });
  try {
    const tables = new GuestTables(machine, levels);
    const guest = new GuestEnclave(machine, tables, { code: peek, nssa: 4 });
    const see = (address: number, add = 0): Seen => {
      const { gate } = guest.enclave;
      const exit = gate.exit(gate.enter(address, add));
      if (exit.kind === 'EEXIT') return { value: Number(exit.rdi) };
      assert.equal(exit.kind, 'AEX');
      assert.equal('vector' in exit && exit.vector, 14);
      guest.enclave.forgetExits();
      return {
        fault: 'errorCode' in exit ? exit.errorCode : -1,
        address: 'address' in exit ? Number(exit.address) : -1,
      };
    };
    run({ machine, tables, guest, see });
    guest.enclave.close();
  } finally {
    machine.close();
  }
}

/** Where BenchMachine will map guest RAM of this process. */
function wakeWord(): number {
  return 0x1000_0000_0000 + (10 + (process.pid % 40)) * 2 ** 40 + WAKE_WORD_GPA;
}

for (const levels of [4, 5] as const)
  test(`an enclave sees its process’ pages of every size, ${levels} levels, both ways`, () => {
    withGuest(levels, ({ tables, see }) => {
      const words = new Int32Array(tables.bytes.buffer, tables.bytes.byteOffset, tables.bytes.length / 4);
      tables.set(APP, DATA);
      words[(DATA + 8) / 4] = 41;
      assert.deepEqual(see(APP + 8), { value: 41 });
      assert.deepEqual(see(APP + 8, 1), { value: 42 });
      assert.equal(words[(DATA + 8) / 4], 42, 'what the enclave writes is in guest RAM');
      words[(DATA + 8) / 4] = 7;
      assert.deepEqual(see(APP + 8), { value: 7 }, 'and the other way, through the mapping there is');
      tables.set(0x7fff_0020_0000, 0x20_0000, USER, 2);
      words[(0x20_0000 + 0x12_3458) / 4] = 5;
      assert.deepEqual(see(0x7fff_0032_3458, 3), { value: 8 });
      // A page of 1 GiB is larger than this guest's RAM: what lies in RAM of it can be used, and no more.
      tables.set(0x7e00_0000_0000, 0, USER, 3);
      assert.deepEqual(see(0x7e00_0000_0000 + DATA + 8), { value: 7 });
      assert.ok('fault' in see(0x7e00_0000_0000 + 16 * MIB));
    });
  });

test('rights of every level count; writing needs a dirty page', () => {
  withGuest(4, ({ tables, see }) => {
    const page = (n: number) => APP + n * 2 * PAGE;
    tables.set(page(0), DATA, USER & ~PTE.P);
    assert.deepEqual(see(page(0)), { fault: 4, address: page(0) });
    tables.set(page(1), DATA, USER & ~PTE.U);
    assert.ok('fault' in see(page(1)), 'the kernel’s own');
    tables.set(page(2), DATA, USER & ~PTE.W);
    assert.ok('value' in see(page(2) + 12));
    assert.deepEqual(see(page(2) + 12, 1), { fault: 7, address: page(2) + 12 });
    tables.set(page(3), DATA, USER & ~PTE.D);
    assert.ok('value' in see(page(3)));
    assert.ok('fault' in see(page(3), 1), 'nobody would know that it is dirty');
    tables.set(page(3), DATA, USER);
    assert.ok('value' in see(page(3), 1), 'once the kernel has made it so, it is mapped anew');
    tables.set(page(4), DATA, USER | PTE.NX);
    assert.ok('value' in see(page(4), 1), 'memory outside is data only');
    const above = tables.entry(APP, 3);
    tables.words[above] = tables.words[above]! & ~PTE.W;
    tables.set(page(5), DATA, USER);
    assert.ok('value' in see(page(5)));
    assert.ok('fault' in see(page(5), 1), 'a table without W');
    tables.words[above] = tables.words[above]! & ~PTE.U;
    tables.set(page(6), DATA, USER);
    assert.ok('fault' in see(page(6)), 'a table without U');
  });
});

test(`tables that lead nowhere, in circles or out of RAM are page faults, and nothing else (seed ${SEED})`, () => {
  withGuest(4, ({ machine, tables, see }) => {
    const far = 0x7ffd_0000_0000;
    tables.words[tables.entry(far, 4)] = BigInt(tables.root) | USER; // the root, again and again
    assert.ok('fault' in see(far));
    for (const gpa of [machine.ram.length, 2 ** 40, 0xf_ffff_ffff_f000]) {
      tables.words[tables.entry(far, 3)] = BigInt(gpa) | USER;
      assert.ok('fault' in see(far), `table at ${gpa.toString(16)}`);
      tables.set(APP, gpa);
      assert.ok('fault' in see(APP), `page at ${gpa.toString(16)}`);
    }
    tables.words[tables.entry(0x100_0000_0000, 4)] = USER | PTE.PS;
    assert.ok('fault' in see(0x100_0000_0000), 'no page is that large');
    // The runner's own addresses and those of the enclave are not the guest's to give.
    for (const address of [
      RUNNER_MEMORY.IMAGE,
      RUNNER_MEMORY.THREADS,
      0x4000_0000,
      RUNNER_MEMORY.END - PAGE,
    ]) {
      tables.set(address, DATA);
      const before = see(address);
      if ('value' in before) assert.notEqual(before.value, 0x5a5a_5a5a);
    }
    for (let round = 0; round < 300; round++) {
      const table = tables.root + PAGE * (random() % 8);
      tables.words[table / 8 + (random() % 512)] =
        (BigInt(random()) << 32n) | BigInt(random()) | (random() & 1 ? USER : 0n);
      see((random() % 0x7fff) * 2 ** 32 + (random() % 2 ** 30) * 4);
    }
  });
});

test('what the guest takes back is gone, also under threads that use it, and comes again on the next touch', async () => {
  const machine = new BenchMachine({ vm: { wakeWord: wakeWord() } });
  const pool = new CallPool(4);
  try {
    const tables = new GuestTables(machine);
    // Adds one to the word at RDI until the word at RDI + 8 is not 0, and returns how often.
    const code = assemble(`
      nop
      xor %edx,%edx
    1: lock incl (%rdi)
      inc %edx
      cmpl $0,8(%rdi)
      je 1b
      mov %edx,%edi
      ${enclu(4)}`);
    const guest = new GuestEnclave(machine, tables, { code, threads: 2, nssa: 4 });
    const words = new Int32Array(tables.bytes.buffer, tables.bytes.byteOffset, tables.bytes.length / 4);
    const places = [DATA, DATA + 64 * PAGE];
    tables.set(APP, places[0]!);
    const runs = guest.enclave.gates.map((gate) => gate.enterAsync(pool, 2, { rdi: BigInt(APP) as never }));
    let total = 0;
    let faults = 0;
    for (let round = 1; round <= 200; round++) {
      const to = places[round % 2]!;
      guest.invalidate(machine, APP, APP + PAGE, () => {
        // Nobody writes to the old page any more: what is there now moves, as a kernel would move a page.
        const from = places[(round + 1) % 2]! / 4;
        const value = words[from]!;
        words[to / 4] = value;
        const until = performance.now() + 0.2;
        while (performance.now() < until);
        assert.equal(words[from], value, 'a write after it was taken back');
        tables.set(APP, to);
      });
      const until = performance.now() + 0.3;
      while (performance.now() < until);
    }
    for (const place of places) words[(place + 8) / 4] = 1;
    for (const [i, run] of runs.entries()) {
      let exit = await run;
      while (exit.kind === 'AEX') {
        faults++;
        exit = await guest.enclave.gates[i]!.enterAsync(pool, 3);
      }
      assert.equal(exit.kind, 'EEXIT');
      if ('rdi' in exit) total += Number(exit.rdi);
    }
    assert.equal(words[places[0]! / 4], total, `every write is there once (${faults} faults)`);
    guest.enclave.close();
  } finally {
    machine.close();
    await pool.close();
  }
});

test('a refused system call behind a page fault outside is #UD, and no page fault', () => {
  const machine = new BenchMachine({ vm: { wakeWord: wakeWord() } });
  try {
    const tables = new GuestTables(machine);
    const code = assemble(`
      nop
      movl (%rdi),%esi
      mov $39,%eax
      syscall
      ${enclu(4)}`);
    const guest = new GuestEnclave(machine, tables, { code });
    tables.set(APP, DATA);
    const exit = guest.enclave.gate.exit(guest.enclave.gate.enter(APP, 0));
    assert.equal(exit.kind, 'AEX');
    assert.equal('vector' in exit && exit.vector, 6);
    guest.enclave.close();
  } finally {
    machine.close();
  }
});

test('more scattered pages than mappings are allowed: all go, and all come again', () => {
  withGuest(4, ({ tables, guest, see }) => {
    for (let i = 0; i < 600; i++) tables.set(APP + i * 2 * PAGE, DATA + (i % 64) * PAGE);
    for (let i = 0; i < 600; i++) assert.ok('value' in see(APP + i * 2 * PAGE));
    assert.ok(guest.mapped > 0 && guest.mapped <= MAX_OUTSIDE_MAPS);
    Atomics.store(guest.revokeWords, 72 / 4, MAX_OUTSIDE_MAPS);
    tables.set(APP + 601 * 2 * PAGE, DATA);
    assert.ok('value' in see(APP + 601 * 2 * PAGE));
    assert.ok(guest.mapped < 10, 'counted anew');
    for (let i = 0; i < 20; i++) assert.ok('value' in see(APP + i * 2 * PAGE));
  });
});

test('EENTER has the address behind the ENCLU in RCX; EEXIT brings every register back', () => {
  const machine = new BenchMachine({ vm: { wakeWord: wakeWord() } });
  try {
    const tables = new GuestTables(machine);
    const code = assemble(`
      nop
      mov %rcx,%rdi
      mov %r12,%rsi
      mov $0x1234567,%r13
      mov %rdi,%rbx
      lea -256(%rsp),%rsp
      lea 16(%rbp),%rbp
      ${enclu(4)}`);
    const gates = machine.nextGate;
    const guest = new GuestEnclave(machine, tables, { code, nssa: 2 });
    const put = (at: number, value: bigint) => {
      tables.words[(gates + at) / 8] = value;
    };
    put(256, 0x5555_1234n);
    put(280, 0xabcdefn);
    put(48, 0x7ffc_0000_1000n);
    put(56, 0x7ffc_0000_2000n);
    const { gate } = guest.enclave;
    const exit = gate.exit(gate.enter(1, 2));
    assert.equal(exit.kind, 'EEXIT');
    const get = (at: number) => tables.words[(gates + at) / 8];
    assert.equal(get(72), 0x5555_1234n, 'RDI: what was in RCX');
    assert.equal(get(80), 0xabcdefn, 'RSI: what was in R12');
    assert.equal(get(112), 0x5555_1234n, 'RBX: where to go on');
    assert.equal(get(384), 0x7ffc_0000_1000n - 256n, 'RSP');
    assert.equal(get(392), 0x7ffc_0000_2000n + 16n, 'RBP');
    assert.equal(get(432), 0x1234567n, 'R13');
    guest.enclave.close();
    assert.equal(AT.SIZE, 0x100000);
  } finally {
    machine.close();
  }
});
