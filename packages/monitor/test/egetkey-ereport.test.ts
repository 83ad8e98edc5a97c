import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_REPORT,
  KEYNAME_SEAL,
  KEYREQUEST,
  type KeyRequest,
  REPORT,
  type StructInit,
  TARGETINFO,
} from '@nestedsgx/arch';
import { EGETKEY_CHECKS, egetkey } from '../src/enclu/egetkey.js';
import { EREPORT_CHECKS, ereport } from '../src/enclu/ereport.js';
import { cmac, type EnclaveRecord, EPCM_BLOCKED, type LeafOutcome } from '../src/index.js';
import { runCases } from './support/cases.js';
import { BASE, GOOD_SECS, must, tripped, World } from './support/world.js';

const DATA = BASE + 0x4000;
const KEY_OUT = DATA + 0x800;
const flagsOf = (FLAGS: bigint) => ({ ...GOOD_SECS, ATTRIBUTES: { FLAGS, XFRM: 3n } });

function getKey(
  w: World,
  request: StructInit<KeyRequest> | Uint8Array,
  { secs = GOOD_SECS, rbx = DATA, rcx = KEY_OUT, before = (_: EnclaveRecord) => {} } = {},
): LeafOutcome {
  const enclave = w.enclave() ?? w.running(secs).enclave;
  const bytes = request instanceof Uint8Array ? request : KEYREQUEST.encode(request);
  enclave.memory.write(0x4000, bytes);
  before(enclave);
  return egetkey(w.s, enclave, rbx, rcx);
}

const SEAL = { KEYNAME: KEYNAME_SEAL, KEYPOLICY: 1 };
const block = (w: World, frame: number) => () => w.s.epcm.setBits(frame, w.s.epcm.bits(frame) | EPCM_BLOCKED);

runCases(EGETKEY_CHECKS, {
  'keyrequest-placed': (w) => getKey(w, SEAL, { rbx: DATA + 64 }),
  'keyrequest-valid': (w) => getKey(w, SEAL, { rbx: BASE + 0x9000 }),
  'keyrequest-not-blocked': (w) => getKey(w, SEAL, { before: block(w, 4) }),
  'keyrequest-page': (w) => getKey(w, SEAL, { rbx: BASE + 0x1000 }),
  'output-placed': (w) => getKey(w, SEAL, { rcx: BASE - 16 }),
  'output-valid': (w) => getKey(w, SEAL, { rcx: BASE + 0x9000 }),
  'output-not-blocked': (w) => getKey(w, SEAL, { rcx: BASE + 0x3000, before: block(w, 3) }),
  'output-page': (w) => getKey(w, SEAL, { rcx: BASE + 0x5000 }),
  'reserved-zero': (w) => {
    const bytes = KEYREQUEST.encode(SEAL);
    bytes[511] = 1;
    return getKey(w, bytes);
  },
  'kss-enabled': (w) => getKey(w, { ...SEAL, CONFIGSVN: 1 }),
  'provision-attribute': (w) => getKey(w, { KEYNAME: KEYNAME_PROVISION_SEAL }),
  'einittoken-attribute': (w) => getKey(w, { KEYNAME: KEYNAME_EINITTOKEN }),
  cpusvn: (w) => getKey(w, { ...SEAL, CPUSVN: new Uint8Array(16).fill(2) }),
  isvsvn: (w) => getKey(w, { ...SEAL, ISVSVN: 4 }),
  configsvn: (w) => getKey(w, { ...SEAL, CONFIGSVN: 1 }, { secs: flagsOf(0x84n) }),
  keyname: (w) => getKey(w, { KEYNAME: 7 }),
});

test('each refusal of KEYPOLICY and KEYREQUEST reserved bits is #GP(0)', () => {
  const w = new World();
  assert.equal(tripped(getKey(w, { ...SEAL, KEYPOLICY: 0x40 })), 'EGETKEY.reserved-zero');
  assert.equal(tripped(getKey(w, { ...SEAL, KEYPOLICY: 0x8000 })), 'EGETKEY.reserved-zero');
  assert.equal(tripped(getKey(w, { ...SEAL, CET_ATTRIBUTES_MASK: 1 })), 'EGETKEY.reserved-zero');
  assert.equal(tripped(getKey(w, { ...SEAL, KEYPOLICY: 0x10 })), 'EGETKEY.kss-enabled');
});

/** The key that a request gives, hex. */
function keyOf(w: World, request: StructInit<KeyRequest>): string {
  must(getKey(w, request));
  return Buffer.from(w.enclave().memory.read(0x4800, 16)).toString('hex');
}

