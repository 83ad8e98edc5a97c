import assert from 'node:assert/strict';
import { verify, X509Certificate } from 'node:crypto';
import { describe, it } from 'node:test';
import {
  decodeTcbVersion,
  encodeTcbVersion,
  GUEST_MSG_TYPE,
  MSG_KEY_REQ,
  MSG_KEY_RSP,
  MSG_REPORT_REQ,
  MSG_REPORT_RSP,
  parseAttestationReport,
} from '@nestedsgx/arch';
import fc from 'fast-check';
import { GuestMessageChannel, PSP_STATUS, SoftwarePsp } from '../src/index.js';
import { openPayload, readHeader, sealMessage } from '../src/psp/guest-message.js';
import { fuzzRuns, launchedPsp, SEED } from './machines.js';

const DATA = new Uint8Array(64).map((_, i) => i);

function channel(psp: SoftwarePsp, vmpck = 0): GuestMessageChannel {
  return new GuestMessageChannel(vmpck, psp.vmpck(vmpck), (m) => psp.guestRequest(m));
}

/** Sends a raw request under VMPCK n and opens the answer. */
function exchange(
  psp: SoftwarePsp,
  type: number,
  payload: Uint8Array,
  sequence: bigint,
  vmpck = 0,
): { payload: Uint8Array; type: number; sequence: bigint } {
  const answer = psp.guestRequest(
    sealMessage(psp.vmpck(vmpck), { vmpck, type, version: 1, sequence, payload }),
  );
  const header = readHeader(answer);
  assert.ok(typeof header !== 'string');
  const plain = openPayload(psp.vmpck(vmpck), answer, header);
  assert.ok(plain);
  return { payload: plain, type: header.MSG_TYPE, sequence: header.MSG_SEQNO };
}

const refused = (status: number) => ({ code: 'PSP_COMMAND', status });

describe('attestation reports', () => {
  it('are signed by the VCEK and say what was asked', async () => {
    const psp = await SoftwarePsp.open(null);
    psp.launchStart({ policy: 0x3_0000n });
    psp.launchUpdate(1, 0x1000, new Uint8Array(4096));
    const digest = psp.launchFinish({ hostData: new Uint8Array(32).fill(7) });
    const raw = channel(psp).report(DATA);
    const report = parseAttestationReport(raw);
    assert.equal(report.VERSION, 3);
    assert.equal(report.VMPL, 0);
    assert.deepEqual(report.REPORT_DATA, DATA);
    assert.deepEqual(report.MEASUREMENT, digest);
    assert.deepEqual(report.HOST_DATA, new Uint8Array(32).fill(7));
    assert.deepEqual(report.CHIP_ID, psp.chipId);
    assert.equal(report.POLICY, 0x3_0000n);
    assert.equal(report.product, 'Milan');
    assert.equal(report.signingKey, 'VCEK');
    const { vcek } = psp.certificates();
    const rs = [report.SIGNATURE.R, report.SIGNATURE.S].map((n) => Buffer.from(n.subarray(0, 48)).reverse());
    const signature = Buffer.concat(rs);
    const key = { key: new X509Certificate(vcek).publicKey, dsaEncoding: 'ieee-p1363' as const };
    assert.ok(verify('sha384', raw.subarray(0, 0x2a0), key, signature));
    const flipped = Uint8Array.from(raw.subarray(0, 0x2a0));
    flipped[0x90] ^= 1;
    assert.ok(!verify('sha384', flipped, key, signature));
  });

  it('speak for the VMPL of the key or a less privileged one', async () => {
    const psp = await launchedPsp();
    const ask = (vmpck: number, vmpl: number, n: bigint, keySel = 0) =>
      MSG_REPORT_RSP.decode(
        exchange(
          psp,
          GUEST_MSG_TYPE.REPORT_REQ,
          MSG_REPORT_REQ.encode({ VMPL: vmpl, KEY_SEL: keySel }),
          n,
          vmpck,
        ).payload,
      );
    assert.equal(ask(1, 0, 1n).STATUS, 0x16);
    assert.equal(ask(1, 1, 3n).STATUS, 0);
    assert.equal(parseAttestationReport(ask(1, 3, 5n).REPORT).VMPL, 3);
    assert.equal(ask(1, 4, 7n).STATUS, 0x16);
    assert.equal(ask(0, 0, 1n, 1).STATUS, 0);
    assert.equal(ask(0, 0, 3n, 2).STATUS, 0x27, 'no VLEK is installed');
    assert.equal(ask(0, 0, 5n, 3).STATUS, 0x16);
    const reserved = MSG_REPORT_REQ.encode({});
    reserved[0x5f] = 1;
    const answer = exchange(psp, GUEST_MSG_TYPE.REPORT_REQ, reserved, 7n);
    assert.equal(MSG_REPORT_RSP.decode(answer.payload).STATUS, 0x16);
    assert.deepEqual([answer.type, answer.sequence], [GUEST_MSG_TYPE.REPORT_RSP, 8n]);
    assert.throws(() => channel(psp, 2).report(DATA, 0), { code: 'PSP_RESPONSE' });
  });
});

