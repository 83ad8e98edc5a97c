import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { EINITTOKEN, KEYNAME_EINITTOKEN, SECS, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { EINIT_CHECKS, einit } from '../src/encls/einit.js';
import { cmac, DEFAULT_PLATFORM, launchKeyData } from '../src/index.js';
import { runCases } from './support/cases.js';
import { AT, GOOD_SECS, gpaOf, must, signer, tripped, World } from './support/world.js';

const KSS = { ...GOOD_SECS, ATTRIBUTES: { FLAGS: 0x84n, XFRM: 3n } };
const withFlags = (FLAGS: bigint) => ({ ...GOOD_SECS, ATTRIBUTES: { FLAGS, XFRM: 3n } });
const otherHash = new Uint8Array(32).fill(9);

function built(w: World, secs = GOOD_SECS): World {
  w.build(secs);
  return w;
}

/** A token for the world's enclave with a right MAC, changed before it is MACed. */
function token(
  w: World,
  change: (t: Uint8Array) => void = () => {},
  afterMac: (t: Uint8Array) => void = () => {},
): Uint8Array {
  const enclave = w.enclave();
  const mrsigner = nodeHash.sha256().update(SIGSTRUCT.decode(w.sign()).MODULUS).digest();
  const t = EINITTOKEN.encode({
    VALID: 1,
    ATTRIBUTES: { FLAGS: enclave.flags, XFRM: enclave.xfrm },
    MRENCLAVE: enclave.measurement.digest(),
    MRSIGNER: mrsigner,
    KEYID: new Uint8Array(32).fill(5),
  });
  change(t);
  const d = EINITTOKEN.decode(t);
  const data = launchKeyData(
    {
      attributes: t.slice(240, 256),
      miscselect: d.MASKEDMISCSELECTLE,
      cpuSvn: d.CPUSVNLE,
      isvSvn: d.ISVSVNLE,
      isvProdId: d.ISVPRODIDLE,
      mrsigner,
      keyId: d.KEYID,
    },
    w.s.keys.ownerEpoch,
  );
  t.set(cmac(w.s.keys.derive(KEYNAME_EINITTOKEN, data), t.subarray(0, 192)), EINITTOKEN.offsets.MAC);
  afterMac(t);
  return t;
}

runCases(EINIT_CHECKS, {
  'sigstruct-secs-aligned': (w) => einit(built(w).s, w.owner, AT.SIGSTRUCT + 512, gpaOf(0), AT.TOKEN),
  'token-aligned': (w) => einit(built(w).s, w.owner, AT.SIGSTRUCT, gpaOf(0), AT.TOKEN + 64),
  'secs-in-epc': (w) => einit(built(w).s, w.owner, AT.SIGSTRUCT, 0x9000, AT.TOKEN),
  'secs-owned': (w) => einit(built(w).s, w.owner, AT.SIGSTRUCT, gpaOf(50), AT.TOKEN),
  'sigstruct-readable': (w) => einit(built(w).s, w.owner, 0x1000_0000, gpaOf(0), AT.TOKEN),
  'token-readable': (w) => einit(built(w).s, w.owner, AT.SIGSTRUCT, gpaOf(0), 0x1000_0000),
  'sigstruct-fields': (w) => {
    const sig = built(w).sign();
    sig[512] = 5;
    return w.init(sig);
  },
  signature: (w) => {
    const sig = built(w).sign();
    sig[1026] ^= 1;
    return w.init(sig);
  },
  'secs-valid': (w) => {
    const sig = built(w).sign();
    return w.init(sig, undefined, 4);
  },
  'family-needs-kss': (w) => built(w).init(w.sign({ ISVFAMILYID: new Uint8Array(16).fill(1) })),
  'not-initialized': (w) => {
    const sig = built(w).sign();
    must(w.init(sig));
    return w.init(sig);
  },
  measurement: (w) => built(w).init(w.sign({ ENCLAVEHASH: otherHash })),
  'controlled-attributes': () => {
    const w = built(new World({ launchKeyHash: otherHash }), withFlags(0x24n));
    return w.init();
  },
  attributes: (w) => built(w, withFlags(6n)).init(w.sign({ ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } })),
  miscselect: (w) => built(w, { ...GOOD_SECS, MISCSELECT: 1 }).init(w.sign({ MISCSELECT: 0 })),
  'launch-signer': () => built(new World({ launchKeyHash: otherHash })).init(),
  'token-debug': (w) =>
    built(w).init(
      w.sign(),
      token(w, (t) => t.set([2], EINITTOKEN.offsets.MASKEDATTRIBUTESLE)),
    ),
  'token-reserved': (w) =>
    built(w).init(
      w.sign(),
      token(w, (t) => t.set([1], 8)),
    ),
  'token-cpusvn': (w) =>
    built(w).init(
      w.sign(),
      token(w, (t) => t.set([0xff], EINITTOKEN.offsets.CPUSVNLE)),
    ),
  'token-mac': (w) =>
    built(w).init(
      w.sign(),
      token(w, undefined, (t) => t.set([t[300] ^ 1], 300)),
    ),
  'token-identity': (w) =>
    built(w).init(
      w.sign(),
      token(w, (t) => t.set(otherHash, EINITTOKEN.offsets.MRENCLAVE)),
    ),
  'token-attributes': (w) =>
    built(w).init(
      w.sign(),
      token(w, (t) => t.set([6], EINITTOKEN.offsets.ATTRIBUTES)),
    ),
  'provision-authorized': (w) => built(w, withFlags(0x14n)).init(),
  'gates-bound': (w) => {
    built(w).enclave().gates = null;
    return w.init();
  },
  'processor-started': (w) => {
    built(w);
    w.processor.failStart = true;
    return w.init();
  },
});