test('what a key depends on: policy, SVN, KEYID, masks, name; and it is stable', () => {
  const all = flagsOf(0x84n | 0x10n | 0x20n);
  const w = new World({ provisionNeedsAuthorization: false });
  w.running(
    { ...all, CONFIGID: new Uint8Array(64).fill(1), CONFIGSVN: 4 },
    { ISVFAMILYID: new Uint8Array(16).fill(8) },
  );
  const requests: StructInit<KeyRequest>[] = [
    SEAL,
    { ...SEAL, KEYPOLICY: 2 },
    { ...SEAL, KEYPOLICY: 3 },
    { ...SEAL, KEYPOLICY: 1 | 4 },
    { ...SEAL, KEYPOLICY: 1 | 8 },
    { ...SEAL, KEYPOLICY: 1 | 8, CONFIGSVN: 2 },
    { ...SEAL, KEYPOLICY: 1 | 0x10 },
    { ...SEAL, KEYPOLICY: 1 | 0x20 },
    { ...SEAL, ISVSVN: 2 },
    { ...SEAL, CPUSVN: new Uint8Array(16).fill(1, 0, 1) },
    { ...SEAL, KEYID: new Uint8Array(32).fill(1) },
    { ...SEAL, ATTRIBUTEMASK: { FLAGS: 4n, XFRM: 0n } },
    { ...SEAL, MISCMASK: 1 },
    { KEYNAME: KEYNAME_REPORT },
    { KEYNAME: KEYNAME_REPORT, KEYID: new Uint8Array(32).fill(1) },
    { KEYNAME: KEYNAME_PROVISION },
    { KEYNAME: KEYNAME_PROVISION_SEAL },
    { KEYNAME: KEYNAME_EINITTOKEN },
  ];
  const keys = requests.map((r) => keyOf(w, r));
  assert.equal(new Set(keys).size, requests.length);
  assert.deepEqual(
    requests.map((r) => keyOf(w, r)),
    keys,
  );
  assert.equal(
    keyOf(w, { KEYNAME: KEYNAME_PROVISION, KEYID: new Uint8Array(32).fill(1) }),
    keys[15],
    'no KEYID',
  );
});

test('seal keys survive a restart with the same root, report keys do not; another root gives other keys', () => {
  const first = new World();
  const second = new World();
  assert.equal(keyOf(first, SEAL), keyOf(second, SEAL));
  const report = { KEYNAME: KEYNAME_REPORT };
  assert.notEqual(keyOf(first, report), keyOf(second, report));
});

test('a debug enclave gets other keys than its production twin', () => {
  const debug = new World();
  debug.running(flagsOf(6n));
  assert.notEqual(keyOf(debug, { ...SEAL, KEYPOLICY: 2 }), keyOf(new World(), { ...SEAL, KEYPOLICY: 2 }));
});

function report(
  w: World,
  {
    target = TARGETINFO.encode({ MEASUREMENT: new Uint8Array(32).fill(1) }),
    rbx = DATA,
    rcx = DATA + 0x200,
    rdx = DATA + 0x400,
    before = () => {},
  }: { target?: Uint8Array; rbx?: number; rcx?: number; rdx?: number; before?: () => void } = {},
): LeafOutcome {
  const enclave = w.enclave() ?? w.running().enclave;
  enclave.memory.write(0x4000, target);
  before();
  return ereport(w.s, enclave, rbx, rcx, rdx);
}
/** EPCM entry gone though the enclave's page table still has the frame. */
const stale = (w: World, frame: number) => () => w.s.epcm.clear(frame);

runCases(EREPORT_CHECKS, {
  'targetinfo-placed': (w) => report(w, { rbx: DATA + 0x100 }),
  'targetinfo-in-epc': (w) => report(w, { rbx: BASE + 0x9000 }),
  'targetinfo-valid': (w) => report(w, { before: stale(w, 4) }),
  'targetinfo-not-blocked': (w) => report(w, { before: block(w, 4) }),
  'targetinfo-page': (w) => report(w, { rbx: BASE + 0x1000 }),
  'targetinfo-reserved-zero': (w) => {
    const target = new Uint8Array(512);
    target[511] = 1;
    return report(w, { target });
  },
  'reportdata-placed': (w) => report(w, { rcx: DATA + 0x210 }),
  'reportdata-in-epc': (w) => report(w, { rcx: BASE + 0x9000 }),
  'reportdata-valid': (w) => report(w, { rcx: BASE + 0x3000, before: stale(w, 3) }),
  'reportdata-not-blocked': (w) => report(w, { rcx: BASE + 0x3000, before: block(w, 3) }),
  'reportdata-page': (w) => report(w, { rcx: BASE + 0x1000 }),
  'output-placed': (w) => report(w, { rdx: DATA + 0x410 }),
  'output-in-epc': (w) => report(w, { rdx: BASE + 0x9000 }),
  'output-valid': (w) => report(w, { rdx: BASE + 0x3000, before: stale(w, 3) }),
  'output-not-blocked': (w) => report(w, { rdx: BASE + 0x3000, before: block(w, 3) }),
  'output-page': (w) => report(w, { rdx: BASE + 0x5000 }),
});

test('the target verifies a report with its own report key, and nobody else can', () => {
  const w = new World();
  const { enclave } = w.running();
  const target = TARGETINFO.encode({
    MEASUREMENT: enclave.secs.slice(64, 96),
    ATTRIBUTES: { FLAGS: enclave.flags, XFRM: enclave.xfrm },
  });
  enclave.memory.write(0x4200, new Uint8Array(64).fill(0x5a));
  must(report(w, { target }));
  const bytes = enclave.memory.read(0x4400, REPORT.size);
  const r = REPORT.decode(bytes);
  assert.deepEqual(r.REPORTDATA, new Uint8Array(64).fill(0x5a));
  assert.deepEqual([r.MRENCLAVE, r.ISVSVN, r.ISVPRODID], [enclave.secs.slice(64, 96), 3, 5]);
  must(getKey(w, { KEYNAME: KEYNAME_REPORT, KEYID: r.KEYID }));
  const key = enclave.memory.read(0x4800, 16);
  assert.deepEqual(cmac(key, bytes.subarray(0, 384)), r.MAC);
  must(report(w, { target: TARGETINFO.encode({ MEASUREMENT: new Uint8Array(32).fill(1) }) }));
  assert.notDeepEqual(cmac(key, bytes.subarray(0, 384)), REPORT.decode(enclave.memory.read(0x4400, 432)).MAC);
});
