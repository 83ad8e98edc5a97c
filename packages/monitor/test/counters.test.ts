/** Counts and traces say which enclave, what was refused and by what, and what only the processor sees. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ENCLS, SECS, SGX_CALL, SVSM_CORE, SVSM_PROTOCOL_SGX, secinfoBytes, writeU64 } from '@nestedsgx/arch';
import { CALL_ROWS, ENCLS_LEAVES } from '../src/index.js';
import { transitionCounts } from '../src/stats.js';
import { callOf } from './support/fake-machine.js';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, REG_RW } from './support/world.js';

function pageinfo(w: MonitorWorld, linaddr: number, src: number, secs: number, flags: number): void {
  [linaddr, src, AT.SECINFO, secs].forEach((value, i) => {
    writeU64(w.machine.ram, AT.PAGEINFO + i * 8, BigInt(value));
  });
  w.machine.ram.set(secinfoBytes(flags), AT.SECINFO);
}

/** Two uninitialised enclaves with their SECS in frames 0 and 10. */
function twoEnclaves(): MonitorWorld {
  const w = new MonitorWorld();
  for (const [i, frame] of [0, 10].entries()) {
    const BASEADDR = GOOD_SECS.BASEADDR! + BigInt(i) * GOOD_SECS.SIZE!;
    SECS.encodeInto({ ...GOOD_SECS, BASEADDR }, w.machine.ram, AT.SECS);
    pageinfo(w, 0, AT.SECS, 0, 0);
    assert.equal(w.sgx(ENCLS.ECREATE, AT.PAGEINFO, gpaOf(frame)).rax, 0);
  }
  return w;
}

const leavesOf = (w: MonitorWorld, frame: number) => w.monitor.state.enclaves.get(frame)!.leaves.snapshot();

test('leaves are counted for the enclave whose page they name, also when it goes', () => {
  const w = twoEnclaves();
  pageinfo(w, BASE + 0x1000, AT.PAGE, gpaOf(0), REG_RW);
  w.sgx(ENCLS.EADD, AT.PAGEINFO, gpaOf(1));
  w.sgx(ENCLS.EADD, AT.PAGEINFO, gpaOf(1));
  w.sgx(ENCLS.EEXTEND, gpaOf(0), gpaOf(1) + 256);
  w.sgx(ENCLS.EREMOVE, 0, gpaOf(1));
  w.sgx(ENCLS.EREMOVE, 0, gpaOf(1));
  assert.deepEqual(leavesOf(w, 0), {
    ECREATE: { executed: 1, refused: 0 },
    EADD: { executed: 2, refused: 1 },
    EEXTEND: { executed: 1, refused: 0 },
    EREMOVE: { executed: 1, refused: 0 },
  });
  assert.deepEqual(leavesOf(w, 10), { ECREATE: { executed: 1, refused: 0 } });
  assert.deepEqual(w.monitor.stats().leaves['EREMOVE'], { executed: 2, refused: 0 });
});

test('calls with a structure are counted for the enclave that it names; a bad structure for none', () => {
  const w = twoEnclaves();
  writeU64(w.machine.ram, AT.PAGEINFO, BigInt(gpaOf(10)));
  w.sgx(SGX_CALL.ADD_RANGE, AT.PAGEINFO);
  assert.equal(leavesOf(w, 10)['ADD_RANGE']?.executed, 1);
  assert.equal(w.trace.at(-1)!.enclave, 2);
  for (const operand of [AT.PAGEINFO + 4, 2 ** 52, gpaOf(50)]) {
    w.sgx(SGX_CALL.AUG_RANGE, operand);
    assert.equal(w.trace.at(-1)!.enclave, undefined);
  }
});

test('a refusal is traced with its check, what that requires, and its fault', () => {
  const w = twoEnclaves();
  w.sgx(ENCLS.EEXTEND, gpaOf(0), gpaOf(2));
  const { microseconds, ...fault } = w.trace.at(-1)!;
  assert.ok(microseconds >= 0);
  assert.deepEqual(fault, {
    kind: 'encls',
    name: 'EEXTEND',
    owner: 1,
    operands: [gpaOf(0), gpaOf(2), 0],
    result: `#PF(0x${gpaOf(2).toString(16)})`,
    fault: { vector: 14, errorCode: 0x8001, address: gpaOf(2) },
    check: 'EEXTEND.page-valid',
    requires: 'EPCM(RCX).VALID = 1',
  });
  w.sgx(ENCLS.EEXTEND, gpaOf(0), gpaOf(60));
  assert.equal(w.trace.at(-1)!.deviation, true);
  w.sgx(SGX_CALL.REMOVE_RANGE, gpaOf(0), 1);
  assert.deepEqual([w.trace.at(-1)!.kind, w.trace.at(-1)!.done], ['svsm', 4096]);
  w.sgx(ENCLS.EREMOVE, 0, 2n ** 64n - 4096n);
  assert.equal(w.trace.at(-1)!.operands[1], 2n ** 64n - 4096n, 'exact also beyond 2^53');
});

test('without a hook nothing is timed or made', () => {
  const w = twoEnclaves();
  w.monitor.log = undefined;
  const before = w.trace.length;
  w.machine.list[0].request = callOf(SVSM_PROTOCOL_SGX, SGX_CALL.QUERY, 0n, 0n, 0n);
  assert.equal(w.monitor.serveVcpu(0), true);
  assert.equal(w.trace.length, before);
});

test('exits are named by their cause', () => {
  const aex = new Array<number>(33).fill(0);
  aex[14] = 3;
  aex[6] = 2;
  aex[32] = 1;
  assert.deepEqual(transitionCounts({ eenter: 5, eresume: 4, eexit: 3, aex }), {
    eenter: 5,
    eresume: 4,
    eexit: 3,
    aex: { '#UD': 2, '#PF': 3, interrupt: 1 },
  });
});

test('every call has a row with its operands, and no row is of anything else', () => {
  const names = [...Object.keys(SGX_CALL), ...Object.keys(SVSM_CORE)];
  assert.deepEqual(CALL_ROWS.map(({ name }) => name).sort(), names.sort());
  const leaves = new Set(ENCLS_LEAVES.map(({ name }) => name));
  for (const { name, operands } of CALL_ROWS) {
    assert.ok(!leaves.has(name), name);
    assert.match(operands, /^((RCX|RDX|R8|R9) = [^,=]+(, |$))*$/, name);
  }
});
