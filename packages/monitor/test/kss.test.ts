/** Key separation and sharing: its fields from ECREATE and SIGSTRUCT to reports and keys. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_REPORT,
  KEYNAME_SEAL,
  KEYPOLICY_CONFIGID,
  KEYPOLICY_ISVEXTPRODID,
  KEYPOLICY_ISVFAMILYID,
  KEYPOLICY_MRENCLAVE,
  KEYPOLICY_MRSIGNER,
  KEYPOLICY_NOISVPRODID,
  KEYREQUEST,
  type KeyRequest,
  REPORT,
  type Secs,
  type SigstructFields,
  type StructInit,
  TARGETINFO,
} from '@nestedsgx/arch';
import { egetkey } from '../src/enclu/egetkey.js';
import { ereport } from '../src/enclu/ereport.js';
import { cmac, type LeafOutcome } from '../src/index.js';
import { BASE, GOOD_SECS, must, tripped, World } from './support/world.js';

const DATA = BASE + 0x4000;
const bytes = (length: number, fill: number) => new Uint8Array(length).fill(fill);
const KSS: StructInit<Secs> = {
  ...GOOD_SECS,
  ATTRIBUTES: { FLAGS: 0x94n, XFRM: 3n },
  CONFIGID: bytes(64, 0xc1),
  CONFIGSVN: 7,
};
const IDS: SigstructFields = { ISVFAMILYID: bytes(16, 0xfa), ISVEXTPRODID: bytes(16, 0xe1), ISVPRODID: 5 };

/** A world with one enclave of these fields, with the keys of any other such world. */
function world(secs: StructInit<Secs> = {}, sig: SigstructFields = {}): World {
  const w = new World({ provisionNeedsAuthorization: false });
  w.running({ ...KSS, ...secs }, { ...IDS, ...sig });
  return w;
}

function request(w: World, fields: StructInit<KeyRequest>): LeafOutcome {
  const enclave = w.enclave();
  enclave.memory.write(0x4000, KEYREQUEST.encode(fields));
  return egetkey(w.s, enclave, DATA, DATA + 0x800);
}

function key(w: World, fields: StructInit<KeyRequest>): string {
  must(request(w, fields));
  return Buffer.from(w.enclave().memory.read(0x4800, 16)).toString('hex');
}

/** What each policy bit adds to (or, NOISVPRODID, takes from) a key, with another value of it. */
const FIELDS: {
  name: string;
  policy: number;
  secs?: StructInit<Secs>;
  sig?: SigstructFields;
  without?: true;
}[] = [
  { name: 'CONFIGID', policy: KEYPOLICY_CONFIGID, secs: { CONFIGID: bytes(64, 1) } },
  { name: 'ISVFAMILYID', policy: KEYPOLICY_ISVFAMILYID, sig: { ISVFAMILYID: bytes(16, 1) } },
  { name: 'ISVEXTPRODID', policy: KEYPOLICY_ISVEXTPRODID, sig: { ISVEXTPRODID: bytes(16, 1) } },
  { name: 'ISVPRODID', policy: KEYPOLICY_NOISVPRODID, sig: { ISVPRODID: 6 }, without: true },
];

for (const KEYNAME of [KEYNAME_SEAL, KEYNAME_PROVISION_SEAL]) {
  for (const { name, policy, secs, sig, without } of FIELDS) {
    test(`key ${KEYNAME} depends on ${name} ${without ? 'unless' : 'when'} KEYPOLICY says so`, () => {
      const one = world();
      const other = world(secs, sig);
      const same = (KEYPOLICY: number) =>
        key(one, { KEYNAME, KEYPOLICY }) === key(other, { KEYNAME, KEYPOLICY });
      assert.equal(same(KEYPOLICY_MRSIGNER | policy), without === true);
      assert.equal(same(KEYPOLICY_MRSIGNER), without !== true);
    });
  }
}