describe('guest messages', () => {
  const request = (psp: SoftwarePsp, over: Partial<Parameters<typeof sealMessage>[1]> = {}) =>
    sealMessage(psp.vmpck(0), {
      vmpck: 0,
      type: GUEST_MSG_TYPE.REPORT_REQ,
      version: 1,
      sequence: 1n,
      payload: MSG_REPORT_REQ.encode({}),
      ...over,
    });

  it('are refused before launch has finished', async () => {
    const psp = await SoftwarePsp.open(null);
    assert.throws(() => psp.guestRequest(new Uint8Array(4096)), refused(PSP_STATUS.INVALID_GUEST_STATE));
    psp.launchStart();
    assert.throws(() => psp.guestRequest(request(psp)), refused(PSP_STATUS.INVALID_GUEST_STATE));
  });

  it('need the next sequence number; a replay is refused', async () => {
    const psp = await launchedPsp();
    for (const sequence of [0n, 2n, 3n, 2n ** 64n - 1n]) {
      assert.throws(() => psp.guestRequest(request(psp, { sequence })), refused(PSP_STATUS.INVALID_PARAM));
    }
    const first = request(psp);
    psp.guestRequest(first);
    assert.throws(() => psp.guestRequest(first), refused(PSP_STATUS.INVALID_PARAM));
    assert.equal(exchange(psp, GUEST_MSG_TYPE.REPORT_REQ, MSG_REPORT_REQ.encode({}), 3n).sequence, 4n);
    assert.equal(
      exchange(psp, GUEST_MSG_TYPE.REPORT_REQ, MSG_REPORT_REQ.encode({ VMPL: 3 }), 1n, 3).sequence,
      2n,
    );
  });

  it('must have a known type, version and size', async () => {
    const psp = await launchedPsp();
    for (const over of [
      { type: 0 },
      { type: GUEST_MSG_TYPE.REPORT_RSP },
      { type: GUEST_MSG_TYPE.EXPORT_REQ },
      { type: GUEST_MSG_TYPE.KEY_REQ },
      { version: 0 },
      { version: 2 },
      { payload: new Uint8Array(0x5f) },
      { payload: new Uint8Array(0x61) },
      { payload: new Uint8Array(0) },
    ]) {
      assert.throws(
        () => psp.guestRequest(request(psp, over)),
        refused(PSP_STATUS.INVALID_PARAM),
        JSON.stringify(over),
      );
    }
    assert.throws(() => psp.guestRequest(new Uint8Array(10)), refused(PSP_STATUS.INVALID_PARAM));
    psp.guestRequest(request(psp));
  });

  it('are refused with any bit flipped, and the owner of the key goes on', async () => {
    const psp = await launchedPsp();
    const good = request(psp);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: good.length * 8 - 1 }), (bit) => {
        const bad = Uint8Array.from(good);
        bad[bit >>> 3] ^= 1 << (bit & 7);
        assert.throws(() => psp.guestRequest(bad), { code: 'PSP_COMMAND' });
      }),
      { seed: SEED, numRuns: fuzzRuns(400) },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096 }), (noise) => {
        assert.throws(() => psp.guestRequest(noise), { code: 'PSP_COMMAND' });
      }),
      { seed: SEED, numRuns: fuzzRuns(100) },
    );
    psp.guestRequest(good);
  });

  it('may fill a page after their end', async () => {
    const psp = await launchedPsp();
    const page = new Uint8Array(4096).fill(0xaa);
    page.set(request(psp));
    psp.guestRequest(page);
  });
});

describe('the monitor’s channel', () => {
  it('refuses its key after any failure', async () => {
    const psp = await launchedPsp();
    const tamper: [string, (answer: Uint8Array) => Uint8Array][] = [
      ['bit flip', (a) => a.map((b, i) => (i === 0x70 ? b ^ 1 : b))],
      ['tag', (a) => a.map((b, i) => (i === 0 ? b ^ 1 : b))],
      ['sequence', (a) => a.map((b, i) => (i === 0x20 ? b + 2 : b))],
      ['type', (a) => a.map((b, i) => (i === 0x34 ? 4 : b))],
      ['truncated', (a) => a.subarray(0, 0x80)],
      ['empty', () => new Uint8Array(0)],
    ];
    for (const [name, change] of tamper) {
      const own = await launchedPsp();
      const c = new GuestMessageChannel(0, own.vmpck(0), (m) => change(own.guestRequest(m)));
      assert.throws(() => c.report(DATA), { code: 'PSP_CHANNEL' }, name);
      assert.equal(c.usable, false);
      assert.throws(() => c.deriveKey(), { code: 'PSP_CHANNEL' }, 'still refused');
    }
    const broken = new GuestMessageChannel(0, new Uint8Array(32), (m) => psp.guestRequest(m));
    assert.throws(() => broken.report(DATA), { code: 'PSP_CHANNEL' });
  });
  it('does not take the answer to an earlier question', async () => {
    const psp = await launchedPsp();
    let kept: Uint8Array | undefined;
    const c = new GuestMessageChannel(0, psp.vmpck(0), (m) => {
      const answer = psp.guestRequest(m);
      kept ??= answer;
      return kept;
    });
    c.report(DATA);
    assert.throws(() => c.report(DATA), { code: 'PSP_CHANNEL' });
  });
  it('goes on after an answer with an error status', async () => {
    const psp = await launchedPsp();
    const c = channel(psp, 1);
    assert.throws(() => c.report(DATA, 0), { code: 'PSP_RESPONSE' });
    assert.equal(c.report(DATA, 1).length, 1184);
  });
});

