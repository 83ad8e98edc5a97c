import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { test } from 'node:test';
import {
  ENCLS,
  ENCLU,
  GATES_DESCRIPTORS,
  parseNestedCertificationData,
  parseQuote3,
  REPORT,
  SECS,
  SGX_CALL,
  SGX_ERROR,
  SVSM,
  SVSM_PROTOCOL_SGX,
  secinfoBytes,
  signSigstruct,
  TARGETINFO,
  writeU64,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { ENCLAVE_STATUS } from '../src/index.js';
import { MonitorWorld } from './support/monitor-world.js';
import { AT, BASE, GOOD_SECS, gpaOf, REG_RW, signer, TCS_FLAGS, tcsPage } from './support/world.js';

const OK = { rax: 0, rcx: 0, rdx: 0, r8: 0 };

function pageinfo(w: MonitorWorld, linaddr: number, src: number, secs: number, flags: number): void {
  [linaddr, src, AT.SECINFO, secs].forEach((v, i) => {
    writeU64(w.machine.ram, AT.PAGEINFO + i * 8, BigInt(v));
  });
  w.machine.ram.set(secinfoBytes(flags), AT.SECINFO);
}

function create(w: MonitorWorld, frame = 0, vcpu = 0) {
  SECS.encodeInto(GOOD_SECS, w.machine.ram, AT.SECS);
  pageinfo(w, 0, AT.SECS, 0, 0);
  return w.sgx(ENCLS.ECREATE, AT.PAGEINFO, gpaOf(frame), 0, vcpu);
}

function add(
  w: MonitorWorld,
  frame: number,
  linaddr: number,
  flags: number,
  page: Uint8Array = new Uint8Array(4096),
  vcpu = 0,
) {
  w.machine.ram.set(page, AT.PAGE);
  pageinfo(w, linaddr, AT.PAGE, gpaOf(0), flags);
  return w.sgx(ENCLS.EADD, AT.PAGEINFO, gpaOf(frame), 0, vcpu);
}

/** An initialized enclave of connection 1 in frames 0…4; data page at BASE + 0x4000. */
function launch(w: MonitorWorld) {
  assert.deepEqual(create(w), OK);
  assert.deepEqual(add(w, 1, BASE + 0x1000, TCS_FLAGS, tcsPage()), OK);
  for (const f of [2, 3, 4]) assert.deepEqual(add(w, f, BASE + f * 4096, REG_RW), OK);
  assert.deepEqual(w.sgx(ENCLS.EEXTEND, gpaOf(0), gpaOf(4)), OK);
  assert.deepEqual(w.sgx(SGX_CALL.BIND_GATES, gpaOf(0), AT.GATES, 1), OK);
  const enclave = w.monitor.state.enclaves.get(0)!;
  const sig = signSigstruct(
    { ENCLAVEHASH: enclave.measurement.digest(), ATTRIBUTES: { FLAGS: 4n, XFRM: 3n }, ISVSVN: 2 },
    signer(),
  );
  w.machine.ram.set(sig, AT.SIGSTRUCT);
  w.machine.ram.fill(0, AT.TOKEN, AT.TOKEN + 304);
  assert.deepEqual(w.sgx(ENCLS.EINIT, AT.SIGSTRUCT, gpaOf(0), AT.TOKEN), OK);
  return { enclave, running: w.processor.running.at(-1)! };
}

test('leaves answer as the protocol says: codes in RCX, faults above 0x80001000 with the refused check', () => {
  const w = new MonitorWorld();
  launch(w);
  const fault = w.sgx(ENCLS.EADD, AT.PAGEINFO + 1, gpaOf(9));
  assert.deepEqual(fault, { rax: SVSM.PROTOCOL_BASE + 13, rcx: 0, rdx: 0, r8: 0 });
  const pf = w.sgx(ENCLS.EREMOVE, 0, 0x5000);
  assert.deepEqual(pf, { rax: SVSM.PROTOCOL_BASE + 14, rcx: 1, rdx: 0x5000, r8: 1 });
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, gpaOf(0)), { rax: 0, rcx: 13, rdx: 0, r8: 64 });
  assert.equal(w.trace.at(-1)!.check, 'EREMOVE.no-children');
  assert.equal(w.trace.at(-1)!.result, 'SGX_CHILD_PRESENT');
  w.monitor.checkInvariants();
});

