import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import * as os from '../src/index.js';

const code = (body: () => unknown) => {
  try {
    body();
  } catch (error) {
    return (error as os.OsError).code;
  }
  return 'nothing thrown';
};

const info = readFileSync('/proc/cpuinfo', 'utf8');
const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, 'm').exec(info)?.[1] ?? '';
const text = (...words: number[]) => Buffer.from(new Uint32Array(words).buffer).toString('latin1');

test('CPUID says what the kernel says about this processor', () => {
  const [highest, b, c, d] = os.cpuid(0);
  assert.equal(text(b, d, c), field('vendor_id'));
  assert.ok(highest >= 7);
  const [version, , features] = os.cpuid(1);
  const family = ((version >> 8) & 15) + (((version >> 8) & 15) === 15 ? (version >> 20) & 255 : 0);
  assert.equal(String(family), field('cpu family'));
  assert.equal(String(version & 15), field('stepping'));
  const flags = new Set(field('flags').split(' '));
  assert.equal(((features >>> 25) & 1) === 1, flags.has('aes'));
  assert.equal(((features >>> 27) & 1) === 1, true, 'Linux sets OSXSAVE');
  const brand = [0x80000002, 0x80000003, 0x80000004].flatMap((leaf) => os.cpuid(leaf));
  assert.equal(
    text(...brand)
      .replace(/\0.*$/, '')
      .trim(),
    field('model name').trim(),
  );
});

test('subleaves differ: the sizes of extended state', () => {
  const [supported, enabled, largest] = os.cpuid(0xd, 0);
  assert.ok((supported & 3) === 3 && enabled >= 576 && largest >= enabled);
  const [compact] = os.cpuid(0xd, 1);
  assert.notEqual(compact, supported);
  const [avxBytes, avxOffset] = os.cpuid(0xd, 2);
  assert.deepEqual([avxBytes, avxOffset], [256, 576]);
});

test('a leaf is a 32-bit number', () => {
  for (const bad of [-1, 2 ** 32, 1.5, Number.NaN]) {
    assert.equal(
      code(() => os.cpuid(bad)),
      'ARGUMENT_INVALID',
    );
    assert.equal(
      code(() => os.cpuid(0, bad)),
      'ARGUMENT_INVALID',
    );
  }
});

test('locks: many readers or one writer, until the descriptor is closed', () => {
  const dir = mkdtempSync(join(tmpdir(), 'nsgx-lock-'));
  const open = () => openSync(join(dir, 'file'), 'a+');
  const [a, b] = [open(), open()];
  try {
    os.lockFile(a, false);
    os.lockFile(b, false);
    assert.equal(
      code(() => os.lockFile(a, true)),
      'EAGAIN',
    );
    closeSync(b);
    os.lockFile(a, true);
    const c = open();
    assert.equal(
      code(() => os.lockFile(c, false)),
      'EAGAIN',
    );
    closeSync(a);
    os.lockFile(c, true);
    closeSync(c);
    assert.equal(
      code(() => os.lockFile(1 << 20, true)),
      'EBADF',
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