describe('derived keys', () => {
  const launch = (psp: SoftwarePsp, first = 0): GuestMessageChannel => {
    psp.launchStart();
    psp.launchUpdate(1, 0x1000, new Uint8Array(4096).fill(first));
    psp.launchFinish();
    return channel(psp);
  };
  const hex = (b: Uint8Array) => Buffer.from(b).toString('hex');

  it('are the same on the same chip, and depend on what is selected', async () => {
    const { mkdtempSync, rmSync } = await import('node:fs');
    const { join } = await import('node:path');
    const { tmpdir } = await import('node:os');
    const dir = mkdtempSync(join(tmpdir(), 'nsgx-keys-'));
    try {
      const chip = () => SoftwarePsp.open(join(dir, 'psp'));
      const a = launch(await chip());
      const b = launch(await chip());
      const other = launch(await chip(), 1);
      const elsewhere = launch(await SoftwarePsp.open(null));
      assert.equal(hex(a.deriveKey()), hex(b.deriveKey()), 'after a restart');
      assert.notEqual(hex(a.deriveKey()), hex(other.deriveKey()), 'MEASUREMENT');
      assert.equal(hex(a.deriveKey({ fields: [] })), hex(other.deriveKey({ fields: [] })), 'not selected');
      assert.notEqual(hex(a.deriveKey()), hex(elsewhere.deriveKey()), 'another chip');
      assert.notEqual(
        hex(a.deriveKey({ root: 'vmrk' })),
        hex(b.deriveKey({ root: 'vmrk' })),
        'VMRK is per launch',
      );
      assert.notEqual(hex(a.deriveKey({ vmpl: 0 })), hex(a.deriveKey({ vmpl: 1 })));
      const all = new Set([
        hex(a.deriveKey({ fields: [] })),
        hex(a.deriveKey({ fields: ['GUEST_POLICY'] })),
        hex(a.deriveKey({ fields: ['IMAGE_ID'] })),
        hex(a.deriveKey({ fields: ['FAMILY_ID'] })),
        hex(a.deriveKey({ fields: ['GUEST_SVN'] })),
        hex(a.deriveKey({ fields: ['TCB_VERSION'] })),
        hex(a.deriveKey({ fields: ['TCB_VERSION'], tcbVersion: 1n })),
      ]);
      assert.equal(all.size, 7);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it('are refused for what the guest is not entitled to', async () => {
    const psp = await launchedPsp();
    const report = parseAttestationReport(channel(psp, 3).report(DATA, 3));
    const tcb = decodeTcbVersion(report.COMMITTED_TCB, 'Milan');
    let sequence = -1n;
    const status = (fields: Parameters<typeof MSG_KEY_REQ.encode>[0], change?: (b: Uint8Array) => void) => {
      const payload = MSG_KEY_REQ.encode(fields);
      change?.(payload);
      sequence += 2n;
      return MSG_KEY_RSP.decode(exchange(psp, GUEST_MSG_TYPE.KEY_REQ, payload, sequence, 1).payload).STATUS;
    };
    const VMPL = 1;
    assert.equal(status({ VMPL }), 0);
    assert.equal(status({ VMPL: 0 }), 0x16, 'VMPCK1 cannot have VMPL0 keys');
    assert.equal(status({ VMPL: 4 }), 0x16);
    assert.equal(status({ VMPL, GUEST_SVN: 1 }), 0x16, 'no ID block: SVN 0');
    assert.equal(status({ VMPL, GUEST_FIELD_SELECT: 1n << 6n }), 0x16);
    assert.equal(status({ VMPL, ROOT_KEY_SELECT: 1 }), 0);
    assert.equal(status({ VMPL, ROOT_KEY_SELECT: 2 << 1 }), 0x27, 'VLEK');
    assert.equal(status({ VMPL, ROOT_KEY_SELECT: 3 << 1 }), 0x16);
    assert.equal(status({ VMPL, ROOT_KEY_SELECT: 1 << 3 }), 0x16);
    assert.equal(status({ VMPL, TCB_VERSION: encodeTcbVersion(tcb, 'Milan') }), 0);
    const newer = encodeTcbVersion({ ...tcb, SNP: tcb.SNP + 1, MICROCODE: 0 }, 'Milan');
    assert.equal(status({ VMPL, TCB_VERSION: newer }), 0x16);
    assert.equal(status({ VMPL, TCB_VERSION: 1n << 16n }), 0x16, 'reserved component');
    assert.equal(
      status({ VMPL }, (b) => {
        b[4] = 1;
      }),
      0x16,
    );
  });
});