test('leaves and calls that do not exist are unsupported', () => {
  const w = new MonitorWorld();
  for (const leaf of [0x14, 0x55, 0xff, 0x1ff])
    assert.equal(w.sgx(leaf, AT.PAGEINFO, gpaOf(1)).rax, SVSM.UNSUPPORTED_CALL);
  assert.equal(w.call(0, 99).rax, SVSM.UNSUPPORTED_CALL);
  assert.equal(w.call(2, 0).rax, SVSM.UNSUPPORTED_PROTOCOL);
  assert.equal(w.call(0x1234, 0).rax, SVSM.UNSUPPORTED_PROTOCOL);
});

test('a connection cannot touch what belongs to another, and a stray vCPU nothing', () => {
  const w = new MonitorWorld();
  launch(w);
  for (const answer of [
    w.sgx(ENCLS.EREMOVE, 0, gpaOf(4), 0, 1),
    w.sgx(ENCLS.EEXTEND, gpaOf(0), gpaOf(4), 0, 1),
    add(w, 50, BASE, REG_RW, undefined, 1),
    create(w, 20, 1),
    w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(0), 0, 0, 1),
    w.sgx(SGX_CALL.KICK, gpaOf(0), 0, 0, 1),
    w.sgx(SGX_CALL.BIND_GATES, gpaOf(0), AT.GATES, 1, 1),
    w.sgx(SGX_CALL.AUTHORIZE_PROVISION, gpaOf(0), 0, 0, 1),
    w.sgx(SGX_CALL.REMOVE_RANGE, gpaOf(0), 5, 0, 1),
  ])
    assert.equal(answer.rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.sgx(SGX_CALL.QUERY, 0, 0, 0, 2).rax, SVSM.INVALID_REQUEST);
  w.monitor.checkInvariants();
});

test('STOP ends the execution of an enclave whose threads never leave, so that it can be removed', () => {
  const w = new MonitorWorld();
  create(w);
  assert.equal(w.sgx(SGX_CALL.STOP, gpaOf(0)).rax, SVSM.INVALID_PARAMETER, 'not initialized');
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
  const { running } = launch(w);
  running.inside = true;
  assert.equal(w.sgx(SGX_CALL.REMOVE_RANGE, gpaOf(1), 4).rcx, SGX_ERROR.SGX_ENCLAVE_ACT);
  assert.equal(w.sgx(SGX_CALL.STOP, gpaOf(0), 0, 0, 1).rax, SVSM.INVALID_PARAMETER, 'another connection');
  assert.deepEqual(w.sgx(SGX_CALL.STOP, gpaOf(0)), OK);
  assert.equal(running.stopped, true);
  assert.equal(w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(0)).rcx, ENCLAVE_STATUS.LOST);
  assert.deepEqual(w.sgx(SGX_CALL.STOP, gpaOf(0)), OK, 'again');
  assert.equal(w.sgx(SGX_CALL.REMOVE_RANGE, gpaOf(1), 4).rcx, 0);
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
  w.monitor.checkInvariants();
});

test('QUERY, status, KICK and their refusals', () => {
  const w = new MonitorWorld();
  assert.deepEqual(w.sgx(SGX_CALL.QUERY), { rax: 0, rcx: gpaOf(0), rdx: 64 * 4096, r8: 64 });
  create(w);
  assert.equal(w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(0)).rcx, ENCLAVE_STATUS.UNINITIALIZED);
  assert.equal(w.sgx(SGX_CALL.KICK, gpaOf(0), 0).rax, SVSM.INVALID_PARAMETER);
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
  const { enclave, running } = launch(w);
  assert.equal(w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(0)).rcx, ENCLAVE_STATUS.RUNNING);
  assert.deepEqual(w.sgx(SGX_CALL.KICK, gpaOf(0), 0), OK);
  assert.deepEqual(running.kicks, [0]);
  assert.equal(w.sgx(SGX_CALL.KICK, gpaOf(0), 1).rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.sgx(SGX_CALL.BIND_GATES, gpaOf(0), AT.GATES, 1).rax, SVSM.INVALID_PARAMETER);
  running.lost = 'killed';
  assert.equal(w.monitor.serveRunners(), true);
  assert.deepEqual(w.sgx(SGX_CALL.ENCLAVE_STATUS, gpaOf(0)), { rax: 0, rcx: 2, rdx: 1, r8: 0 });
  assert.equal(w.sgx(SGX_CALL.KICK, gpaOf(0), 0).rax, SVSM.INVALID_REQUEST);
  assert.equal(enclave.lost, 'killed');
  assert.equal(running.stopped, true);
  assert.equal(w.sgx(SGX_CALL.REMOVE_RANGE, gpaOf(1), 4).rcx, 0);
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
  w.monitor.checkInvariants();
});

