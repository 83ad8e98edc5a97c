import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ADD_RANGE, SECS, SGX_CALL, SVSM, SVSM_PROTOCOL_SGX, writeU64 } from '@nestedsgx/arch';
import fc from 'fast-check';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, SIZE, tcsPage } from './support/world.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 300);
const SEED = Number(process.env['NSGX_FUZZ_SEED'] ?? 20_240_211);

// Values that mean something at some operand, values beside them, and any others.
const places = [
  ...Object.values(AT),
  gpaOf(0),
  gpaOf(1),
  gpaOf(2),
  gpaOf(50),
  0,
  1,
  2,
  16,
  0x4_0000,
  0x4_1004,
  0x3_0000,
];
const edges = [gpaOf(63), gpaOf(64), 2 ** 53, 0x3f_f000, 0x40_0000, BASE, BASE + SIZE, 0xffff_ffff];
const word = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(...places).map(BigInt) },
  { weight: 2, arbitrary: fc.constantFrom(...edges).map(BigInt) },
  { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }) },
);
const callNumber = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(0, 1, 2, 3, 6) },
  { weight: 5, arbitrary: fc.integer({ min: 0x100, max: 0x109 }) },
  fc.integer({ min: 0, max: 0xffff_ffff }),
);
const protocol = fc.oneof(
  { weight: 8, arbitrary: fc.constant(SVSM_PROTOCOL_SGX) },
  { weight: 3, arbitrary: fc.constant(0) },
  fc.integer({ min: 0, max: 0xffff_ffff }),
);
const poke = fc.record({
  at: fc.integer({ min: 0x2000, max: 0xa000 }),
  bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }),
});
const round = fc.record({
  protocol,
  call: callNumber,
  rcx: word,
  rdx: word,
  r8: word,
  vcpu: fc.constantFrom(0, 0, 0, 1, 2),
  poke: fc.option(poke, { freq: 4 }),
  /** Puts well-formed operands in place first, so that calls get past their first checks. */
  help: fc.constantFrom('none', 'none', 'ecreate', 'eadd', 'eadd', 'tcs', 'range', 'list'),
  /** Whether the call is the one that the help is for. */
  aim: fc.boolean(),
  frame: fc.integer({ min: 0, max: 5 }),
  linaddr: fc.constantFrom(BASE, BASE + 0x1000, BASE + 0x2000, BASE + SIZE),
});

type Round = typeof round extends fc.Arbitrary<infer T> ? T : never;

function help(w: MonitorWorld, r: Round): void {
  const { ram } = w.machine;
  const pageinfo = (linaddr: number, src: number, secs: number, flags: number) => {
    [linaddr, src, AT.SECINFO, secs].forEach((v, i) => {
      writeU64(ram, AT.PAGEINFO + i * 8, BigInt(v));
    });
    ram.fill(0, AT.SECINFO, AT.SECINFO + 64);
    writeU64(ram, AT.SECINFO, BigInt(flags));
  };
  if (r.help === 'ecreate') {
    ram.set(SECS.encode(GOOD_SECS), AT.SECS);
    pageinfo(0, AT.SECS, 0, 0);
  }
  if (r.help === 'eadd') pageinfo(r.linaddr, AT.PAGE, gpaOf(0), 0x203);
  if (r.help === 'tcs') {
    ram.set(tcsPage(), AT.PAGE);
    pageinfo(r.linaddr, AT.PAGE, gpaOf(0), 0x100);
  }
  if (r.help === 'range') {
    pageinfo(0, 0, 0, 0x203);
    const epc = BigInt(gpaOf(2));
    const operand = {
      SECS: BigInt(gpaOf(0)),
      LINADDR: BigInt(r.linaddr),
      SRC: 0x8000n,
      LENGTH: 0x3000n,
      SECINFO: BigInt(AT.SECINFO),
    };
    ram.set(ADD_RANGE.encode({ ...operand, EPC: epc, FLAGS: 1n }), AT.ARGS);
  }
  if (r.help === 'list') {
    ram.set([2, 0, 0, 0, 0, 0, 0, 0], AT.ARGS);
    writeU64(ram, AT.ARGS + 8, r.rdx & 0x7_f00dn);
    writeU64(ram, AT.ARGS + 16, r.r8 & 0x7_f00dn);
  }
}

/** The call of a round: as drawn, or the one that its help is for. */
function callOf(w: MonitorWorld, r: Round) {
  const frame = gpaOf(r.frame);
  if (r.aim) {
    if (r.help === 'ecreate') return w.sgx(0, AT.PAGEINFO, gpaOf(0));
    if (r.help === 'eadd' || r.help === 'tcs') return w.sgx(1, AT.PAGEINFO, frame);
    if (r.help === 'range') return w.sgx(SGX_CALL.ADD_RANGE, AT.ARGS);
    if (r.help === 'list') return w.call(0, r.frame % 2 === 0 ? 4 : 5, AT.ARGS);
    if (r.help === 'none') return r.frame % 2 === 0 ? w.sgx(3, 0, frame) : w.sgx(6, gpaOf(0), frame);
  }
  return w.call(r.protocol, r.call, r.rcx, r.rdx, r.r8, r.vcpu);
}

const KNOWN_RESULTS = new Set<number>(
  [...Object.values(SVSM), 6, 13, 14].map((v) => (v < 256 ? (v > 0 ? SVSM.PROTOCOL_BASE + v : v) : v)),
);

test(`no sequence of requests harms the monitor (seed ${SEED}, ${RUNS} runs)`, () => {
  const calls = new Set<string>();
  fc.assert(
    fc.property(fc.array(round, { minLength: 10, maxLength: 80, size: 'max' }), (rounds) => {
      const w = new MonitorWorld({ log: (event) => calls.add(`${event.name}:${event.result.slice(0, 4)}`) });
      for (const r of rounds) {
        help(w, r);
        if (r.poke !== null) w.machine.ram.set(r.poke.bytes, r.poke.at);
        const answer = callOf(w, r);
        assert.ok(KNOWN_RESULTS.has(answer.rax), `result 0x${answer.rax.toString(16)}`);
        w.monitor.checkInvariants();
      }
      w.monitor.close();
      assert.equal(w.monitor.state.epcm.validCount, 0);
      assert.equal(w.monitor.state.enclaves.size, 0);
      assert.ok(w.processor.memories.every((m) => m.closed));
    }),
    { seed: SEED, numRuns: RUNS },
  );
  if (RUNS >= 300) {
    for (const name of [
      'ECREATE:ok',
      'EADD:ok',
      'EREMOVE:ok',
      'ADD_RANGE:ok',
      'EEXTEND:ok',
      'WITHDRAW_MEM:ok',
      'DEPOSIT_MEM:ok',
      'QUOTE:SVSM',
    ])
      assert.ok(calls.has(name), `${name} was never reached: ${[...calls].sort().join(' ')}`);
  }
});
