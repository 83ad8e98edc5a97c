/** The short way of marshalling against the long one: the same structures, results and refusals. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type CallDescription,
  describeEdl,
  type FlatMemory,
  marshalEcall,
  parseEdl,
  type UntrustedMemory,
} from '../src/index.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 200);
const SEED = Number(process.env.NSGX_SEED ?? 0xf1a7);
const BASE = 0x1000_0123_0000;
const PIECE = 4096;

/** Memory whose first page is one piece. */
class Memory implements UntrustedMemory {
  readonly bytes = new Uint8Array(1 << 18).fill(0xa5);
  readonly flat: FlatMemory | undefined;
  placed = 0;
  #used = 0;
  #beyond = PIECE;

  constructor(flat: boolean) {
    const bytes = this.bytes.subarray(0, PIECE);
    if (flat)
      this.flat = {
        address: BASE,
        origin: BigInt(BASE),
        bytes,
        data: new DataView(bytes.buffer, 0, PIECE),
        place: (length, align) => {
          const at = Math.ceil(this.#used / align) * align;
          if (at + length > PIECE) return -1;
          this.#used = at + length;
          this.placed++;
          return at;
        },
      };
  }

  alloc(length: number, align: number): bigint {
    const at = Math.ceil(this.#beyond / align) * align;
    assert.ok(length >= 1 && at + length <= this.bytes.length);
    this.#beyond = at + length;
    return BigInt(BASE + at);
  }

  view(address: bigint, length: number): Uint8Array {
    const at = Number(address) - BASE;
    if (at < 0 || at + length > this.bytes.length) throw new RangeError('outside');
    return this.bytes.subarray(at, at + length);
  }
}

const DESCRIPTION = describeEdl(
  parseEdl({
    file: 'flat.edl',
    text: `enclave {
  struct point { int x; double y; };
  trusted {
    public uint64_t scalars(int8_t a, uint16_t b, int c, uint64_t d, int64_t e, double f, bool g, [user_check] void *h);
    public struct point mirror(struct point p);
    public int sum([in, count=n] const int* values, unsigned n, [out] long* total, [in, out] int grid[2][3]);
    public void bytes([in, size=n] const uint8_t *data, [out, size=n] uint8_t *to, [in, out, size=n] void *both, size_t n);
    public int cells([in, size=unit, count=n] const void *cells, uint8_t unit, short n);
  };
  untrusted { };
};`,
  }),
);

const integer = fc.oneof(
  fc.integer({ min: -300, max: 70_000 }),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }),
  fc.constantFrom<unknown>(
    -0,
    0.5,
    Number.NaN,
    2 ** 53,
    '1',
    null,
    undefined,
    2n ** 63n,
    -(2n ** 63n),
    2n ** 64n - 1n,
  ),
);
const length = fc.oneof(
  fc.integer({ min: 0, max: 40 }),
  fc.constantFrom<unknown>(5000, -1, 3n, 'n', 2 ** 40),
);
const buffer = fc.oneof(
  fc.uint8Array({ maxLength: 48 }),
  fc.uint8Array({ minLength: 5000, maxLength: 5000 }),
  fc.array(fc.integer({ min: -5, max: 5 }), { maxLength: 8 }),
  fc.constantFrom<unknown>(
    null,
    undefined,
    'text',
    7,
    new Int32Array([1, 2, 3, 4, 5, 6]),
    new Float64Array(3),
  ),
);
const grid = fc.oneof(
  fc.constantFrom<unknown>(
    [
      [1, 2, 3],
      [4, 5, 6],
    ],
    null,
    new Int32Array(6),
    new Uint8Array(24),
  ),
  buffer,
);
const ARGUMENTS: Record<string, fc.Arbitrary<unknown[]>> = {
  scalars: fc.tuple(
    integer,
    integer,
    integer,
    integer,
    integer,
    fc.oneof(fc.double(), integer),
    fc.oneof(fc.boolean(), integer),
    integer,
  ),
  mirror: fc.tuple(fc.oneof(fc.record({ x: fc.integer(), y: fc.double() }), integer)),
  sum: fc.tuple(buffer, length, buffer, grid),
  bytes: fc.tuple(buffer, buffer, buffer, length),
  cells: fc.tuple(buffer, integer, length),
};