test('descriptors of the host are for enclaves that ask, on a platform that lets them', () => {
  const bind = (w: MonitorWorld, r9: number) =>
    w.call(SVSM_PROTOCOL_SGX, SGX_CALL.BIND_GATES, gpaOf(0), AT.GATES, 1, 0, r9).rax;
  const w = new MonitorWorld();
  create(w);
  assert.equal(bind(w, GATES_DESCRIPTORS | 3), 0);
  assert.deepEqual(w.monitor.state.enclaves.get(0)!.gates, {
    gpa: AT.GATES,
    count: 1,
    beside: 3,
    descriptors: true,
  });
  assert.equal(bind(w, 2 * GATES_DESCRIPTORS), SVSM.INVALID_PARAMETER);
  assert.equal(bind(w, 0), 0);
  assert.equal(w.monitor.state.enclaves.get(0)!.gates?.descriptors, false);
  const strict = new MonitorWorld({ platform: { hostDescriptors: false } });
  create(strict);
  assert.equal(bind(strict, GATES_DESCRIPTORS), SVSM.INVALID_REQUEST);
  assert.equal(bind(strict, 0), 0);
});

test('gates must lie in guest RAM that VMPL1 has', () => {
  const w = new MonitorWorld();
  create(w);
  const bind = (gpa: number, n: number) => w.sgx(SGX_CALL.BIND_GATES, gpaOf(0), gpa, n).rax;
  assert.equal(bind(gpaOf(5), 1), SVSM.INVALID_ADDRESS);
  assert.equal(bind(AT.GATES + 8, 1), SVSM.INVALID_ADDRESS);
  assert.equal(bind(AT.GATES, 0), SVSM.INVALID_PARAMETER);
  assert.equal(bind(AT.GATES, 5000), SVSM.INVALID_PARAMETER);
  assert.equal(bind(w.machine.ram.length - 4096, 2), SVSM.INVALID_ADDRESS);
  w.machine.denied.add(AT.GATES / 4096 + 1);
  assert.equal(bind(AT.GATES, 2), SVSM.INVALID_ADDRESS);
  assert.equal(bind(AT.GATES, 1), 0);
});

const DATA = BASE + 0x4000;

test('threads get EREPORT and EGETKEY served; other leaves are #GP(0)', () => {
  const w = new MonitorWorld();
  const { enclave, running } = launch(w);
  const request = (leaf: number, rbx = DATA, rcx = DATA + 0x200, rdx = DATA + 0x400) =>
    running.leaves.push({ thread: 0, leaf, rbx: BigInt(rbx), rcx: BigInt(rcx), rdx: BigInt(rdx) });
  assert.equal(w.monitor.serveRunners(), false);
  request(ENCLU.EREPORT);
  request(ENCLU.EGETKEY, DATA, DATA + 0x800);
  request(ENCLU.EENTER);
  request(ENCLU.EACCEPT);
  request(0xffff_ffff);
  request(ENCLU.EREPORT, DATA + 0x200, DATA + 0x200, BASE + 0x8000);
  running.leaves.push({ thread: 0, leaf: 0, rbx: 2n ** 63n, rcx: 0n, rdx: 0n });
  assert.equal(w.monitor.serveRunners(), true);
  const gp = { rax: 0n, zf: false, cf: false, fault: { vector: 13, errorCode: 0, address: 0n } };
  const [report, key, ...rest] = running.results;
  assert.deepEqual(report, { rax: 0n, zf: false, cf: false });
  // An all-zero KEYREQUEST asks for the EINIT token key, which this enclave may not have.
  assert.deepEqual(key, { rax: 2n, zf: true, cf: false });
  assert.deepEqual(rest.slice(0, 3), [gp, gp, gp]);
  assert.deepEqual(rest[3].fault, { vector: 14, errorCode: 6, address: BigInt(BASE + 0x8000) });
  assert.deepEqual(rest[4], gp);
  assert.equal(enclave.memory.read(0x4400, 432).length, 432);
  assert.equal(w.monitor.stats().leaves['EREPORT'].executed, 3);
});