test('EINIT commits the identity and starts the processor with the effective mapping', () => {
  const w = new World();
  const family = new Uint8Array(16).fill(3);
  const ext = new Uint8Array(16).fill(4);
  const { enclave, running } = w.running(KSS, { ISVFAMILYID: family, ISVEXTPRODID: ext });
  const secs = SECS.decode(enclave.secs);
  assert.deepEqual(secs.MRENCLAVE, enclave.measurement.digest());
  const modulus = SIGSTRUCT.decode(w.machine.ram.slice(AT.SIGSTRUCT, AT.SIGSTRUCT + 1808)).MODULUS;
  assert.deepEqual(secs.MRSIGNER, nodeHash.sha256().update(modulus).digest());
  assert.deepEqual([secs.ISVPRODID, secs.ISVSVN, secs.ATTRIBUTES.FLAGS], [5, 3, 0x85n]);
  assert.deepEqual([enclave.isvFamilyId, enclave.isvExtProdId], [family, ext]);
  assert.deepEqual(running.start.ranges, [
    { offset: 0x2000, length: 0x3000, r: true, w: true, x: false },
    { offset: 0x5000, length: 0x1000, r: true, w: false, x: false },
    { offset: 0x6000, length: 0x1000, r: true, w: false, x: true },
  ]);
  assert.deepEqual(running.start.threads, [
    {
      tcsOffset: 0x1000,
      ossa: 0x2000,
      nssa: 2,
      oentry: 0x6000,
      ofsbase: 0x4000,
      ogsbase: 0x4000,
      debugOptIn: false,
      aexNotify: false,
    },
  ]);
  assert.deepEqual(running.admitted, [true]);
});

test('EINIT that failed can be tried again', () => {
  const w = new World();
  w.build();
  w.processor.failStart = true;
  assert.equal(tripped(w.init()), 'EINIT.processor-started');
  assert.equal(w.enclave().initialized, false);
  w.processor.failStart = false;
  must(w.init());
});

test('a valid token and an authorized PROVISIONKEY are taken', () => {
  const w = new World();
  w.build(withFlags(0x14n));
  w.enclave().provisionAuthorized = true;
  must(w.init(w.sign(), token(w)));
});

