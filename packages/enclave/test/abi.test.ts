/** The host's constants against the C headers they describe. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { COMMAND, ECALL_MS, MISSING, OCALL_MS, STATUS, statusName } from '../src/index.js';
import { PACKAGE } from './harness.js';

const read = (path: string) => readFileSync(join(PACKAGE, 'native', path), 'utf8');

it('has the commands and feature bits of thread.h', () => {
  const header = read('runtime/thread.h');
  const defines = new Map(
    [...header.matchAll(/#define (\w+) \(?(-?\d+)\)?/g)].map((m) => [m[1], Number(m[2])]),
  );
  for (const [name, value] of Object.entries(COMMAND))
    assert.equal(defines.get(`COMMAND_${name}`), value, name);
  assert.equal(defines.get('MISSING_XGETBV1'), MISSING.XGETBV1);
  assert.equal(defines.get('MISSING_AESNI'), MISSING.AESNI);
  assert.equal(defines.get('MISSING_PCLMUL'), MISSING.PCLMULQDQ);
});

it('has the statuses of nsgx.h', () => {
  const values = new Map(
    [...read('include/nsgx.h').matchAll(/NSGX_(\w+) = (0x[0-9a-f]+|\d+)[,\s]/g)].map((m) => [
      m[1],
      Number(m[2]),
    ]),
  );
  assert.deepEqual(Object.fromEntries(values), { ...STATUS });
  assert.equal(statusName(2), 'RESPONSE_TOO_LARGE');
  assert.equal(statusName(0x10003), 'FAILED(3)');
  assert.equal(statusName(99), 'UNKNOWN(99)');
});

it('has the marshalling structures of runtime.h', () => {
  const header = read('runtime/runtime.h');
  for (const [name, offsets] of [
    ['ecall_ms', ECALL_MS],
    ['ocall_ms', OCALL_MS],
  ] as const) {
    const body = new RegExp(`struct ${name} \\{([^}]*)\\}`).exec(header);
    assert.ok(body !== null);
    const fields = [...body[1].matchAll(/uint64_t (\w+);/g)].map((m) => m[1].toUpperCase());
    const { SIZE, ...rest } = offsets;
    assert.deepEqual(fields, Object.keys(rest));
    assert.deepEqual(
      fields.map((_, i) => i * 8),
      Object.values(rest),
    );
    assert.equal(SIZE, fields.length * 8);
  }
});