test('a quote verifies under a key bound to the SNP report, carries it, and covers the report', () => {
  const w = new MonitorWorld();
  const { enclave, running } = launch(w);
  assert.deepEqual(w.sgx(SGX_CALL.QE_TARGETINFO, AT.OUT), OK);
  const targetinfo = w.machine.ram.slice(AT.OUT, AT.OUT + TARGETINFO.size);
  enclave.memory.write(0x4000, targetinfo);
  enclave.memory.write(0x4200, new Uint8Array(64).fill(0x42));
  running.leaves.push({
    thread: 0,
    leaf: 0,
    rbx: BigInt(DATA),
    rcx: BigInt(DATA + 0x200),
    rdx: BigInt(DATA + 0x400),
  });
  w.monitor.serveRunners();
  const report = enclave.memory.read(0x4400, REPORT.size);
  w.machine.ram.set(report, AT.PAGE);
  const short = w.sgx(SGX_CALL.QUOTE, AT.PAGE, AT.OUT, 10);
  assert.equal(short.rax, SVSM.INVALID_PARAMETER);
  const answer = w.sgx(SGX_CALL.QUOTE, AT.PAGE, AT.OUT, short.rcx);
  assert.deepEqual(answer, { rax: 0, rcx: short.rcx, rdx: 0, r8: 0 });
  const bytes = w.machine.ram.slice(AT.OUT, AT.OUT + answer.rcx);
  const quote = parseQuote3(bytes);
  assert.deepEqual(quote.reportBody, report.subarray(0, 384));
  const [x, y] = [quote.attestationKey.subarray(0, 32), quote.attestationKey.subarray(32)].map((b) =>
    Buffer.from(b).toString('base64url'),
  );
  const key = createPublicKey({ key: { kty: 'EC', crv: 'P-256', x, y }, format: 'jwk' });
  const check = (data: Uint8Array) =>
    verify('sha256', data, { key, dsaEncoding: 'ieee-p1363' }, quote.signature);
  assert.equal(check(bytes.subarray(0, 432)), true);
  const changed = bytes.slice(0, 432);
  changed[200] ^= 1;
  assert.equal(check(changed), false);
  const spki = new Uint8Array(key.export({ format: 'der', type: 'spki' }));
  const label = new Uint8Array(Buffer.from('nestedsgx/attestation-key/v1\0', 'latin1'));
  assert.deepEqual(w.reportData, nodeHash.sha512().update(label).update(spki).digest());
  assert.equal(w.reportVmpl, 0);
  const data = parseNestedCertificationData(quote.certificationData);
  assert.deepEqual([data.report.length, data.certificates.length], [1184, 3]);
  assert.ok(quote.qeReport.every((b) => b === 0) && quote.qeReportSignature.every((b) => b === 0));

  for (const at of [0, 130, 390, 420, 431]) {
    const forged = report.slice();
    forged[at] ^= 1;
    w.machine.ram.set(forged, AT.PAGE);
    assert.equal(w.sgx(SGX_CALL.QUOTE, AT.PAGE, AT.OUT, 8192).rax, SVSM.INVALID_PARAMETER, `byte ${at}`);
  }
  w.machine.ram.set(report, AT.PAGE);
  assert.equal(w.sgx(SGX_CALL.QUOTE, AT.PAGE, gpaOf(4), 8192).rax, SVSM.INVALID_ADDRESS);
  assert.equal(w.sgx(SGX_CALL.QUOTE, gpaOf(4), AT.OUT, 8192).rax, SVSM.INVALID_ADDRESS);
  const elsewhere = new MonitorWorld();
  elsewhere.machine.ram.set(report, AT.PAGE);
  assert.equal(elsewhere.sgx(SGX_CALL.QUOTE, AT.PAGE, AT.OUT, 8192).rax, SVSM.INVALID_PARAMETER);
});

