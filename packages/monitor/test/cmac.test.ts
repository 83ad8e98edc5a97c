import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { KEYNAME_SEAL, KEYREQUEST, REPORT, SECS, TARGETINFO } from '@nestedsgx/arch';
import { sealReport } from '../src/enclu/ereport.js';
import {
  CmacKey,
  cmac,
  DEFAULT_PLATFORM,
  EnclaveRecord,
  KeyHierarchy,
  reportKeyData,
  sealKeyData,
  secsTarget,
  tagsEqual,
} from '../src/index.js';
import { FakeMemory } from './support/fake-machine.js';
import { World } from './support/world.js';

const kat = JSON.parse(readFileSync(new URL('../../test/vectors/sim-kat.json', import.meta.url), 'utf8'));
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'hex'));
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

test('CMAC gives the tags of RFC 4493', () => {
  const message = hex(kat.rfc4493.message);
  for (const { len, tag } of kat.rfc4493.tags) {
    assert.equal(toHex(cmac(hex(kat.rfc4493.key), message.subarray(0, len))), tag, `${len} bytes`);
  }
});

test('one CMAC key object serves many messages in any order', () => {
  const key = new CmacKey(hex(kat.rfc4493.key));
  const message = hex(kat.rfc4493.message);
  for (let round = 0; round < 3; round++) {
    for (const { len, tag } of [...kat.rfc4493.tags].reverse()) {
      assert.equal(toHex(key.tag(message.subarray(0, len))), tag);
    }
  }
  const long = new Uint8Array(5000).map((_, i) => i);
  assert.deepEqual(key.tag(long), cmac(hex(kat.rfc4493.key), long));
});

test('tags of other length or content are never equal', () => {
  const a = hex('00112233445566778899aabbccddeeff');
  assert.equal(tagsEqual(a, a.slice()), true);
  assert.equal(tagsEqual(a, a.subarray(1)), false);
  assert.equal(tagsEqual(a, hex('00112233445566778899aabbccddeefe')), false);
});

function simEnclave(): EnclaveRecord {
  const secs = SECS.encode({
    SIZE: 0x2000n,
    SSAFRAMESIZE: 1,
    ATTRIBUTES: { FLAGS: BigInt(kat.secs.attr_flags), XFRM: BigInt(kat.secs.xfrm) },
    MRENCLAVE: hex(kat.secs.mrenclave),
    MRSIGNER: hex(kat.secs.mrsigner),
  });
  const w = new World();
  return new EnclaveRecord(1, 1, 0, secs, new FakeMemory(0x2000), w.s.hashing.measurement());
}

function simKeys(): KeyHierarchy {
  const base = kat.constants.base_keys;
  return new KeyHierarchy(
    {
      einittoken: hex(base['EINITTOKEN(0)']),
      provision: hex(base['PROVISION(1)']),
      provisionSeal: hex(base['PROVISION_SEAL(2)']),
      report: hex(base['REPORT(3)']),
      seal: hex(base['SEAL(4)']),
    },
    hex(kat.constants.owner_epoch),
    hex(kat.constants.report_keyid.slice(0, 64)),
  );
}

test('seal keys follow the published layout', () => {
  const enclave = simEnclave();
  const keys = simKeys();
  for (const row of kat.egetkey) {
    const request = KEYREQUEST.encode({
      KEYNAME: KEYNAME_SEAL,
      KEYPOLICY: row.key_policy,
      ISVSVN: row.isvsvn,
      CPUSVN: hex(row.cpusvn),
      ATTRIBUTEMASK: { FLAGS: BigInt(row.attribute_mask_flags), XFRM: BigInt(row.attribute_mask_xfrm) },
      KEYID: hex(row.key_id),
      MISCMASK: Number(row.misc_mask),
    });
    const data = sealKeyData(enclave, request, keys.ownerEpoch);
    assert.equal(toHex(data), row.derivation_data);
    assert.equal(toHex(keys.derive(KEYNAME_SEAL, data)), row.key);
  }
});

test('reports follow the published layout', () => {
  const enclave = simEnclave();
  const keys = simKeys();
  const cpuSvn = hex(kat.constants.cpusvn_default);
  const w = new World();
  const s = { ...w.s, keys, platform: { ...DEFAULT_PLATFORM, cpuSvn } };
  for (const row of kat.ereport) {
    const expected = hex(row.report);
    const data = reportKeyData(secsTarget(enclave.secs), cpuSvn, keys.ownerEpoch, keys.reportKeyId);
    assert.equal(toHex(data), row.report_key_derivation_data);
    const targetinfo = TARGETINFO.encode({
      MEASUREMENT: enclave.secs.slice(64, 96),
      ATTRIBUTES: { FLAGS: enclave.flags, XFRM: enclave.xfrm },
    });
    const report = expected.slice();
    report.fill(0, REPORT.offsets.MAC);
    sealReport(s, report, targetinfo);
    assert.equal(toHex(report), row.report);
  }
});
