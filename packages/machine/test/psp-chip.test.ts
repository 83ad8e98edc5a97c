import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { SoftwarePsp } from '../src/index.js';
import { decodeChip, encodeChip } from '../src/psp/chip.js';
import { storeChip } from '../src/psp/chip-store.js';
import * as der from '../src/psp/der.js';
import { manufactureChip } from '../src/psp/manufacture.js';

/** Length of the header of a DER value. */
function headerLength(value: Uint8Array): number {
  return value[1] < 0x80 ? 2 : 2 + (value[1] & 0x7f);
}

/** The content of a DER value. */
function content(value: Uint8Array): Uint8Array {
  return value.subarray(headerLength(value));
}

/** The values inside a DER SEQUENCE. */
function children(value: Uint8Array): Uint8Array[] {
  const out: Uint8Array[] = [];
  for (let rest = content(value); rest.length > 0; ) {
    const head = headerLength(rest);
    let length = rest[1];
    if (head > 2) length = rest.subarray(2, head).reduce((n, b) => n * 256 + b, 0);
    out.push(rest.subarray(0, head + length));
    rest = rest.subarray(head + length);
  }
  return out;
}

describe('the chain of a software chip', () => {
  const chip = manufactureChip();
  const ark = new X509Certificate(chip.certificates.ark);
  const ask = new X509Certificate(chip.certificates.ask);
  const vcek = new X509Certificate(chip.certificates.vcek);

  it('verifies from VCEK to ARK and in no other order', () => {
    assert.ok(vcek.verify(ask.publicKey) && vcek.checkIssued(ask));
    assert.ok(ask.verify(ark.publicKey) && ask.checkIssued(ark));
    assert.ok(ark.verify(ark.publicKey) && ark.checkIssued(ark));
    assert.ok(!vcek.verify(ark.publicKey));
    assert.ok(!ask.verify(ask.publicKey));
    assert.deepEqual([ark.ca, ask.ca, vcek.ca], [true, true, false]);
    assert.ok(vcek.checkPrivateKey(chip.vcekKey));
  });

  it('verifies in webcrypto too', async () => {
    const algorithm = { name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' };
    const signedBy = async (certificate: Uint8Array, issuer: X509Certificate) => {
      const spki = issuer.publicKey.export({ type: 'spki', format: 'der' });
      const key = await crypto.subtle.importKey('spki', spki, algorithm, false, ['verify']);
      const [tbs, , bits] = children(certificate);
      const [r, s] = children(content(bits).subarray(1));
      const fixed = (n: Uint8Array) => Buffer.from(content(n)).toString('hex').padStart(96, '0').slice(-96);
      const raw = Uint8Array.from(Buffer.from(fixed(r) + fixed(s), 'hex'));
      return crypto.subtle.verify(algorithm, key, raw, Uint8Array.from(tbs));
    };
    assert.ok(await signedBy(chip.certificates.vcek, ask));
    assert.ok(await signedBy(chip.certificates.ask, ark));
    assert.ok(!(await signedBy(chip.certificates.vcek, ark)));
  });

  it('says in every subject that it is not AMD', () => {
    for (const c of [ark, ask, vcek]) {
      assert.match(c.subject, /not AMD/);
      assert.doesNotMatch(c.subject, /Advanced Micro Devices/);
    }
    assert.notEqual(ark.subject, new X509Certificate(manufactureChip().certificates.ark).subject);
  });

  it('is valid now and for years', () => {
    for (const c of [ark, ask, vcek]) {
      assert.ok(Date.parse(c.validFrom) < Date.now());
      assert.ok(Date.parse(c.validTo) > Date.now() + 10 * 31_557_600_000);
    }
  });

  it('carries product, TCB and hardware id where AMD puts them', () => {
    const find = (oid: string) => {
      const id = Buffer.from(der.oid(oid));
      const at = Buffer.from(chip.certificates.vcek).indexOf(id);
      assert.notEqual(at, -1, oid);
      const value = Buffer.from(chip.certificates.vcek).subarray(at + id.length);
      assert.equal(value[0], 4, 'OCTET STRING');
      return value.subarray(2, 2 + value[1]);
    };
    const arc = '1.3.6.1.4.1.3704.1';
    assert.deepEqual([...find(`${arc}.3.1`)], [2, 1, chip.tcb.BOOT_LOADER]);
    assert.deepEqual([...find(`${arc}.3.2`)], [2, 1, chip.tcb.TEE]);
    assert.deepEqual([...find(`${arc}.3.3`)], [2, 1, chip.tcb.SNP]);
    assert.deepEqual([...find(`${arc}.3.8`)], [2, 2, 0, chip.tcb.MICROCODE], 'INTEGER stays positive');
    assert.deepEqual([...find(`${arc}.4`)], [...chip.id]);
    assert.equal(find(`${arc}.2`).subarray(2).toString(), 'Milan-B1');
  });

  it('encodes dates before and after 2050', () => {
    assert.equal(
      Buffer.from(der.time(new Date('2049-12-31T23:59:59Z'))).toString('latin1'),
      '\x17\x0d491231235959Z',
    );
    assert.equal(
      Buffer.from(der.time(new Date('2050-01-01T00:00:00Z'))).toString('latin1'),
      '\x18\x0f20500101000000Z',
    );
    assert.throws(() => der.tlv(4, new Uint8Array(0x1_0000)), RangeError);
  });
});

describe('the stored chip', () => {
  let home: string;
  before(() => {
    home = mkdtempSync(join(tmpdir(), 'nsgx-psp-'));
  });
  after(() => rmSync(home, { recursive: true, force: true }));

  it('is made once, privately, and found again', async () => {
    const dir = join(home, 'deep', 'psp');
    const first = await SoftwarePsp.open(dir);
    const again = await SoftwarePsp.open(dir);
    assert.deepEqual(again.rootFingerprint(), first.rootFingerprint());
    assert.deepEqual(again.chipId, first.chipId);
    assert.deepEqual(readdirSync(dir), ['chip.json'], 'no temporary file stays');
    assert.equal(statSync(dir).mode & 0o777, 0o700);
    assert.equal(statSync(join(dir, 'chip.json')).mode & 0o777, 0o600);
    const spki = new X509Certificate(first.certificates().ark).publicKey.export({
      type: 'spki',
      format: 'der',
    });
    assert.deepEqual(Buffer.from(first.rootFingerprint()), createHash('sha256').update(spki).digest());
    assert.notDeepEqual((await SoftwarePsp.open(null)).rootFingerprint(), first.rootFingerprint());
  });

  it('opens fast once it is made', async () => {
    const dir = join(home, 'fast');
    await SoftwarePsp.open(dir);
    const times: number[] = [];
    for (let i = 0; i < 7; i++) {
      const start = performance.now();
      await SoftwarePsp.open(dir);
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    assert.ok(times[3] < 50, `median ${times[3]} ms`);
  });

  it('of two that store at once, one wins and both have it', () => {
    const dir = join(home, 'race');
    const winner = storeChip(dir, manufactureChip());
    const loser = storeChip(dir, manufactureChip());
    assert.deepEqual(loser.id, winner.id);
  });

  it('says clearly that it is damaged', async () => {
    const dir = join(home, 'damaged');
    await SoftwarePsp.open(dir);
    const path = join(dir, 'chip.json');
    const good = readFileSync(path, 'utf8');
    const [line] = good.split('\n');
    const other = manufactureChip();
    const swapped = { ...JSON.parse(line), vcekKey: JSON.parse(encodeChip(other).split('\n')[0]).vcekKey };
    const summed = (text: string) => `${text}\n${createHash('sha256').update(text).digest('hex')}\n`;
    for (const bad of [
      '',
      good.slice(0, 100),
      good.slice(0, -2),
      good.replace('"format":1', '"format":2'),
      `${good}x`,
      `${line.slice(0, 50)}X${line.slice(51)}${good.slice(line.length)}`,
      summed('{}'),
      summed('null'),
      summed('not json'),
      summed(JSON.stringify(swapped)),
      summed(JSON.stringify({ ...JSON.parse(line), secret: 'AAAA' })),
      'x'.repeat(70_000),
    ]) {
      writeFileSync(path, bad);
      await assert.rejects(SoftwarePsp.open(dir), (e: Error & { code: string; advice: string }) => {
        assert.equal(e.code, 'PSP_STATE_DAMAGED', bad.slice(0, 40));
        assert.ok(e.message.includes(path) && e.advice.length > 0);
        return true;
      });
    }
    writeFileSync(path, good);
    await SoftwarePsp.open(dir);
  });

  it('is refused when others may read it', async () => {
    const dir = join(home, 'open');
    await SoftwarePsp.open(dir);
    chmodSync(join(dir, 'chip.json'), 0o640);
    await assert.rejects(SoftwarePsp.open(dir), { code: 'PSP_STATE_PERMISSIONS' });
    chmodSync(join(dir, 'chip.json'), 0o600);
    chmodSync(dir, 0o755);
    await assert.rejects(SoftwarePsp.open(dir), { code: 'PSP_STATE_PERMISSIONS' });
  });

  it('reports a directory that cannot be used', async () => {
    const file = join(home, 'file');
    writeFileSync(file, '');
    await assert.rejects(SoftwarePsp.open(join(file, 'psp')), { code: 'PSP_STATE_IO' });
    const dir = join(home, 'is-directory');
    mkdirSync(join(dir, 'chip.json'), { recursive: true, mode: 0o700 });
    await assert.rejects(SoftwarePsp.open(dir), { code: 'PSP_STATE_IO' });
  });

  it('survives a round trip', () => {
    const chip = manufactureChip();
    const back = decodeChip(encodeChip(chip), 'here');
    assert.deepEqual(back.certificates, chip.certificates);
    assert.deepEqual(back.secret, chip.secret);
    assert.deepEqual(back.tcb, chip.tcb);
  });
});