test('detach stops and scrubs what a connection had; its frames can be given to another', () => {
  const w = new MonitorWorld();
  const { running } = launch(w);
  w.monitor.detach(1);
  assert.deepEqual(
    [running.stopped, w.processor.memories[0].closed, w.monitor.state.epcm.validCount],
    [true, true, 0],
  );
  assert.equal(w.sgx(SGX_CALL.QUERY).rax, SVSM.INVALID_REQUEST);
  w.monitor.attach(3, 0, { first: 0, count: 10 });
  assert.deepEqual(create(w), OK);
  w.monitor.checkInvariants();
});

test('attach refuses overlapping or missing frames and a vCPU that is taken', () => {
  const w = new MonitorWorld();
  const code = { code: 'MONITOR_ATTACH' };
  assert.throws(() => w.monitor.attach(3, 2, { first: 47, count: 2 }), code);
  assert.throws(() => w.monitor.attach(3, 2, { first: 60, count: 10 }), code);
  assert.throws(() => w.monitor.attach(3, 0, { first: 0, count: 0 }), code);
  assert.throws(() => w.monitor.attach(1, 2, { first: 0, count: 47 }), code);
  w.monitor.attach(1, 2, { first: 0, count: 48 });
  assert.equal(w.sgx(SGX_CALL.QUERY, 0, 0, 0, 2).rax, 0);
});

test('resources that run out are BUSY, and provision needs authorization', () => {
  const w = new MonitorWorld();
  w.processor.failMemory = true;
  assert.equal(create(w).rax, SVSM.BUSY);
  w.processor.failMemory = false;
  create(w);
  assert.deepEqual(w.sgx(SGX_CALL.AUTHORIZE_PROVISION, gpaOf(0)), OK);
  assert.equal(w.monitor.state.enclaves.get(0)!.provisionAuthorized, true);
});

function list(w: MonitorWorld, entries: number[], at = AT.ARGS, next = 0): void {
  w.machine.ram.fill(0, at, at + 8);
  w.machine.ram[at] = entries.length;
  w.machine.ram[at + 2] = next;
  entries.forEach((e, i) => {
    writeU64(w.machine.ram, at + 8 + i * 8, BigInt(e));
  });
}

test('core protocol: query, vTOM, calling area, virtual CPUs', () => {
  const w = new MonitorWorld();
  assert.equal(w.call(0, 6, (BigInt(SVSM_PROTOCOL_SGX) << 32n) | 1n).rcx, Number((1n << 32n) | 1n));
  assert.equal(w.call(0, 6, (BigInt(SVSM_PROTOCOL_SGX) << 32n) | 2n).rcx, 0);
  assert.equal(w.call(0, 6, (9n << 32n) | 1n).rcx, 0);
  assert.deepEqual(w.call(0, 7, 1), OK);
  assert.equal(w.call(0, 7, 0).rax, SVSM.INVALID_REQUEST);
  assert.equal(w.call(0, 0, 0x2_0008).rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.call(0, 0, gpaOf(1)).rax, SVSM.INVALID_ADDRESS);
  w.machine.ram.fill(1, 0x2_0000, 0x2_1000);
  assert.deepEqual(w.call(0, 0, 0x2_0000), OK);
  assert.equal(w.machine.list[0].caaGpa, 0x2_0000);
  assert.equal(w.machine.ram[0x2_0000], 0);
  assert.equal(w.call(0, 2, 0x3_0000, 0x3_0000).rax, SVSM.INVALID_ADDRESS);
  assert.equal(w.call(0, 2, 0x3_0000, 0x3_1000, 1).rax, 0);
  assert.equal(w.call(0, 2, 0x3_0000, 0x3_1000, 1).rax, SVSM.INVALID_ADDRESS, 'no longer the guest’s');
  assert.equal(w.call(0, 3, 0x3_0000).rax, 0);
  assert.equal(w.call(0, 3, 0x3_0000).rax, SVSM.INVALID_PARAMETER);
});

