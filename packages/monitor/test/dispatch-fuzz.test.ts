import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ADD_RANGE,
  ENCLS,
  EVICT_ENTRY,
  LOAD_ENTRY,
  PT_VA,
  SECS,
  SGX_CALL,
  SVSM,
  SVSM_PROTOCOL_SGX,
  writeU64,
} from '@nestedsgx/arch';
import fc from 'fast-check';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, SIZE, tcsPage } from './support/world.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 300);
const SEED = Number(process.env['NSGX_FUZZ_SEED'] ?? 20_240_211);

// Values that mean something at some operand, values beside them, and any others.
const VA = 10;
const OUT = 0x10_0000;
const places = [
  ...Object.values(AT),
  gpaOf(0),
  gpaOf(1),
  gpaOf(2),
  gpaOf(50),
  gpaOf(VA) + 8,
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
  { weight: 6, arbitrary: fc.integer({ min: 0, max: 0x18 }) },
  { weight: 5, arbitrary: fc.integer({ min: 0x100, max: 0x10d }) },
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
  help: fc.constantFrom(
    ...(['none', 'none', 'ecreate', 'eadd', 'eadd', 'tcs', 'range', 'list', 'list', 'list'] as const),
    ...(['paging', 'epa', 'block', 'ewb', 'ewb', 'eld', 'eld', 'evict', 'load', 'pte'] as const),
  ),
  /** Whether the call is the one that the help is for. */
  aim: fc.boolean(),
  frame: fc.integer({ min: 0, max: 5 }),
  slot: fc.integer({ min: 0, max: 2 }),
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
  /** PAGEINFO for a slot of the version array, each with a place in RAM of its own. */
  const slotinfo = (linaddr: number, secs: number) => {
    [linaddr, OUT + r.slot * 4096, OUT + 0x8000 + r.slot * 128, secs].forEach((v, i) => {
      writeU64(ram, AT.PAGEINFO + i * 8, BigInt(v));
    });
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
  if (r.help === 'ewb') slotinfo(0, 0);
  if (r.help === 'eld') slotinfo(r.linaddr, gpaOf(0));
  if (r.help === 'evict' || r.help === 'load')
    for (let i = 0; i < 3; i++) {
      const slot = (r.slot + i) % 3;
      const entry = {
        FRAME: BigInt(gpaOf(2 + slot)),
        VASLOT: BigInt(gpaOf(VA) + slot * 8),
        SRCPGE: BigInt(OUT + slot * 4096),
        PCMD: BigInt(OUT + 0x8000 + slot * 128),
      };
      const LINADDR = BigInt(r.linaddr + i * 4096);
      if (r.help === 'evict') EVICT_ENTRY.encodeInto(entry, ram, AT.ARGS + i * EVICT_ENTRY.size);
      else LOAD_ENTRY.encodeInto({ ...entry, LINADDR }, ram, AT.ARGS + i * LOAD_ENTRY.size);
    }
  if (r.help === 'pte')
    for (let i = 0; i < 3; i++) writeU64(ram, AT.ARGS + i * 8, BigInt(r.linaddr + i * 4096 + r.frame));
  if (r.help === 'list') {
    ram.set([2, 0, 0, 0, 0, 0, 0, 0], AT.ARGS);
    writeU64(ram, AT.ARGS + 8, r.rdx & 0x7_f00dn);
    writeU64(ram, AT.ARGS + 16, r.r8 & 0x7_f00dn);
  }
}

/** A page added, evicted and loaded, so that what follows finds pages in every state; answers as the last call. */
function evictAndBack(w: MonitorWorld, r: Round) {
  w.sgx(ENCLS.EPA, PT_VA, gpaOf(VA));
  help(w, { ...r, help: 'ecreate' });
  w.sgx(ENCLS.ECREATE, AT.PAGEINFO, gpaOf(0));
  const frame = gpaOf(2 + r.slot);
  help(w, { ...r, help: 'eadd' });
  w.sgx(ENCLS.EADD, AT.PAGEINFO, frame);
  w.sgx(ENCLS.EBLOCK, 0, frame);
  w.sgx(ENCLS.ETRACK, 0, gpaOf(0));
  help(w, { ...r, help: 'ewb' });
  const out = w.sgx(ENCLS.EWB, AT.PAGEINFO, frame, gpaOf(VA) + r.slot * 8);
  if (r.frame % 2 === 0) return out;
  help(w, { ...r, help: 'eld' });
  return w.sgx(ENCLS.ELDU, AT.PAGEINFO, frame, gpaOf(VA) + r.slot * 8);
}

/** The call of a round: as drawn, or the one that its help is for. */
function callOf(w: MonitorWorld, r: Round) {
  const frame = gpaOf(r.frame);
  if (r.aim) {
    if (r.help === 'ecreate') return w.sgx(0, AT.PAGEINFO, gpaOf(0));
    if (r.help === 'eadd' || r.help === 'tcs') return w.sgx(1, AT.PAGEINFO, frame);
    if (r.help === 'range') return w.sgx(SGX_CALL.ADD_RANGE, AT.ARGS);
    if (r.help === 'list') return w.call(0, r.frame % 2 === 0 ? 4 : 5, AT.ARGS);
    const slot = gpaOf(VA) + r.slot * 8;
    if (r.help === 'epa') return w.sgx(ENCLS.EPA, PT_VA, gpaOf(VA + (r.frame % 2)));
    if (r.help === 'block')
      return r.frame % 3 === 0 ? w.sgx(ENCLS.ETRACK, 0, gpaOf(0)) : w.sgx(ENCLS.EBLOCK, 0, frame);
    if (r.help === 'ewb') return w.sgx(ENCLS.EWB, AT.PAGEINFO, frame, slot);
    if (r.help === 'eld')
      return w.sgx(r.frame % 2 === 0 ? ENCLS.ELDU : ENCLS.ELDBC, AT.PAGEINFO, frame, slot);
    if (r.help === 'evict') return w.sgx(SGX_CALL.EVICT, gpaOf(0), AT.ARGS, 1 + (r.frame % 3));
    if (r.help === 'load') {
      evictAndBack(w, { ...r, frame: 0 });
      help(w, r);
      return w.sgx(SGX_CALL.LOAD, gpaOf(0), AT.ARGS, 1 + (r.frame % 3));
    }
    if (r.help === 'pte') return w.sgx(SGX_CALL.SET_PTE, gpaOf(0), AT.ARGS, 3);
    if (r.help === 'paging') return evictAndBack(w, r);
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
      assert.equal(w.monitor.state.enclaves.size + w.monitor.state.evictedEnclaves.size, 0);
      assert.equal(w.monitor.state.versions.count, 0);
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
      'EPA:ok',
      'EBLOCK:ok',
      'ETRACK:ok',
      'EWB:ok',
      'ELDU:ok',
      'ELDU:SGX_',
      'ELDBC:ok',
      'EVICT:ok',
      'LOAD:ok',
      'SET_PTE:ok',
      'ERDINFO:ok',
      'QUOTE:SVSM',
    ])
      assert.ok(calls.has(name), `${name} was never reached: ${[...calls].sort().join(' ')}`);
  }
});
