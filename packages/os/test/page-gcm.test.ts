import assert from 'node:assert/strict';
import { createCipheriv, createDecipheriv, createHash } from 'node:crypto';
import { test } from 'node:test';
import { OsError, PageGcm } from '../src/index.js';

/** Bytes that follow from a name. */
function bytes(name: string, length: number): Uint8Array {
  return new Uint8Array(createHash('shake256', { outputLength: length }).update(name).digest());
}

const key = bytes('key', 16);
const gcm = PageGcm.create(key);

function sealed(i: number) {
  const [iv, header, page] = [bytes(`iv ${i}`, 12), bytes(`header ${i}`, 128), bytes(`page ${i}`, 4096)];
  const out = new Uint8Array(4096);
  const mac = new Uint8Array(16);
  gcm!.seal(iv, header, page, out, mac);
  return { iv, header, page, out, mac };
}

test('pages are encrypted as node:crypto does, one after the other in one context', { skip: !gcm }, () => {
  for (let i = 0; i < 64; i++) {
    const { iv, header, page, out, mac } = sealed(i);
    const cipher = createCipheriv('aes-128-gcm', key, iv).setAAD(header);
    assert.deepEqual(out, new Uint8Array(Buffer.concat([cipher.update(page), cipher.final()])));
    assert.deepEqual(mac, new Uint8Array(cipher.getAuthTag()));
    const decipher = createDecipheriv('aes-128-gcm', key, iv).setAAD(header).setAuthTag(mac);
    assert.deepEqual(new Uint8Array(Buffer.concat([decipher.update(out), decipher.final()])), page);
  }
});

test('a page opens with everything it was sealed with, and with nothing else', { skip: !gcm }, () => {
  const good = sealed(1);
  const other = PageGcm.create(bytes('other key', 16))!;
  const into = new Uint8Array(4096);
  const open = (part: Partial<typeof good>, context = gcm!) => {
    const { iv, header, out, mac } = { ...good, ...part };
    into.fill(0xee);
    return context.open(iv, header, out, into, mac);
  };
  const changed = (from: Uint8Array, at: number, bit: number) => {
    const copy = from.slice();
    copy[at] = from[at]! ^ (1 << bit);
    return copy;
  };
  for (let i = 0; i < 4096; i += 61) {
    for (const part of [
      { out: changed(good.out, i, i % 8) },
      { header: changed(good.header, i % 128, i % 8) },
      { iv: changed(good.iv, i % 12, i % 8) },
      { mac: changed(good.mac, i % 16, i % 8) },
    ]) {
      assert.equal(open(part), false);
      assert.deepEqual(into, new Uint8Array(4096));
    }
    // A refusal leaves nothing behind for the next page.
    assert.equal(open({}), true);
    assert.deepEqual(into, good.page);
  }
  assert.equal(open({}, other), false);
  other.close();
});

test('buffers of other sizes and closed contexts are refused', { skip: !gcm }, () => {
  const of = (...lengths: number[]) => lengths.map((length) => new Uint8Array(length));
  const refused = { name: OsError.name, code: 'ARGUMENT_INVALID' };
  for (const [iv, header, page, out, mac] of [
    of(11, 128, 4096, 4096, 16),
    of(12, 127, 4096, 4096, 16),
    of(12, 128, 4095, 4096, 16),
    of(12, 128, 4096, 4097, 16),
    of(12, 128, 4096, 4096, 15),
  ]) {
    assert.throws(() => gcm!.seal(iv!, header!, page!, out!, mac!), refused);
    assert.throws(() => gcm!.open(iv!, header!, page!, out!, mac!), refused);
  }
  for (const length of [0, 15, 17, 32]) assert.throws(() => PageGcm.create(new Uint8Array(length)), refused);
  const closed = PageGcm.create(key)!;
  closed.close();
  closed.close();
  const [iv, header, page, out, mac] = of(12, 128, 4096, 4096, 16);
  assert.throws(() => closed.seal(iv!, header!, page!, out!, mac!), refused);
});
