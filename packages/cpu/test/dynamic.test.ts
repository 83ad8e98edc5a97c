import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { PageRange } from '@nestedsgx/arch';
import { CallPool, close, fstatAllocated, memfdCreate } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';

const PAGE = 4096;
/** First of the pages that come and go. */
const FIRST = 0x40000;
const SEED = Number(process.env.NSGX_SEED ?? 20261122);
const STEPS = Number(process.env.NSGX_FUZZ_STEPS ?? 400);

/** RSI = 0 reads the byte at ELRANGE offset RDI, 1 adds one to it, 2 executes what follows it. */
const probe = assemble(`
  nop
  lea _start-${AT.CODE}(%rip),%rcx
  add %rdi,%rcx
  cmp $1,%esi
  jb 1f
  ja 2f
  incb (%rcx)
1: movzbl (%rcx),%edi
  ${enclu(4)}
2: add $16,%rcx
  jmp *%rcx`);

/** A page with `byte` at its start, and code that leaves the enclave with `number` in RDI. */
function page(byte: number, number: number): Uint8Array {
  const bytes = new Uint8Array(PAGE).fill(0x90);
  bytes[0] = byte;
  bytes.set(assembled(number), 16);
  return bytes;
}
const template = assemble(`mov $0x7f,%edi\n${enclu(4)}`);
function assembled(number: number): Uint8Array {
  const code = template.slice();
  code[1] = number;
  return code;
}

const parameters = {
  tcsOffset: AT.TCS,
  ossa: AT.SSA,
  nssa: 2,
  oentry: AT.CODE,
  ofsbase: AT.DATA,
  ogsbase: AT.DATA + PAGE,
  debugOptIn: false,
  aexNotify: false,
};

/** What an access comes to: the number that the enclave left with, or the vector and error code of its exit. */
function access(enclave: TestEnclave, offset: number, how: number): number | string {
  const exit = enclave.gate.exit(enclave.gate.enter(offset, how));
  if (exit.kind === 'EEXIT') return Number(exit.rdi);
  assert.equal(exit.kind, 'AEX');
  // The frame is given up: the thread starts anew.
  enclave.running.setAdmitted(0, false);
  enclave.running.setThread(0, parameters, 0);
  enclave.running.setAdmitted(0, true);
  return exit.kind === 'AEX' ? `#${exit.vector}` : '';
}

/**
 * The runner's mappings inside the ELRANGE as Linux reports them; null where that is hidden from this user. Neighbours that
 * differ by being locked in memory count as one.
 */
function linuxMappings(enclave: TestEnclave, size: number = AT.SIZE): { at: number; prot: string }[] | null {
  let text: string;
  try {
    text = readFileSync(`/proc/${enclave.running.pid}/maps`, 'utf8');
  } catch {
    return null;
  }
  return text
    .split('\n')
    .map((line) => /^([0-9a-f]+)-[0-9a-f]+ (...)/.exec(line))
    .filter((match) => match !== null)
    .map((match) => ({ at: Number.parseInt(match[1]!, 16) - enclave.base, prot: match[2]! }))
    .filter(({ at }) => at >= 0 && at < size)
    .filter(({ prot }, i, all) => prot !== all[i - 1]?.prot);
}

function random(seed: number): (limit: number) => number {
  let x = seed >>> 0 || 1;
  return (limit) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % limit;
  };
}

interface Model {
  /** Mapped with these rights, or not at all. */
  rights: { w: boolean; x: boolean } | null;
  /** W taken by writeProtect. */
  held: boolean;
  byte: number;
  number: number;
}

