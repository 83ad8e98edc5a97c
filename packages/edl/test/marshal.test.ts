/** Calls marshalled here and executed by compiled C: an image of untrusted memory goes to a program and back. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import {
  describeEdl,
  type EdlDescription,
  marshalEcall,
  marshalOcall,
  parseEdl,
  type UntrustedMemory,
} from '../src/index.js';
import { compile, HEADERS, structures, withProgram } from './c-structures.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 100);
const SEED = Number(process.env.NSGX_SEED ?? 0xed1);
const BASE = 0x1_2340_0000n;
const SIZE = 1 << 20;

class Image implements UntrustedMemory {
  readonly bytes = new Uint8Array(SIZE).fill(0xa5);
  #at = 16;

  alloc(length: number, align: number): bigint {
    const at = Math.ceil(this.#at / align) * align;
    assert.ok(length >= 1 && at + length <= SIZE);
    this.#at = at + length;
    return BASE + BigInt(at);
  }

  view(address: bigint, length: number): Uint8Array {
    const at = address - BASE;
    if (at < 0n || at + BigInt(length) > BigInt(SIZE)) throw new RangeError('outside');
    return this.bytes.subarray(Number(at), Number(at) + length);
  }
}

const EDL = parseEdl({
  file: 'calc.edl',
  text: `enclave {
  enum level { LOW, HIGH = 7 };
  union mixed { uint64_t q; float f; };
  struct point { int x; short y[2]; double z; uint8_t tag[4]; };
  struct list { uint8_t flag; size_t n; [count=n] uint32_t* items; uint16_t bytes; [size=bytes] void* raw; };
  trusted {
    public int add(int a, int b);
    public unsigned long long scalars(char c, unsigned char uc, short s, unsigned u, long l, float f, double d,
      long double ld, bool b, wchar_t w, enum level e, size_t z);
    public struct point mirror(struct point p, union mixed m);
    public size_t reverse([in, size=n] const uint8_t* data, [out, size=n] uint8_t* to, size_t n);
    public int sum([in, count=n] const int* values, unsigned n, [out] long* total, [in, out] int grid[2][3]);
    public size_t upper([in, out, string] char* text, [in, wstring] const wchar_t* wide);
    public int deep([in, out, count=k] struct list* lists, int k);
    public size_t raw([user_check] void* p);
    public void nothing();
    public void array([in, isary] array_t a, [in, out, isptr, size=4] buffer_t b);
  };
  untrusted {
    int o_write(int fd, [in, size=n] const void* data, size_t n) propagate_errno;
    void o_fill([out, size=n] uint8_t* data, size_t n, [out] int* written, [in, out, string] char* name);
    struct point o_point([in] struct point* p, [in, string] const char* s, [in, wstring] const wchar_t* w);
    int o_deep([in, out, count=k] struct list* lists, int k);
    void o_nothing();
  };
};`,
});
const DESCRIPTION: EdlDescription = JSON.parse(
  JSON.stringify(
    describeEdl(EDL, { types: { array_t: { array: 'int', count: 3 }, buffer_t: { pointer: null } } }),
  ),
);

const PROGRAM = `
${HEADERS}
#include <sys/mman.h>
#include <fcntl.h>
#include <ctype.h>
typedef int array_t[3]; typedef void* buffer_t;
${structures(EDL)}
static char *base = (char *)${BASE}ull;
static size_t next = 512 * 1024;
static void *take(size_t n) { void *p = base + next; next += (n + 15) & ~15ul; return p; }
static void ecall(int index, void *p) {
  switch (index) {
  case 0: { ms_add_t *ms = p; ms->ms_retval = ms->ms_a + ms->ms_b; break; }
  case 1: { ms_scalars_t *ms = p;
    ms->ms_retval = ms->ms_c == -5 && ms->ms_uc == 250 && ms->ms_s == -300 && ms->ms_u == 4000000000u && ms->ms_l == -9000000000l
      && ms->ms_f == 0.5f && ms->ms_d == -1e300 && ms->ms_ld == 0.1 && ms->ms_b == true && ms->ms_w == 0x1f600
      && ms->ms_e == HIGH && ms->ms_z == SIZE_MAX ? UINT64_MAX : 0; break; }
  case 2: { ms_mirror_t *ms = p; struct point q = ms->ms_p; q.x = -q.x; q.z *= 2; q.y[1] = q.y[0];
    q.tag[3] = (uint8_t)ms->ms_m.q; ms->ms_retval = q; break; }
  case 3: { ms_reverse_t *ms = p; for (size_t i = 0; i < ms->ms_n; i++) ms->ms_to[ms->ms_n - 1 - i] = ms->ms_data[i];
    ms->ms_retval = ms->ms_n; break; }
  case 4: { ms_sum_t *ms = p; *ms->ms_total = 0; for (unsigned i = 0; i < ms->ms_n; i++) *ms->ms_total += ms->ms_values[i];
    for (int i = 0; i < 6; i++) ms->ms_grid[i] += i; ms->ms_retval = (int)ms->ms_n; break; }
  case 5: { ms_upper_t *ms = p; if (ms->ms_text) for (char *c = ms->ms_text; *c; c++) *c = (char)toupper(*c);
    if (ms->ms_text && ms->ms_text_len != strlen(ms->ms_text) + 1) abort();
    if (!ms->ms_text && ms->ms_text_len != 0) abort();
    ms->ms_retval = ms->ms_wide ? wcslen(ms->ms_wide) : 1000;
    if (ms->ms_wide && ms->ms_wide_len != (wcslen(ms->ms_wide) + 1) * sizeof(wchar_t)) abort(); break; }
  case 6: { ms_deep_t *ms = p; int sum = 0;
    for (int k = 0; k < ms->ms_k; k++) { struct list *l = ms->ms_lists + k; l->flag++;
      if (l->items) for (size_t i = 0; i < l->n; i++) { sum += l->items[i]; l->items[i] *= 2; }
      if (l->raw) ((char *)l->raw)[0] = '!';
      if (l->n > 2) l->n = 2; }
    ms->ms_retval = sum; break; }
  case 7: { ms_raw_t *ms = p; ms->ms_retval = (size_t)ms->ms_p; break; }
  case 8: if (p != NULL) abort(); break;
  case 9: { ms_array_t *ms = p; ((uint8_t *)ms->ms_b)[0] = (uint8_t)((*ms->ms_a)[0] + (*ms->ms_a)[2]); break; }
  }
}
static void *ocall(int index) {
  switch (index) {
  case 0: { ms_o_write_t *ms = take(sizeof *ms); ms->ms_fd = 3; ms->ms_data = memcpy(take(5), "hello", 5); ms->ms_n = 5; return ms; }
  case 1: { ms_o_fill_t *ms = take(sizeof *ms); ms->ms_data = take(4); memset(ms->ms_data, 0, 4); ms->ms_n = 4;
    ms->ms_written = take(4); *ms->ms_written = 0; ms->ms_name = strcpy(take(8), "name"); return ms; }
  case 2: { ms_o_point_t *ms = take(sizeof *ms); struct point *q = take(sizeof *q); *q = (struct point){1, {2, 3}, 4.5, {5, 6, 7, 8}};
    ms->ms_p = q; ms->ms_s = NULL; ms->ms_w = wcscpy(take(64), L"w\\u00e9\\U0001f600"); return ms; }
  case 3: { ms_o_deep_t *ms = take(sizeof *ms); struct list *l = take(2 * sizeof *l); memset(l, 0, 2 * sizeof *l);
    l[0].n = 3; l[0].items = memcpy(take(12), (uint32_t[]){1, 2, 3}, 12); l[1].bytes = 2; l[1].raw = memcpy(take(2), "ab", 2);
    ms->ms_lists = l; ms->ms_k = 2; return ms; }
  }
  return NULL;
}
static int check(int index, void *p) {
  switch (index) {
  case 0: { ms_o_write_t *ms = p; return ms->ms_retval == -1 && ms->ocall_errno == 28; }
  case 1: { ms_o_fill_t *ms = p; return memcmp(ms->ms_data, "\\1\\2\\3\\4", 4) == 0 && *ms->ms_written == 4 && strcmp(ms->ms_name, "nam\\xc3") < 0 && strcmp(ms->ms_name, "ab") == 0; }
  case 2: { ms_o_point_t *ms = p; struct point q = ms->ms_retval; return q.x == 9 && q.y[0] == 2 && q.y[1] == 3 && q.z == 4.5 && q.tag[3] == 8; }
  case 3: { ms_o_deep_t *ms = p; struct list *l = ms->ms_lists; return ms->ms_retval == 6 && l[0].n == 2 && l[0].flag == 9
      && l[0].items[0] == 10 && l[0].items[1] == 20 && l[0].items[2] == 3 && memcmp(l[1].raw, "ba", 2) == 0 && l[1].items == NULL; }
  }
  return 1;
}
int main(int argc, char **argv) {
  int fd = open(argv[1], O_RDWR);
  if (mmap(base, ${SIZE}, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) != base) return 2;
  for (int i = 2; i + 2 < argc; i += 3) {
    int index = atoi(argv[i + 1]);
    void *p = (void *)strtoull(argv[i + 2], 0, 10);
    if (argv[i][0] == 'e') ecall(index, p);
    if (argv[i][0] == 'o') printf("%llu\\n", (unsigned long long)ocall(index));
    if (argv[i][0] == 'c') printf("%d\\n", check(index, p));
  }
  return 0;
}`;

const compiled = compile(PROGRAM);
after(() => compiled.remove());
const run = (memory: Image, ...args: (string | number | bigint)[]): string => {
  const file = join(compiled.folder, 'image');
  writeFileSync(file, memory.bytes);
  const output = execFileSync(compiled.program, [file, ...args.map(String)], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  memory.bytes.set(readFileSync(file));
  return output.trim();
};
const call = (name: string, ...args: unknown[]): unknown => {
  const memory = new Image();
  const { index, address, finish } = marshalEcall(DESCRIPTION, name, args, memory);
  run(memory, 'e', index, address);
  return finish();
};

test('through C: scalars, structures by value, no structure at all', () => {
  assert.equal(call('add', 2, 3), 5);
  assert.equal(call('add', -7, 3n), -4);
  assert.equal(
    call(
      'scalars',
      -5,
      250,
      -300,
      4000000000,
      -9000000000,
      0.5,
      -1e300,
      0.1,
      true,
      0x1f600,
      7,
      2n ** 64n - 1n,
    ),
    2n ** 64n - 1n,
  );
  const p = { x: 5, y: [1, 2], z: 1.25, tag: Uint8Array.of(1, 2, 3, 4) };
  assert.deepEqual(call('mirror', p, Uint8Array.of(9, 0, 0, 0, 0, 0, 0, 0)), {
    x: -5,
    y: [1, 1],
    z: 2.5,
    tag: Uint8Array.of(1, 2, 3, 9),
  });
  assert.equal(call('nothing'), undefined);
  assert.equal(call('raw', 0x1234), 0x1234n);
  assert.equal(call('raw', null), 0n);
});

test('through C: buffers: in, out, in and out, filled in place, NULL and empty', () => {
  const from = Uint8Array.of(1, 2, 3);
  assert.deepEqual(call('reverse', from, undefined, 3), {
    value: 3n,
    out: { to: Uint8Array.of(3, 2, 1) },
  });
  const to = new Uint8Array(5).fill(9);
  const result = call('reverse', from, to, 3) as { out: { to: Uint8Array } };
  assert.equal(result.out.to, to);
  assert.deepEqual(to, Uint8Array.of(3, 2, 1, 9, 9));
  assert.deepEqual(call('reverse', new Uint8Array(0), undefined, 0), {
    value: 0n,
    out: { to: new Uint8Array(0) },
  });
  assert.deepEqual(call('reverse', null, null, 0), { value: 0n, out: { to: null } });
  const expected = {
    value: 3,
    out: {
      total: 60n,
      grid: [
        [1, 2, 3],
        [4, 5, 6],
      ],
    },
  };
  assert.deepEqual(
    call('sum', [10, 20, 30], 3, undefined, [
      [1, 1, 1],
      [1, 1, 1],
    ]),
    expected,
  );
  const grid = new Int32Array(6).fill(1);
  const typed = call('sum', Int32Array.of(10, 20, 30), 3, undefined, grid) as { out: { grid: unknown } };
  assert.equal(typed.out.grid, grid);
  assert.deepEqual([...grid], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual(call('array', [4, 5, 6], Uint8Array.of(0, 1, 2, 3)), {
    value: undefined,
    out: { b: Uint8Array.of(10, 1, 2, 3) },
  });
});

test('through C: text', () => {
  assert.deepEqual(call('upper', 'grün', 'wé😀'), { value: 3n, out: { text: 'GRüN' } });
  assert.deepEqual(call('upper', '', ''), { value: 0n, out: { text: '' } });
  assert.deepEqual(call('upper', null, null), { value: 1000n, out: { text: null } });
});

test('through C: deep copies', () => {
  const lists = [
    { flag: 1, n: 3, items: [1, 2, 3], bytes: 2, raw: Uint8Array.of(65, 66) },
    { flag: 2, n: 0, items: null, bytes: 0, raw: null },
  ];
  assert.deepEqual(call('deep', lists, 2), {
    value: 6,
    out: {
      lists: [
        { flag: 2, n: 2n, items: [2, 4], bytes: 2, raw: Uint8Array.of(33, 66) },
        { flag: 3, n: 0n, items: null, bytes: 0, raw: null },
      ],
    },
  });
});

test('through C: OCALLs made by C and answered here', () => {
  const ocall = (index: number) => {
    const memory = new Image();
    const address = BigInt(run(memory, 'o', index, 0));
    const marshalled = marshalOcall(DESCRIPTION, index, address, memory);
    return { ...marshalled, check: () => run(memory, 'c', index, address) };
  };
  const write = ocall(0);
  assert.deepEqual(
    [write.name, write.args],
    [
      'o_write',
      [3, Buffer.from('hello').subarray(), 5n].map((v) => (v instanceof Uint8Array ? new Uint8Array(v) : v)),
    ],
  );
  write.finish({ value: -1, errno: 28 });
  assert.equal(write.check(), '1');

  const fill = ocall(1);
  assert.deepEqual(fill.args, [new Uint8Array(4), 4n, 0, 'name']);
  (fill.args[0] as Uint8Array).set([1, 2, 3, 4]);
  assert.throws(() => fill.finish({ out: { name: 'longer' } }), { code: 'EDL_VALUE' });
  assert.throws(() => fill.finish({ out: { other: 1 } }), { code: 'EDL_VALUE' });
  fill.finish({ out: { written: 4, name: 'ab' } });
  assert.equal(fill.check(), '1');

  const point = ocall(2);
  const value = { x: 1, y: [2, 3], z: 4.5, tag: Uint8Array.of(5, 6, 7, 8) };
  assert.deepEqual(point.args, [value, null, 'wé😀']);
  point.finish({ ...value, x: 9 });
  assert.equal(point.check(), '1');

  const deep = ocall(3);
  assert.deepEqual(deep.args[0], [
    { flag: 0, n: 3n, items: [1, 2, 3], bytes: 0, raw: null },
    { flag: 0, n: 0n, items: null, bytes: 2, raw: Uint8Array.of(97, 98) },
  ]);
  const lists = deep.args[0] as unknown as { flag: number; n: bigint; items: number[]; raw: Uint8Array }[];
  lists[0].n = 4n;
  lists[0].items = [1, 2, 3, 4];
  assert.throws(() => deep.finish({ value: 6 }), { code: 'EDL_VALUE' });
  Object.assign(lists[0], { flag: 9, n: 2n, items: [10, 20] });
  lists[1].raw.reverse();
  deep.finish({ value: 6 });
  assert.equal(deep.check(), '1');

  const nothing = marshalOcall(DESCRIPTION, 'o_nothing', 0n, new Image());
  assert.deepEqual(nothing.args, []);
  nothing.finish();
  assert.throws(() => marshalOcall(DESCRIPTION, 'o_nothing', 8n, new Image()), { code: 'EDL_MEMORY' });
});

test('arguments that do not fit are refused before anything is called', () => {
  const cases: [name: string, args: unknown[], message: RegExp][] = [
    ['add', [1], /argument b of add must be an integer of 32 bits, not undefined/],
    ['add', [1, 2, 3], /takes 2 arguments, not 3/],
    ['add', [1, 2 ** 31], /32 bits/],
    ['add', [1.5, 2], /32 bits/],
    ['add', ['1', 2], /not "1"/],
    ['gone', [], /no call "gone"/],
    ['raw', [-1], /an address or null/],
    ['mirror', [{ x: 1 }, new Uint8Array(8)], /argument p of mirror\.y/],
    [
      'mirror',
      [{ x: 1, y: [1, 2], z: 0, tag: new Uint8Array(4), more: 1 }, new Uint8Array(8)],
      /no member 'more'/,
    ],
    ['mirror', [{ x: 1, y: [1, 2], z: 0, tag: new Uint8Array(4) }, new Uint8Array(7)], /8 bytes \(mixed\)/],
    ['reverse', [Uint8Array.of(1), undefined, 2], /has 1 bytes and needs 2/],
    ['reverse', [Uint8Array.of(1), new Uint8Array(0), 1], /has 0 bytes and needs 1/],
    ['reverse', ['text', undefined, 2], /a Uint8Array of 2 bytes, not "text"/],
    ['reverse', [new Uint8Array(4), [1], 4], /leave it out/],
    ['reverse', [new Uint8Array(4), undefined, 2n ** 63n], /length 'n'/],
    ['sum', [[1, 2], 3], /array of 3 elements/],
    ['sum', [new Float64Array(3), 3], /elements of another size/],
    ['upper', ['a\0b', ''], /zero character/],
    ['upper', [Uint8Array.of(1, 0), ''], /zero byte/],
    ['upper', [5, ''], /a string, a Uint8Array or null/],
    [
      'deep',
      [[{ flag: 0, n: 3, items: [1], bytes: 0, raw: null }], 1],
      /lists of deep\[0\]\.items must be an array of 3/,
    ],
    ['deep', [new Uint8Array(40), 1], /what its members point to is copied/],
    ['deep', [[], -1], /length 'k'/],
  ];
  for (const [name, args, message] of cases)
    assert.throws(
      () => marshalEcall(DESCRIPTION, name, args, new Image()),
      { code: 'EDL_VALUE', message },
      String(message),
    );
});

test('structures of a hostile enclave are copied once and bounded', () => {
  const memory = new Image();
  const call = DESCRIPTION.ocalls[0];
  const [, data, n] = call.parameters;
  const at = memory.alloc(call.size, 8);
  const view = new DataView(memory.bytes.buffer, Number(at - BASE), call.size);
  const open = (pointer: bigint, size: bigint) => {
    view.setBigUint64(data.offset, pointer, true);
    view.setBigUint64(n.offset, size, true);
    return marshalOcall(DESCRIPTION, 0, at, memory);
  };
  assert.throws(() => open(8n, 4n), { code: 'EDL_MEMORY' });
  assert.throws(() => open(BASE, BigInt(SIZE) + 1n), { code: 'EDL_MEMORY' });
  assert.throws(() => open(BASE, 2n ** 64n - 1n), { code: 'EDL_VALUE' });
  assert.throws(() => marshalOcall(DESCRIPTION, 0, BASE + BigInt(SIZE) - 4n, memory), { code: 'EDL_MEMORY' });
  assert.throws(() => marshalOcall(DESCRIPTION, 0, 0n, memory), { code: 'EDL_MEMORY' });
  assert.deepEqual(open(0n, 4n).args[1], null);
  assert.deepEqual(open(8n, 0n).args[1], new Uint8Array(0));
  // Text without an end: up to where memory ends.
  const text = DESCRIPTION.ocalls[2];
  const ms = memory.alloc(text.size, 8);
  const fields = new DataView(memory.bytes.buffer, Number(ms - BASE), text.size);
  for (const p of text.parameters) fields.setBigUint64(p.offset, 0n, true);
  fields.setBigUint64(text.parameters[1].offset, BASE + 4096n * 4n, true);
  assert.throws(() => marshalOcall(DESCRIPTION, 2, ms, memory), { code: 'EDL_MEMORY' });
  memory.bytes[SIZE - 1] = 0;
  const args = marshalOcall(DESCRIPTION, 2, ms, memory).args;
  assert.equal((args[1] as string).length, SIZE - 1 - 4096 * 4);
  // What changes in memory after the copy is not seen, and a deep copy is read and written where it was.
  const deep = marshalEcall(
    DESCRIPTION,
    'deep',
    [[{ flag: 0, n: 1, items: [7], bytes: 0, raw: null }], 1],
    memory,
  );
  const lists = new DataView(memory.bytes.buffer, Number(deep.address - BASE)).getBigUint64(
    DESCRIPTION.ecalls[6].parameters[0].offset,
    true,
  );
  const struct = new DataView(memory.bytes.buffer, Number(lists - BASE));
  struct.setBigUint64(16, 8n, true);
  struct.setBigUint64(8, 1000n, true);
  const result = deep.finish() as { out: { lists: { items: number[] }[] } };
  assert.deepEqual(result.out.lists[0].items, [7]);
});

test('random values survive the way through memory', () => {
  const description = describeEdl(
    parseEdl({
      file: 'r.edl',
      text: `enclave { struct s { int64_t q; float f[2]; uint8_t b[3]; };
        trusted { public struct s same(struct s v, long double ld, [in, out, count=n] struct s* list, uint8_t n, [in, out, wstring] wchar_t* w); }; };`,
    }),
  );
  const [value, extended, list] = description.ecalls[0].parameters;
  const item = fc.record(
    {
      q: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      f: fc.array(fc.float(), { minLength: 2, maxLength: 2 }),
      b: fc.uint8Array({ minLength: 3, maxLength: 3 }),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(
      item,
      fc.double(),
      fc.array(item, { maxLength: 5 }),
      fc.string({ unit: 'binary' }),
      (v, ld, items, w) => {
        const memory = new Image();
        const text = w.replaceAll('\0', '');
        const call = marshalEcall(description, 0, [v, ld, items, items.length, text], memory);
        const at = Number(call.address - BASE);
        memory.bytes.copyWithin(at, at + value.offset, at + list.offset);
        assert.deepEqual(call.finish(), { value: v, out: { list: items, w: text } });
        assert.ok(extended.pass === 'value');
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});

test('random structures of an enclave give arguments or EDL_MEMORY or EDL_VALUE, never anything else', () => {
  const word = fc.oneof(
    fc.constantFrom(0n, 1n, 3n, BASE, BASE + 64n, BASE + BigInt(SIZE) - 1n, 2n ** 63n, 2n ** 64n - 1n),
    fc.bigInt({ min: 0n, max: 64n }),
    fc.bigInt({ min: BASE, max: BASE + 4096n }),
  );
  const codes = new Set<string>();
  fc.assert(
    fc.property(fc.nat(3), fc.array(word, { minLength: 24, maxLength: 24 }), (index, words) => {
      const memory = new Image();
      const view = new DataView(memory.bytes.buffer);
      words.forEach((value, i) => {
        view.setBigUint64(i * 8, value, true);
      });
      try {
        const { args, finish } = marshalOcall(DESCRIPTION, index, BASE, memory);
        assert.equal(args.length, DESCRIPTION.ocalls[index].parameters.length);
        const { returns } = DESCRIPTION.ocalls[index];
        const point = { x: 0, y: [0, 0], z: 0, tag: new Uint8Array(4) };
        finish(returns === undefined ? undefined : index === 2 ? point : 0);
        codes.add('fine');
      } catch (error) {
        const { code } = error as { code: string };
        assert.ok(code === 'EDL_MEMORY' || code === 'EDL_VALUE', String(error));
        codes.add(code);
      }
    }),
    { numRuns: RUNS * 5, seed: SEED },
  );
  assert.equal(codes.size, 3);
});

test('one structure with deep copies, also of its own type, and names that objects treat specially', () => {
  const description = describeEdl(
    parseEdl({
      file: 'd.edl',
      text: `enclave { struct node { int value; size_t n; [count=n] struct node* next; struct node* raw; };
        trusted { public int walk([in, out] struct node* __proto__, [in, out] int* constructor); }; };`,
    }),
  );
  const node = (value: number, next: unknown) => ({ value, n: 1n, next, raw: 0n });
  const inner = { value: 2, n: 0n, next: 5n, raw: 0n };
  const memory = new Image();
  const result = marshalEcall(description, 'walk', [node(1, [inner]), 7], memory).finish() as {
    out: Record<string, unknown>;
  };
  assert.deepEqual(Object.keys(result.out), ['__proto__', 'constructor']);
  assert.deepEqual(Object.getOwnPropertyDescriptor(result.out, '__proto__')?.value, node(1, [inner]));
  assert.equal(result.out.constructor, 7);
  assert.throws(() => marshalEcall(description, 'walk', [node(1, [node(2, [inner])]), 7], memory), {
    code: 'EDL_VALUE',
    message: /next must be an address or null/,
  });
});

test('long double is what gcc makes of a double, and rounds back', () => {
  const numbers = [
    0,
    -0,
    1,
    -1.5,
    0.1,
    1e300,
    -1e-300,
    5e-324,
    2.2250738585072014e-308,
    1.7976931348623157e308,
    Infinity,
    -Infinity,
    Number.NaN,
  ];
  const description = describeEdl(
    parseEdl({ file: 'l.edl', text: 'enclave { trusted { public long double f(long double v); }; };' }),
  );
  const expected = withProgram(
    `${HEADERS}
int main(void) { double d; while (fread(&d, 8, 1, stdin) == 1) { unsigned char b[16] = {0}; long double l = d; memcpy(b, &l, 10); fwrite(b, 16, 1, stdout); } 
  unsigned char x[3][16] = {{0}}; long double l[3] = {1.0L / 3, 4.9e-324L * 0.75L, 1e400L}; for (int i = 0; i < 3; i++) { memcpy(x[i], &l[i], 10); double r = (double)l[i]; memcpy(x[i] + 10, &r, 6); fwrite(x[i], 16, 1, stdout); fwrite(&r, 8, 1, stdout); } }`,
    (program) =>
      execFileSync(program, { input: Buffer.from(Float64Array.from(numbers).buffer), timeout: 20_000 }),
  );
  const roundTrip = (bytes: Uint8Array): unknown => {
    const memory = new Image();
    const call = marshalEcall(description, 0, [0], memory);
    memory.view(call.address, 10).set(bytes.subarray(0, 10));
    return call.finish();
  };
  numbers.forEach((number, i) => {
    const memory = new Image();
    const call = marshalEcall(description, 0, [number], memory);
    const ours = memory.view(call.address + 16n, 16);
    const theirs = expected.subarray(i * 16, i * 16 + 16);
    if (!Number.isNaN(number)) assert.deepEqual([...ours], [...theirs], String(number));
    assert.ok(Object.is(roundTrip(theirs), number), String(number));
  });
  for (let i = 0; i < 3; i++) {
    const at = numbers.length * 16 + i * 24;
    assert.ok(
      Object.is(roundTrip(expected.subarray(at, at + 16)), expected.readDoubleLE(at + 16)),
      `rounding ${i}`,
    );
  }
});

test('an OCALL cannot make its host build millions of values', () => {
  const text =
    'enclave { trusted { public void e(void); }; untrusted { void o([in, count=n] uint32_t *v, size_t n); }; };';
  const description = describeEdl(parseEdl({ file: 'many.edl', text }));
  const memory = {
    alloc: () => 0n,
    view: (_: bigint, length: number) => new Uint8Array(length),
  };
  const count = 2 ** 22 + 1;
  const structure = new Uint8Array(16);
  new DataView(structure.buffer).setBigUint64(0, 0x1000n, true);
  new DataView(structure.buffer).setBigUint64(8, BigInt(count), true);
  const hostile = {
    ...memory,
    view: (at: bigint, length: number) => (at === 8n ? structure : memory.view(at, length)),
  };
  assert.throws(() => marshalOcall(description, 'o', 8n, hostile), { code: 'EDL_VALUE', message: /4194305/ });
});