test('deposited RAM becomes EPC of its connection and comes back zeroed', () => {
  const w = new MonitorWorld();
  const page = 0x4_0000;
  w.machine.ram.fill(7, page, page + 4096);
  list(w, [page]);
  assert.deepEqual(w.call(0, 4, AT.ARGS), OK);
  assert.equal(w.machine.ram[AT.ARGS + 2], 1, 'next counts the entries served');
  list(w, [page]);
  assert.equal(w.call(0, 4, AT.ARGS).rax, SVSM.INVALID_ADDRESS);
  pageinfo(w, 0, AT.SECS, 0, 0);
  SECS.encodeInto(GOOD_SECS, w.machine.ram, AT.SECS);
  assert.equal(w.sgx(ENCLS.ECREATE, AT.PAGEINFO, page, 0, 1).rax, SVSM.INVALID_PARAMETER);
  assert.deepEqual(w.sgx(ENCLS.ECREATE, AT.PAGEINFO, page), OK);
  w.monitor.checkInvariants();
  assert.equal(w.call(0, 5, AT.ARGS).rax, SVSM.INVALID_PARAMETER, 'in use');
  list(w, [page | 4]);
  assert.equal(w.call(0, 1, AT.ARGS).rax, SVSM.INVALID_ADDRESS, 'PVALIDATE of EPC');
  assert.deepEqual(w.sgx(ENCLS.EREMOVE, 0, page), OK);
  list(w, [page]);
  assert.equal(w.call(0, 5, AT.ARGS, 0, 0, 1).rax, SVSM.INVALID_PARAMETER, 'another connection');
  assert.deepEqual(w.call(0, 5, AT.ARGS), OK);
  assert.equal(w.machine.ram[page], 0);
  assert.equal(w.monitor.stats().epc.deposited, 0);
});

test('page lists: bounds, reserved bits, progress, PVALIDATE results', () => {
  const w = new MonitorWorld();
  const at = AT.ARGS;
  const pvalidate = (entries: number[], next = 0) => {
    list(w, entries, at, next);
    return w.call(0, 1, at).rax;
  };
  assert.equal(pvalidate([]), SVSM.INVALID_PARAMETER);
  assert.equal(pvalidate([0x4_0004], 1), SVSM.INVALID_PARAMETER);
  assert.equal(pvalidate([0x4_0014]), SVSM.INVALID_PARAMETER);
  assert.equal(pvalidate([0x4_0002]), SVSM.INVALID_PARAMETER);
  assert.equal(pvalidate([gpaOf(1) + 4]), SVSM.INVALID_ADDRESS);
  assert.equal(w.call(0, 1, at + 4).rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.call(0, 1, 0x7ff8).rax, SVSM.INVALID_PARAMETER);
  assert.equal(w.call(0, 1, gpaOf(1)).rax, SVSM.INVALID_ADDRESS);
  w.machine.ram[at] = 0xff;
  w.machine.ram[at + 1] = 0xff;
  assert.equal(w.call(0, 1, at).rax, SVSM.INVALID_PARAMETER, 'more entries than the page holds');
  assert.equal(pvalidate([0x4_0000, 0x4_1004]), SVSM.PVALIDATE_FAIL_UNCHANGED);
  assert.equal(w.machine.ram[at + 2], 1, 'the first entry was served');
  w.machine.ram.fill(9, 0x4_0000, 0x4_1000);
  assert.equal(pvalidate([0x4_0004, 0x4_100c]), 0);
  assert.equal(w.machine.ram[0x4_0000], 0, 'zeroed before the guest gets it');
});

test('trace and statistics say what happened', () => {
  const w = new MonitorWorld();
  launch(w);
  const { microseconds, ...first } = w.trace[0];
  assert.ok(microseconds >= 0);
  assert.deepEqual(first, {
    kind: 'encls',
    name: 'ECREATE',
    owner: 1,
    enclave: 1,
    operands: [AT.PAGEINFO, gpaOf(0), 0],
    result: 'ok',
  });
  const stats = w.monitor.stats();
  assert.deepEqual([stats.isolation, stats.epc.used, stats.enclaves.length], ['same-user', 5, 1]);
  assert.equal(stats.enclaves[0].state, 'running');
  assert.equal(stats.leaves['EADD'].executed, 4);
  w.monitor.close();
  assert.equal(w.monitor.stats().epc.used, 0);
});