for (const userfault of [true, false])
  test(`what threads can do follows the monitor’s orders (userfaultfd: ${userfault})`, (t) => {
    const machine = new BenchMachine({ userfault });
    try {
      if (userfault && !machine.processor.facts().userfault) return t.skip('no userfaultfd here');
      const enclave = machine.start({ code: probe });
      const { running, memory } = enclave;
      const next = random(SEED);
      const pages: Model[] = Array.from({ length: 24 }, () => ({
        rights: null,
        held: false,
        byte: 0,
        number: -1,
      }));
      const at = (i: number) => FIRST + i * PAGE;
      const log: string[] = [];
      const expected = ({ rights, held, byte, number }: Model, how: number): number | string => {
        if (!rights) return '#14';
        if (how === 0) return byte;
        if (how === 1) return rights.w && !held ? (byte + 1) & 0xff : '#14';
        return rights.x ? (number < 0 ? '#3' : number) : '#14';
      };
      for (let step = 0; step < STEPS; step++) {
        const first = next(pages.length);
        const count = 1 + next(Math.min(4, pages.length - first));
        const range: PageRange = {
          offset: at(first),
          length: count * PAGE,
          r: true,
          w: next(2) > 0,
          x: next(2) > 0,
        };
        const some = pages.slice(first, first + count);
        const mapped = some.every(({ rights }) => rights !== null);
        const absent = some.every(({ rights }) => rights === null);
        const what = next(6);
        log.push(`${step}: ${what} pages ${first}+${count} ${range.w ? 'w' : '-'}${range.x ? 'x' : '-'}`);
        if (absent && what < 3) {
          some.forEach((model, i) => {
            if (next(4) === 0) return;
            model.byte = next(256);
            model.number = next(100);
            memory.write(at(first + i), page(model.byte, model.number));
          });
          running.map(range);
          for (const model of some) Object.assign(model, { rights: { w: range.w, x: range.x }, held: false });
        } else if (mapped && what < 3) {
          running.protect(range);
          for (const model of some) Object.assign(model, { rights: { w: range.w, x: range.x }, held: false });
        } else if (mapped && what === 3) {
          running.unmap(range.offset, range.length);
          for (const model of some) model.rights = null;
        } else if (mapped && what === 4) {
          memory.discard(range.offset, range.length);
          running.unmap(range.offset, range.length, true);
          for (const model of some) Object.assign(model, { rights: null, byte: 0, number: -1 });
        } else if (some.every(({ rights }) => rights?.w)) {
          const on = next(2) > 0;
          running.writeProtect(range.offset, range.length, on);
          for (const model of some) model.held = on;
        }
        for (let look = 0; look < 6; look++) {
          const i = look < 3 ? first + next(count) : next(pages.length);
          const model = pages[i]!;
          const how = next(3);
          if (how === 2 && model.rights && model.number < 0) continue;
          const want = expected(model, how);
          assert.equal(
            access(enclave, at(i), how),
            want,
            `page ${i} how ${how}, seed ${SEED}\n${log.slice(-12).join('\n')}`,
          );
          if (how === 1 && typeof want === 'number') model.byte = want;
          const [byte, , ...rest] = memory.read(at(i), 32);
          assert.equal(byte, model.byte);
          if (model.number >= 0)
            assert.deepEqual(
              Buffer.from(rest.slice(14)),
              Buffer.from(page(0, model.number).subarray(16, 32)),
            );
        }
        const maps = linuxMappings(enclave);
        if (maps) assert.equal(maps.length, running.mappings, log.slice(-12).join('\n'));
      }
      assert.equal(running.lost, null);
      enclave.close();
    } finally {
      machine.close();
    }
  });

const GPRSGX_RAX = PAGE - 184;
const takings: [string, (enclave: TestEnclave) => void][] = [
  ['writeProtect', ({ running }) => running.writeProtect(FIRST, PAGE, true)],
  ['protect', ({ running }) => running.protect({ offset: FIRST, length: PAGE, r: true, w: false, x: false })],
  ['unmap', ({ running }) => running.unmap(FIRST, PAGE)],
];
for (const [name, take] of takings)
  test(`after ${name} not one more write of a busy thread lands, and none was lost`, async (t) => {
    const machine = new BenchMachine();
    const pool = new CallPool(2);
    try {
      if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
      const enclave = machine.start({
        code: assemble(`
          nop
          lea _start+${FIRST - AT.CODE}(%rip),%rcx
          mov (%rcx),%rax
        1: inc %rax
          mov %rax,(%rcx)
          jmp 1b`),
      });
      const { running, memory } = enclave;
      const value = () => Buffer.from(memory.read(FIRST, 8)).readBigUInt64LE();
      running.map({ offset: FIRST, length: PAGE, r: true, w: true, x: false });
      for (let round = 0; round < 30; round++) {
        const before = value();
        const entry = enclave.gate.enterAsync(pool, 2, {});
        while (value() === before) await new Promise((resolve) => setImmediate(resolve));
        take(enclave);
        const after = value();
        const exit = await entry;
        assert.equal(exit.kind === 'AEX' && exit.vector, 14);
        assert.equal(value(), after);
        assert.equal(
          enclave.ssa().getBigUint64(GPRSGX_RAX, true) - 1n,
          after,
          'the last write that was made is there',
        );
        running.setAdmitted(0, false);
        running.setThread(0, parameters, 0);
        running.setAdmitted(0, true);
        if (name === 'unmap') running.map({ offset: FIRST, length: PAGE, r: true, w: true, x: false });
        else running.protect({ offset: FIRST, length: PAGE, r: true, w: true, x: false });
      }
      enclave.close();
    } finally {
      machine.close();
      await pool.close();
    }
  });

test('a code page that is evicted and loaded again works as before, its ENCLU sites included', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    // The second code page leaves with RDI + 1.
    const code = assemble(`
      nop
      jmp 2f
      .org 0x1000
    2: lea 1(%rdi),%rdi
      ${enclu(4)}`);
    const enclave = machine.start({ code });
    const { running, memory } = enclave;
    const at = AT.CODE + PAGE;
    const { patchedSites, mappings } = running;
    assert.equal(patchedSites, 1);
    for (let round = 0; round < 20; round++) {
      assert.equal(enclave.gate.enter(round, 0), EXIT_KIND.EEXIT);
      assert.equal(enclave.gate.responseNumber(0), round + 1);
      running.writeProtect(at, PAGE, true);
      const contents = memory.read(at, PAGE);
      assert.deepEqual(contents, Uint8Array.from({ ...code.slice(PAGE), length: PAGE }), 'architectural');
      memory.discard(at, PAGE);
      running.unmap(at, PAGE, true);
      assert.equal(running.patchedSites, 0);
      const exit = enclave.gate.exit(enclave.gate.enter(round, 0));
      assert.equal(exit.kind === 'AEX' && exit.address, BigInt(enclave.base + at));
      memory.write(at, contents);
      running.map({ offset: at, length: PAGE, r: true, w: false, x: true });
      assert.equal(enclave.gate.resume(), EXIT_KIND.EEXIT);
      assert.equal(enclave.gate.responseNumber(0), round + 1);
      assert.deepEqual([running.patchedSites, running.mappings], [patchedSites, mappings]);
    }
    enclave.close();
  } finally {
    machine.close();
  }
});

