import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type FunctionDescription,
  MessageReader,
  MessageWriter,
  parseInterface,
  readArguments,
  readResult,
  signature,
  type ValueType,
  writeArguments,
  writeResult,
} from '../src/index.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 200);
const SEED = Number(process.env.NSGX_SEED ?? 0xc0dec);
const writer = new MessageWriter(2 ** 20);
const hex = (data: Uint8Array) => Buffer.from(data).toString('hex');
const codeOf = (body: () => unknown): string => {
  try {
    body();
  } catch (error) {
    return String((error as { code?: unknown }).code);
  }
  return 'nothing thrown';
};

const fn = (types: ValueType[], returns: FunctionDescription['returns'] = 'void'): FunctionDescription => ({
  name: 'f',
  params: types.map((type, i) => ({ name: `p${i}`, type })),
  returns,
});

const arbitrary: Record<ValueType, fc.Arbitrary<unknown>> = {
  i32: fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
  u32: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  i64: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  u64: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  f64: fc.double(),
  bool: fc.boolean(),
  string: fc.string({ unit: 'grapheme' }),
  bytes: fc.uint8Array({ maxLength: 40 }),
};
const typed = fc
  .array(fc.constantFrom(...(Object.keys(arbitrary) as ValueType[])), { maxLength: 8 })
  .chain((types) => fc.tuple(fc.constant(types), fc.tuple(...types.map((type) => arbitrary[type]))));

test('the layout of a message, byte by byte', () => {
  const f = fn(['i32', 'bool', 'string', 'bytes', 'u64']);
  const data = writeArguments(writer, f, [-2, true, 'hé', Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8), 2n ** 63n]);
  assert.equal(
    hex(data),
    'feffffffffffffff0100000000000000' +
      '030000000000000068c3a90000000000' +
      '08000000000000000102030405060708' +
      '0000000000000080',
  );
  assert.equal(hex(writeArguments(writer, fn([]), [])), '');
  assert.equal(hex(writeResult(writer, fn([], 'f64'), 1.5)), '000000000000f83f');
});

test('what is written is read back, for all types', () => {
  console.log(`fuzz seed ${SEED}, ${RUNS} runs`);
  fc.assert(
    fc.property(typed, ([types, values]) => {
      const message = writeArguments(writer, fn(types), values).slice();
      assert.equal(message.length % 8, 0);
      assert.deepEqual(readArguments(fn(types), message), values);
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

test('damaged messages are read or refused, never anything else', () => {
  const damage = fc.record({
    at: fc.nat(),
    bit: fc.nat(7),
    cut: fc.nat(20),
    grow: fc.uint8Array({ maxLength: 12 }),
  });
  fc.assert(
    fc.property(typed, damage, ([types, values], { at, bit, cut, grow }) => {
      const good = writeArguments(writer, fn(types), values);
      const bad = Uint8Array.from([...good.subarray(0, Math.max(0, good.length - cut)), ...grow]);
      if (bad.length > 0) bad[at % bad.length] ^= 1 << bit;
      const code = codeOf(() => readArguments(fn(types), bad));
      assert.ok(code === 'MESSAGE_MALFORMED' || code === 'nothing thrown', code);
      if (bad.length % 8 !== 0) assert.equal(code, 'MESSAGE_MALFORMED');
    }),
    { seed: SEED, numRuns: RUNS },
  );
});

test('values that do not fit are refused with the parameter named', () => {
  const bad: [ValueType, unknown][] = [
    ['i32', 2 ** 31],
    ['i32', 1.5],
    ['i32', '1'],
    ['u32', -1],
    ['u32', 2n ** 32n],
    ['i64', 2n ** 63n],
    ['i64', 2 ** 53],
    ['u64', -1n],
    ['f64', 1n],
    ['bool', 1],
    ['string', 7],
    ['string', '\ud800'],
    ['bytes', 'abc'],
    ['bytes', [1, 2]],
    ['bytes', null],
    ['i32', undefined],
  ];
  for (const [type, value] of bad)
    assert.throws(() => writeArguments(writer, fn([type]), [value]), {
      code: 'MESSAGE_INVALID',
      message: /argument p0 of f/,
    });
  assert.throws(() => writeArguments(writer, fn(['i32']), []), {
    code: 'MESSAGE_INVALID',
    message: /wrong number of arguments \(0\) for /,
  });
  assert.equal(
    codeOf(() => writeResult(writer, fn([]), 0)),
    'MESSAGE_INVALID',
  );
  assert.equal(
    codeOf(() => writeResult(writer, fn([], 'i32'), Promise.resolve(1))),
    'MESSAGE_INVALID',
  );
  assert.equal(
    codeOf(() => writeArguments(writer, fn(['bytes']), [new Uint8Array(2 ** 20)])),
    'MESSAGE_TOO_LARGE',
  );
});

test('responses must be exactly what the type says', () => {
  const le = (...values: bigint[]) => new Uint8Array(new BigUint64Array(values).buffer);
  assert.equal(readResult(fn([], 'i32'), le(0xffff_ffff_ffff_fffen)), -2);
  assert.equal(readResult(fn([]), le()), undefined);
  const refused: [FunctionDescription['returns'], Uint8Array][] = [
    ['void', le(0n)],
    ['i32', le()],
    ['i32', le(1n, 1n)],
    ['i32', le(0x8000_0000n)],
    ['i32', le(0xffff_fffen)],
    ['u32', le(2n ** 32n)],
    ['bool', le(2n)],
    ['bytes', le(1n)],
    ['bytes', le(2n ** 60n)],
    ['bytes', Uint8Array.of(...le(1n), 1)],
    ['string', le(1n, 0xffn)],
    ['i32', Uint8Array.of(1, 2, 3)],
  ];
  for (const [type, message] of refused)
    assert.equal(
      codeOf(() => readResult(fn([], type), message)),
      'MESSAGE_MALFORMED',
      type,
    );
});

test('bytes read are copies', () => {
  const message = writeArguments(writer, fn(['bytes']), [Uint8Array.of(1)]).slice();
  const value = new MessageReader(message).read('bytes', 'x') as Uint8Array;
  message.fill(9);
  assert.deepEqual(value, Uint8Array.of(1));
});

test('interfaces are checked and named in full', () => {
  const good = parseInterface({
    format: 1,
    name: 'adder',
    ecalls: [{ name: 'add', params: [{ name: 'a', type: 'i32' }], returns: 'i32' }],
    ocalls: [],
    build: { gcc: '12' },
  });
  assert.equal(signature(good.ecalls[0]), 'add(a: i32): i32');
  const refused = [
    null,
    {},
    { ecalls: 1 },
    { ecalls: [{ name: '1x', params: [], returns: 'void' }] },
    { ecalls: [{ name: 'x', params: [{ name: 'a', type: 'i8' }], returns: 'void' }] },
    { ecalls: [], ocalls: [{ name: 'x', params: [], returns: 'int' }] },
    { format: 2, ecalls: [] },
  ];
  for (const value of refused)
    assert.equal(
      codeOf(() => parseInterface(value)),
      'INTERFACE_INVALID',
    );
  const twice = { ecalls: [1, 2].map(() => ({ name: 'x', params: [], returns: 'void' })) };
  assert.equal(
    codeOf(() => parseInterface(twice)),
    'INTERFACE_NAME',
  );
});