const copied = (value: unknown) => (ArrayBuffer.isView(value) ? structuredClone(value) : value);

/** What a call looks like to an enclave, and what its host gets when the enclave changes every byte that comes back. */
function outcome(call: CallDescription, args: unknown[], memory: Memory): unknown {
  const given = args.map(copied);
  try {
    const { index, address, finish } = marshalEcall(DESCRIPTION, call.name, given, memory);
    const structure = memory.view(address, call.size);
    const view = new DataView(structure.buffer, structure.byteOffset, structure.length);
    const seen = call.parameters.map((p) => {
      if (p.pass !== 'buffer') return Number(view.getUint8(p.offset));
      const at = view.getBigUint64(p.offset, true);
      if (at === 0n) return null;
      const bytes = memory.view(at, 8);
      const before = [...bytes];
      if (p.direction !== 'in') bytes.set(before.map((byte, i) => byte + i + 1));
      return before;
    });
    for (const p of call.parameters) if (p.pass === 'buffer') structure.fill(0, p.offset, p.offset + 8);
    const fields = [...structure];
    structure.fill(0x11, 0, call.returns === undefined ? 0 : 8);
    return { index, seen: seen.map(clip), fields, result: finish(), given };
  } catch (error) {
    return { code: (error as { code?: string }).code, message: (error as Error).message };
  }

  /** Bytes behind a shorter buffer are nobody's. */
  function clip(value: number | null | number[], i: number) {
    const p = call.parameters[i];
    if (!Array.isArray(value) || p?.pass !== 'buffer') return value;
    const count = args.find(
      (_, k) => call.parameters[k]?.name === p.target.count || call.parameters[k]?.name === p.target.unit,
    );
    return typeof count === 'number' ? value.slice(0, Math.min(8, count)) : value.slice(0, 1);
  }
}

for (const call of DESCRIPTION.ecalls)
  test(`the short way gives what the long one gives: ${call.name}`, () => {
    fc.assert(
      fc.property(ARGUMENTS[call.name] as fc.Arbitrary<unknown[]>, (args) => {
        assert.deepEqual(outcome(call, args, new Memory(true)), outcome(call, args, new Memory(false)));
      }),
      { seed: SEED, numRuns: RUNS },
    );
  });

test('small calls lie in the piece, also with buffers; what does not fit goes elsewhere', () => {
  const small = new Memory(true);
  const bytes = new Uint8Array(16).fill(3);
  marshalEcall(DESCRIPTION, 'bytes', [bytes, undefined, bytes, 16], small);
  assert.equal(small.placed, 4);
  assert.ok(
    small.bytes.subarray(PIECE).every((byte) => byte === 0xa5),
    'nothing outside of it',
  );
  const large = new Memory(true);
  const many = new Uint8Array(PIECE).fill(4);
  const call = marshalEcall(DESCRIPTION, 'bytes', [many, undefined, many, PIECE], large);
  assert.ok(Number(call.address) >= BASE + PIECE);
  const { out } = call.finish() as { out: { to: Uint8Array; both: Uint8Array } };
  assert.deepEqual([out.to[9], out.both[9]], [0, 4]);
});

test('an enclave that changes lengths during the call changes nothing', () => {
  const memory = new Memory(true);
  const to = new Uint8Array(8);
  const call = marshalEcall(DESCRIPTION, 'bytes', [new Uint8Array(8), to, null, 8], memory);
  memory.bytes.fill(0xff, 0, PIECE);
  const { out } = call.finish() as { out: { to: unknown; both: unknown } };
  assert.equal(out.to, to);
  assert.equal(out.both, null);
  assert.deepEqual([...to], new Array(8).fill(0xff));
});