test('all 64 policies give different seal keys, each the same in a twin', () => {
  const [one, twin] = [world(), world()];
  const keys = new Set<string>();
  for (let KEYPOLICY = 0; KEYPOLICY < 64; KEYPOLICY++) {
    const its = key(one, { KEYNAME: KEYNAME_SEAL, KEYPOLICY });
    assert.equal(key(twin, { KEYNAME: KEYNAME_SEAL, KEYPOLICY }), its);
    keys.add(its);
  }
  assert.equal(keys.size, 64);
});

test('CONFIGSVN counts with CONFIGID, and may be asked for up to the enclave’s own', () => {
  const [one, newer] = [world(), world({ CONFIGSVN: 9 })];
  const at = (CONFIGSVN: number, KEYPOLICY = KEYPOLICY_MRENCLAVE | KEYPOLICY_CONFIGID) => ({
    KEYNAME: KEYNAME_SEAL,
    KEYPOLICY,
    CONFIGSVN,
  });
  assert.equal(key(one, at(7)), key(newer, at(7)), 'a newer configuration opens what an older one sealed');
  assert.notEqual(key(newer, at(7)), key(newer, at(9)));
  assert.equal(key(one, at(3, KEYPOLICY_MRENCLAVE)), key(one, at(5, KEYPOLICY_MRENCLAVE)));
  for (const KEYNAME of [KEYNAME_SEAL, KEYNAME_PROVISION_SEAL])
    assert.equal(tripped(request(one, { ...at(8), KEYNAME })), 'EGETKEY.configsvn');
  assert.equal(request(one, { KEYNAME: KEYNAME_PROVISION, CONFIGSVN: 8 }).kind, 'done');
});

test('without ATTRIBUTES.KSS each new policy bit and any CONFIGSVN is #GP(0)', () => {
  const w = world(
    { ATTRIBUTES: { FLAGS: 0x14n, XFRM: 3n }, CONFIGID: bytes(64, 0), CONFIGSVN: 0 },
    {
      ISVFAMILYID: bytes(16, 0),
    },
  );
  for (const bit of [4, 8, 0x10, 0x20])
    assert.equal(tripped(request(w, { KEYNAME: KEYNAME_SEAL, KEYPOLICY: 1 | bit })), 'EGETKEY.kss-enabled');
  assert.equal(tripped(request(w, { KEYNAME: KEYNAME_REPORT, CONFIGSVN: 1 })), 'EGETKEY.kss-enabled');
  key(w, { KEYNAME: KEYNAME_SEAL, KEYPOLICY: 3 });
});

test('a report carries the fields, and its key depends on CONFIGID and CONFIGSVN of the target', () => {
  const w = world();
  const { memory, secs } = w.enclave();
  const report = (target: Parameters<typeof TARGETINFO.encode>[0]) => {
    memory.write(0x4000, TARGETINFO.encode(target));
    must(ereport(w.s, w.enclave(), DATA, DATA + 0x200, DATA + 0x400));
    return memory.read(0x4400, REPORT.size);
  };
  const self = {
    MEASUREMENT: secs.slice(64, 96),
    ATTRIBUTES: { FLAGS: w.enclave().flags, XFRM: 3n },
    CONFIGID: bytes(64, 0xc1),
    CONFIGSVN: 7,
  };
  const sealed = report(self);
  const r = REPORT.decode(sealed);
  assert.deepEqual(
    [r.CONFIGID, r.CONFIGSVN, r.ISVFAMILYID, r.ISVEXTPRODID, r.ISVPRODID],
    [bytes(64, 0xc1), 7, bytes(16, 0xfa), bytes(16, 0xe1), 5],
  );
  must(request(w, { KEYNAME: KEYNAME_REPORT, KEYID: r.KEYID }));
  const own = memory.read(0x4800, 16);
  assert.deepEqual(cmac(own, sealed.subarray(0, 384)), r.MAC);
  for (const change of [{ CONFIGID: bytes(64, 1) }, { CONFIGSVN: 6 }]) {
    const foreign = report({ ...self, ...change });
    assert.notDeepEqual(cmac(own, foreign.subarray(0, 384)), REPORT.decode(foreign).MAC);
  }
});