test('patches come and go under a thread that executes them', async (t) => {
  const machine = new BenchMachine();
  const pool = new CallPool(2);
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const enclave = machine.start({ code: probe, nssa: 2 });
    const { running, memory } = enclave;
    memory.write(FIRST, page(0, 42));
    const range = { offset: FIRST, length: PAGE, r: true };
    running.map({ ...range, w: false, x: true });
    let over = false;
    let exits = 0;
    const caller = (async () => {
      while (!over) {
        let exit = await enclave.gate.enterAsync(pool, 2, { rdi: FIRST, rsi: 2 });
        while (exit.kind === 'AEX') {
          assert.equal(exit.vector, 14);
          exit = await enclave.gate.enterAsync(pool, 3, {});
        }
        assert.deepEqual([exit.kind, exit.kind === 'EEXIT' && exit.rdi], ['EEXIT', 42n]);
        exits++;
      }
    })();
    for (let round = 0; round < 300; round++) {
      running.protect({ ...range, w: true, x: true });
      assert.equal(running.patchedSites, 1, 'only the probe’s own');
      running.protect({ ...range, w: true, x: false });
      running.protect({ ...range, w: false, x: true });
      assert.equal(running.patchedSites, 2);
      await new Promise((resolve) => setImmediate(resolve));
    }
    over = true;
    await caller;
    assert.ok(exits > 0);
    assert.equal(running.lost, null);
    enclave.close();
  } finally {
    machine.close();
    await pool.close();
  }
});

test('a thousand scattered pages that are evicted and loaded do not split the mappings', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const size = 32 << 20;
    const enclave = machine.start({ code: probe, size });
    const { running, memory } = enclave;
    const first = 0x100000;
    const pages = (size - first) / PAGE;
    running.map({ offset: first, length: size - first, r: true, w: true, x: false });
    const before = running.mappings;
    const next = random(SEED);
    for (let i = 0; i < 1000; i++) {
      const at = first + next(pages) * PAGE;
      running.writeProtect(at, PAGE, true);
      const contents = memory.read(at, PAGE);
      memory.discard(at, PAGE);
      running.unmap(at, PAGE, true);
      if (i % 2 === 0) {
        memory.write(at, contents);
        running.map({ offset: at, length: PAGE, r: true, w: i % 4 === 0, x: false });
      }
    }
    assert.equal(running.mappings, before);
    const maps = linuxMappings(enclave, size);
    if (maps) assert.equal(maps.length, before);
    enclave.close();
  } finally {
    machine.close();
  }
});

test('what a stopped enclave leaves behind are architectural bytes, and discarding them touches nothing else', () => {
  const machine = new BenchMachine();
  try {
    const enclave = machine.start({ code: probe });
    assert.equal(enclave.running.patchedSites, 1);
    enclave.running.stop();
    assert.deepEqual(Buffer.from(enclave.memory.read(AT.CODE, probe.length)), Buffer.from(probe));
    const bystanders = Array.from({ length: 40 }, () => memfdCreate('bystander', { size: 8 * PAGE }));
    enclave.memory.discard(0, AT.SIZE);
    for (const fd of bystanders) {
      assert.equal(fstatAllocated(fd), 0);
      close(fd);
    }
    enclave.close();
  } finally {
    machine.close();
  }
});

test('ENCLU sites anywhere in a large ELRANGE work: by a jump where one reaches, else by a breakpoint', (t) => {
  const machine = new BenchMachine();
  try {
    if (!machine.processor.facts().userfault) return t.skip('no userfaultfd here');
    const size = 2 ** 33;
    const enclave = machine.start({ code: probe, size });
    const { running, memory } = enclave;
    const INT3 = 0xcc;
    const JMP = 0xe9;
    for (const [at, mov, leaf] of [
      [FIRST, JMP, 0x0f],
      [size / 2, 0xb8, INT3],
      [size - PAGE, JMP, 0x0f],
    ] as const) {
      memory.write(at, page(0, 7));
      running.map({ offset: at, length: PAGE, r: true, w: false, x: true });
      assert.equal(access(enclave, at, 2), 7);
      const mapped = memory.readMapped(at + 16 + 5, 6);
      assert.deepEqual([mapped[0], mapped[5]], [mov, leaf], `at ${at}`);
      assert.deepEqual(Buffer.from(memory.read(at, PAGE)), Buffer.from(page(0, 7)));
    }
    enclave.close();
  } finally {
    machine.close();
  }
});