test('a pinned launch signer may launch, also with EINITTOKEN_KEY', () => {
  const probe = new World();
  probe.build();
  const modulus = SIGSTRUCT.decode(probe.sign()).MODULUS;
  const w = new World({ launchKeyHash: nodeHash.sha256().update(modulus).digest() });
  w.build(withFlags(0x24n));
  must(w.init());
  assert.ok(signer().modulus > 0n);
});

/** MRSIGNER of the tests' key. */
function ownSigner(): Uint8Array {
  const w = new World();
  w.build();
  const modulus = SIGSTRUCT.decode(w.sign()).MODULUS;
  return nodeHash.sha256().update(modulus).digest();
}

test('a launch policy of several signers takes each of them and nobody else', () => {
  const own = ownSigner();
  for (const launchSigners of [[own], [otherHash, own], [own, otherHash]]) {
    const w = new World({ launchSigners });
    w.build(withFlags(0x24n));
    must(w.init());
  }
  const refusing = { launchSigners: [otherHash] };
  assert.equal(tripped(built(new World(refusing)).init()), 'EINIT.launch-signer');
  assert.equal(tripped(built(new World(refusing), withFlags(0x24n)).init()), 'EINIT.controlled-attributes');
  assert.equal(tripped(built(new World({ launchSigners: [] })).init()), 'EINIT.launch-signer');
});

test('under a launch policy a token counts when an accepted launch enclave made it', () => {
  const own = ownSigner();
  // The tests' token is made with the launch key of the enclave's own signer.
  const accepting = built(new World({ launchSigners: [otherHash, own] }));
  must(accepting.init(accepting.sign(), token(accepting)));
  const refusing = built(new World({ launchSigners: [otherHash] }));
  assert.equal(tripped(refusing.init(refusing.sign(), token(refusing))), 'EINIT.token-mac');
});

test('a locked IA32_SGXLEPUBKEYHASH goes before a policy', () => {
  const own = ownSigner();
  const w = new World({ launchKeyHash: otherHash, launchSigners: [own] });
  assert.equal(tripped(built(w).init()), 'EINIT.launch-signer');
});

test('an AEX-notify enclave starts with its flag and those of its threads; the signature decides whether it may', () => {
  const notify = withFlags(0x404n);
  const w = new World();
  w.build(notify, { FLAGS: 2n });
  must(w.init());
  const { start } = w.processor.running[0];
  assert.deepEqual([start.aexNotify, start.threads[0].aexNotify, start.threads[0].nssa], [true, true, 2]);
  const without = new World();
  without.build(notify, { FLAGS: 0n });
  must(without.init());
  assert.deepEqual(without.processor.running[0].admitted, [false], 'TCS.FLAGS.AEXNOTIFY must match');
  const unsigned = new World();
  unsigned.build(notify);
  assert.equal(
    tripped(unsigned.init(unsigned.sign({ ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } }))),
    'EINIT.attributes',
  );
  const masked = new World();
  masked.build(notify);
  const sig = { ATTRIBUTES: { FLAGS: 4n, XFRM: 3n }, ATTRIBUTEMASK: { FLAGS: ~0x400n & 0xffffn, XFRM: 3n } };
  must(masked.init(masked.sign(sig)));
});

test('a platform without AEX-Notify refuses the attribute at ECREATE', () => {
  const w = new World({ attributesMask: DEFAULT_PLATFORM.attributesMask & ~0x400n });
  assert.equal(tripped(w.create(withFlags(0x404n))), 'ECREATE.attributes-supported');
});

for (const name of ['qe3', 'sample-enclave']) {
  test(`the SIGSTRUCT of ${name} verifies, and is refused for another enclave's measurement`, () => {
    const w = new World();
    w.build();
    const sig = new Uint8Array(
      readFileSync(new URL(`../../test/vectors/sigstructs/${name}.bin`, import.meta.url)),
    );
    assert.equal(tripped(w.init(sig)), 'EINIT.measurement');
    const broken = sig.slice();
    broken[600] ^= 4;
    assert.equal(tripped(w.init(broken)), 'EINIT.signature');
  });
}
