import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ENCLS,
  EVICT_ENTRY,
  LOAD_ENTRY,
  PT_VA,
  SECS,
  SGX_CALL,
  SVSM,
  secinfoBytes,
  signSigstruct,
  writeU64,
} from '@nestedsgx/arch';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, REG_RW, signer, TCS_FLAGS, tcsPage } from './support/world.js';

const VA = 20;
const OUT = 0x10_0000;
const OK = { rax: 0, rcx: 0, rdx: 0, r8: 0 };
const CF = 1;
const ZF = 64;

function pageinfo(w: MonitorWorld, linaddr: number, src: number, secinfo: number, secs: number): void {
  [linaddr, src, secinfo, secs].forEach((v, i) => {
    writeU64(w.machine.ram, AT.PAGEINFO + i * 8, BigInt(v));
  });
}

/** A running debug enclave of connection 1 in frames 0…4, and a version array. */
function launched() {
  const w = new MonitorWorld();
  const secs = { ...GOOD_SECS, ATTRIBUTES: { FLAGS: 6n, XFRM: 3n } };
  w.machine.ram.set(SECS.encode(secs), AT.SECS);
  w.machine.ram.set(secinfoBytes(0), AT.SECINFO);
  pageinfo(w, 0, AT.SECS, AT.SECINFO, 0);
  assert.deepEqual(w.sgx(ENCLS.ECREATE, AT.PAGEINFO, gpaOf(0)), OK);
  for (let frame = 1; frame <= 4; frame++) {
    w.machine.ram.set(frame === 1 ? tcsPage() : new Uint8Array(4096), AT.PAGE);
    w.machine.ram.set(secinfoBytes(frame === 1 ? TCS_FLAGS : REG_RW), AT.SECINFO);
    pageinfo(w, BASE + frame * 4096, AT.PAGE, AT.SECINFO, gpaOf(0));
    assert.deepEqual(w.sgx(ENCLS.EADD, AT.PAGEINFO, gpaOf(frame)), OK);
  }
  assert.deepEqual(w.sgx(SGX_CALL.BIND_GATES, gpaOf(0), AT.GATES, 1), OK);
  const enclave = w.monitor.state.enclaves.get(0)!;
  const sig = signSigstruct(
    { ENCLAVEHASH: enclave.measurement.digest(), ATTRIBUTES: { FLAGS: 6n, XFRM: 3n } },
    signer(),
  );
  w.machine.ram.set(sig, AT.SIGSTRUCT);
  w.machine.ram.fill(0, AT.TOKEN, AT.TOKEN + 304);
  assert.deepEqual(w.sgx(ENCLS.EINIT, AT.SIGSTRUCT, gpaOf(0), AT.TOKEN), OK);
  assert.deepEqual(w.sgx(ENCLS.EPA, PT_VA, gpaOf(VA)), OK);
  return { w, enclave, running: w.processor.running[0]! };
}

/** Entry i of EVICT or LOAD for frame 1 + i. */
function lists(w: MonitorWorld, count: number): void {
  for (let i = 0; i < count; i++) {
    const entry = {
      FRAME: BigInt(gpaOf(1 + i)),
      VASLOT: BigInt(gpaOf(VA) + i * 8),
      SRCPGE: BigInt(OUT + i * 4096),
      PCMD: BigInt(OUT + 0x8_0000 + i * 128),
    };
    EVICT_ENTRY.encodeInto(entry, w.machine.ram, OUT + 0x9_0000 + i * EVICT_ENTRY.size);
    const LINADDR = BigInt(BASE + (1 + i) * 4096);
    LOAD_ENTRY.encodeInto({ ...entry, LINADDR }, w.machine.ram, OUT + 0xa_0000 + i * LOAD_ENTRY.size);
  }
}

const evict = (w: MonitorWorld, count: number) => w.sgx(SGX_CALL.EVICT, gpaOf(0), OUT + 0x9_0000, count);
const load = (w: MonitorWorld, count: number) => w.sgx(SGX_CALL.LOAD, gpaOf(0), OUT + 0xa_0000, count);

test('answers of leaves carry flags and output', () => {
  const { w } = launched();
  assert.deepEqual(w.sgx(ENCLS.EDBGWR, 0xfedc_ba98_7654_3210n, gpaOf(4)), OK);
  const read = w.sgx(ENCLS.EDBGRD, 0, gpaOf(4));
  assert.deepEqual(read, { ...OK, rdx: Number(0xfedc_ba98_7654_3210n) });
  assert.deepEqual(w.sgx(ENCLS.EBLOCK, 0, gpaOf(4)), OK);
  assert.deepEqual(w.sgx(ENCLS.EBLOCK, 0, gpaOf(4)), { ...OK, rcx: 3, r8: CF });
  assert.deepEqual(w.sgx(ENCLS.EBLOCK, 0, gpaOf(9)), { ...OK, rcx: 6, r8: ZF });
});

test('EVICT, LOAD and SET_PTE answer with a code and how far they came', () => {
  const { w, enclave, running } = launched();
  lists(w, 4);
  running.enter(0);
  assert.deepEqual(evict(w, 4), { ...OK, rcx: 11, rdx: 0, r8: ZF });
  running.enter(0, false);
  assert.deepEqual(evict(w, 4), { ...OK, rdx: 4 });
  const stats = w.monitor.stats().enclaves[0]!;
  assert.deepEqual([stats.pages, stats.paging.evicted, stats.paging.refused], [0, 4, 1]);
  w.machine.ram[OUT + 0x8_0000 + 2 * 128 + 112]! ^= 1;
  assert.deepEqual(load(w, 4), { ...OK, rcx: 9, rdx: 2, r8: ZF });
  w.machine.ram[OUT + 0x8_0000 + 2 * 128 + 112]! ^= 1;
  assert.equal(load(w, 4).rax, SVSM.PROTOCOL_BASE + 14, 'the first two are there already');
  assert.deepEqual(w.sgx(SGX_CALL.LOAD, gpaOf(0), OUT + 0xa_0000 + 2 * LOAD_ENTRY.size, 2), {
    ...OK,
    rdx: 2,
  });
  writeU64(w.machine.ram, AT.ARGS, BigInt(BASE + 0x4000 + 1));
  assert.deepEqual(w.sgx(SGX_CALL.SET_PTE, gpaOf(0), AT.ARGS, 1), { ...OK, rdx: 1 });
  assert.deepEqual([running.rights.get(0x4000), enclave.children], ['r', 4]);
  // Lists of others, and none.
  assert.equal(w.sgx(SGX_CALL.EVICT, gpaOf(0), OUT + 0x9_0000, 1, 1).rax, SVSM.INVALID_PARAMETER);
  assert.equal(evict(w, 513).rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.sgx(SGX_CALL.LOAD, gpaOf(0), gpaOf(3), 1).rax, SVSM.PROTOCOL_BASE + 14);
  w.monitor.checkInvariants();
});

/** As launched, with everything evicted but the version array. */
function allOut() {
  const all = launched();
  lists(all.w, 4);
  assert.equal(evict(all.w, 4).rdx, 4);
  pageinfo(all.w, 0, OUT + 0xb_0000, OUT + 0xb_1000, 0);
  assert.deepEqual(all.w.sgx(ENCLS.EWB, AT.PAGEINFO, gpaOf(0), gpaOf(VA) + 64), OK);
  return all;
}

test('an enclave whose SECS is out is shown, and cannot be called upon', () => {
  const { w, enclave } = allOut();
  const [stats] = w.monitor.stats().enclaves;
  assert.deepEqual([stats!.id, stats!.state, stats!.pages], [enclave.id, 'evicted', 0]);
  for (const call of [SGX_CALL.ENCLAVE_STATUS, SGX_CALL.KICK, SGX_CALL.EVICT, SGX_CALL.LOAD])
    assert.equal(w.sgx(call, gpaOf(0), 0, 1).rax, SVSM.INVALID_PARAMETER);
  w.monitor.checkInvariants();
  // It may die meanwhile; then it comes back dead.
  w.monitor.runnerLost(enclave.id, 'killed');
  assert.equal(w.monitor.stats().enclaves[0]!.state, 'lost');
  pageinfo(w, 0, OUT + 0xb_0000, OUT + 0xb_1000, 0);
  assert.deepEqual(w.sgx(ENCLS.ELDU, AT.PAGEINFO, gpaOf(7), gpaOf(VA) + 64), OK);
  assert.equal(w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(7)).rcx, 2);
  w.monitor.checkInvariants();
});

test('detach ends enclaves that are out, and forgets all versions', () => {
  const { w, running } = allOut();
  w.monitor.detach(1);
  const { evictedEnclaves, versions, epcm } = w.monitor.state;
  assert.deepEqual([evictedEnclaves.size, versions.count, epcm.validCount, running.stopped], [0, 0, 0, true]);
  assert.ok(w.processor.memories.every((m) => m.closed));
  w.monitor.checkInvariants();
});

test('what cannot be read or written for want of memory changes nothing', () => {
  const { w, enclave, running } = launched();
  lists(w, 4);
  const { copyOut } = w.machine.guest;
  w.machine.guest.copyOut = () => {
    throw Object.assign(new Error('bus'), { code: 'MACHINE_BUS_ERROR' });
  };
  assert.equal(evict(w, 4).rax, SVSM.BUSY);
  w.machine.guest.copyOut = copyOut;
  assert.deepEqual([enclave.children, running.rights.get(0x4000)], [4, 'rw'], 'writable again');
  w.monitor.checkInvariants();
  assert.equal(evict(w, 4).rdx, 4);
  assert.equal(load(w, 4).rdx, 4);
});
