import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  alignOf,
  type CallDescription,
  type CType,
  describeEdl,
  EdlError,
  type ForeignType,
  KNOWN_TYPES,
  type ParsedEdl,
  parseEdl,
  sizeOf,
} from '../src/index.js';
import { BASIC_TYPES } from '../src/layout/foreign-types.js';
import { HEADERS, structures, withProgram } from './c-structures.js';

const SEED = Number(process.env.NSGX_SEED ?? 0xed1);
const parse = (text: string) => parseEdl({ file: 't.edl', text });
const TYPES: Record<string, ForeignType> = {
  buffer_t: { pointer: null },
  array_t: { array: 'int', count: 10 },
  pair_t: { struct: { a: 'uint8_t', b: 'uint64_t', c: { array: 'short int', count: 3 } } },
  'struct outside': { struct: { a: 'double', b: 'char' } },
};
const C_TYPES = `typedef void* buffer_t; typedef int array_t[10];
typedef struct { uint8_t a; uint64_t b; short c[3]; } pair_t; struct outside { double a; char b; };`;

/** What gcc and the description say of each structure: size, alignment, offsets of fields. */
function expectations(edl: ParsedEdl): { prints: string[]; ours: string[] } {
  const description = describeEdl(edl, { types: TYPES });
  const prints: string[] = [];
  const ours: string[] = [];
  const number = (expression: string, value: number) => {
    prints.push(`printf("${expression.replaceAll('"', '')} %zu\\n", (size_t)(${expression}));`);
    ours.push(`${expression} ${value}`);
  };
  const call = (c: CallDescription) => {
    if (c.size === 0) return;
    const ms = `ms_${c.name}_t`;
    number(`sizeof(${ms})`, c.size);
    number(`_Alignof(${ms})`, c.align);
    if (c.returns !== undefined) number(`offsetof(${ms}, ms_retval)`, 0);
    if (c.errnoOffset !== undefined) number(`offsetof(${ms}, ocall_errno)`, c.errnoOffset);
    for (const p of c.parameters) {
      number(`offsetof(${ms}, ms_${p.name})`, p.offset);
      if (p.pass === 'value') {
        number(`sizeof(((${ms}*)0)->ms_${p.name})`, sizeOf(p.type));
        struct(p.type);
      }
      if ('lengthOffset' in p && p.lengthOffset !== undefined)
        number(`offsetof(${ms}, ms_${p.name}_len)`, p.lengthOffset);
      if (p.pass === 'buffer' && p.target.element !== undefined) struct(p.target.element);
    }
  };
  const struct = (type: CType) => {
    if (type.kind !== 'struct' || type.name.endsWith('_t') || type.name === 'struct outside') return;
    number(`sizeof(struct ${type.name})`, type.size);
    number(`_Alignof(struct ${type.name})`, type.align);
    for (const m of type.members) number(`offsetof(struct ${type.name}, ${m.name})`, m.offset);
  };
  for (const c of [...description.ecalls, ...description.ocalls]) call(c);
  return { prints, ours };
}

/** Compares interfaces with gcc, all in one program. */
function compare(list: ParsedEdl[]): number {
  const parts = list.map(expectations);
  const source = [
    HEADERS,
    C_TYPES,
    ...list.map(structures),
    ...parts.map(({ prints }, i) => `static void print_${i}(void) {\n${prints.join('\n')}\n}`),
    `int main(void) { ${parts.map((_, i) => `print_${i}();`).join(' ')} return 0; }`,
  ].join('\n');
  const output = withProgram(source, (program) =>
    execFileSync(program, { encoding: 'utf8', timeout: 20_000, maxBuffer: 2 ** 26 }),
  );
  const ours = parts.flatMap((part) => part.ours);
  assert.deepEqual(output.trimEnd().split('\n'), ours);
  return ours.length;
}

test('sizes and alignments of basic and known system types are those of gcc', () => {
  const system = Object.entries(KNOWN_TYPES).filter(([name]) => !/^(sgx|quote3|qae)_/.test(name));
  const all = [...Object.entries(BASIC_TYPES), ...system];
  const output = withProgram(
    `${HEADERS}\nint main(void) {\n${all.map(([name]) => `printf("%zu %zu %d\\n", sizeof(${name}), _Alignof(${name}), (${name})-1 < (${name})1);`).join('\n')} }`,
    (program) => execFileSync(program, { encoding: 'utf8', timeout: 20_000 }),
  );
  assert.deepEqual(
    output.trimEnd().split('\n'),
    all.map(
      ([, type]) =>
        `${sizeOf(type)} ${alignOf(type)} ${type.kind === 'float' || (type.kind === 'integer' && type.signed) ? 1 : 0}`,
    ),
  );
});

test('structures of an interface with every kind of field are laid out as gcc does', () => {
  const count = compare([
    parse(`enclave {
  enum level { LOW, HIGH = 7 };
  enum wide { BIG = 4294967296 };
  union mixed { char c; uint64_t q; float f[3]; };
  struct inner { char a; short b; long double l; };
  struct point { char x; struct inner in[2]; union mixed m; enum level l; wchar_t w; struct point* next; };
  struct deep { uint8_t flag; size_t n; [count=n] uint32_t* items; [size=8] void* rest; [count=1] struct deep* self; };
  trusted {
    public void nothing();
    public char one();
    public struct point mirror(char c, struct point p, enum level l, enum wide big, union mixed m, long double d);
    public uint8_t text([in, string] const char* s, uint8_t t, [in, out, wstring] wchar_t* w, short u);
    public void arrays(char c, [in] int a[3][4], [in, isary] array_t f, [user_check] int raw[2], char e);
    public void pointers(bool b, [in, size=n] void* p, uint16_t n, [user_check] void** q, [in, isptr, size=n] buffer_t r,
      buffer_t plain, pair_t pair, struct outside o, char last);
    public void copies(char c, [in, out, count=2] struct deep* d, unsigned char e);
  };
  untrusted {
    void silent() propagate_errno;
    char with_errno(char c, [in, string] const char* s, char d) propagate_errno;
    uint16_t text_out([in, out, string] char* s, [in, wstring] wchar_t* w, unsigned long long q);
    void structs([in] struct deep* d, [out] struct point* p, int8_t i);
  };
};`),
  ]);
  assert.ok(count > 100);
});

test('random interfaces are laid out as gcc does', () => {
  const basic = fc.constantFrom(
    ...'char|unsigned char|short|unsigned short|int|unsigned|long|unsigned long|long long|unsigned long long|float|double|long double|int8_t|int16_t|int32_t|int64_t|uint8_t|uint16_t|uint32_t|uint64_t|size_t|wchar_t|bool|pair_t|ssize_t|struct outside'.split(
      '|',
    ),
  );
  const array = fc
    .array(fc.integer({ min: 1, max: 5 }), { maxLength: 2 })
    .map((list) => list.map((n) => `[${n}]`).join(''));
  const member = fc.record({
    type: fc.oneof({ weight: 4, arbitrary: basic }, { weight: 1, arbitrary: fc.constant('EARLIER') }),
    array,
    star: fc.nat(5),
  });
  const parameter = fc.oneof(
    { weight: 4, arbitrary: basic.map((type) => `${type} NAME`) },
    { weight: 1, arbitrary: fc.constant('EARLIER NAME') },
    {
      weight: 3,
      arbitrary: fc.constantFrom(
        '[in, string] const char* NAME',
        '[in, out, wstring] wchar_t* NAME',
        '[out, count=3] EARLIER* NAME',
        '[in] short NAME[3][2]',
        '[user_check] void* NAME',
        '[in, isary] array_t NAME',
        '[in, out, isptr, size=4] buffer_t NAME',
      ),
    },
  );
  const fn = fc.record({
    returns: fc.oneof(basic, fc.constantFrom('void', 'char*', 'EARLIER')),
    parameters: fc.array(parameter, { maxLength: 7 }),
    errno: fc.boolean(),
  });
  const edl = fc.record({
    structs: fc.array(
      fc.record({ union: fc.boolean(), members: fc.array(member, { minLength: 1, maxLength: 6 }) }),
      { minLength: 1, maxLength: 4 },
    ),
    ecalls: fc.array(fn, { minLength: 1, maxLength: 4 }),
    ocalls: fc.array(fn, { maxLength: 4 }),
  });
  const samples = fc.sample(edl, { numRuns: 60, seed: SEED }).map((sample, k) => {
    const kinds: string[] = [];
    const earlier = () => (kinds.length === 0 ? 'int' : `${kinds.at(-1)} s${k}_${kinds.length - 1}`);
    const structs = sample.structs.map(({ union, members }, i) => {
      const kind = union ? 'union' : 'struct';
      const text = members.map(
        ({ type, array: dimensions, star }, j) =>
          `${type === 'EARLIER' ? earlier() : type}${star === 0 ? '*' : ''} m${j}${dimensions};`,
      );
      kinds.push(kind);
      return `${kind} s${k}_${i} { ${text.join(' ')} };`;
    });
    const functions = (list: typeof sample.ecalls, prefix: string) =>
      list.map(({ returns, parameters, errno }, i) => {
        const text = parameters.map((p, j) => p.replace('EARLIER', earlier()).replace('NAME', `p${j}`));
        return `${prefix === 'e' ? 'public ' : ''}${returns.replace('EARLIER', earlier())} ${prefix}${k}_${i}(${text.join(', ')})${prefix === 'o' && errno ? ' propagate_errno' : ''};`;
      });
    return parse(
      `enclave {\n${structs.join('\n')}\ntrusted {\n${functions(sample.ecalls, 'e').join('\n')}\n};\nuntrusted {\n${functions(sample.ocalls, 'o').join('\n')}\n};\n};`,
    );
  });
  assert.ok(compare(samples) > 1000);
});

test('types that are not known: an error with the place, or an unavailable call', () => {
  const text = (parameter: string, before = '') =>
    `enclave {\n${before}\ntrusted { public void f(${parameter}); public void g([in, size=4] other_t* p); };\n};`;
  for (const [parameter, before, message] of [
    ['other_t x', '', /the size of 'other_t' is not known/],
    ['struct gone x', '', /the size of 'struct gone' is not known/],
    ['[in] other_t* x', '', /the size of 'other_t'/],
    ['[in, count=3] other_t* x', '', /the size of 'other_t'/],
    ['[in, isptr] other_t x', '', /what 'x' points to has no known size/],
    ['[in, isary] other_t x', '', /the size of 'other_t'/],
    ['struct s x', 'struct s { struct s inner; };', /contains itself/],
    ['struct s x', 'struct t { int a[65536]; }; struct s { struct t a[65536]; };', /too large/],
  ] as const) {
    assert.throws(
      () => describeEdl(parse(text(parameter, before))),
      (error: unknown) =>
        error instanceof EdlError &&
        error.code === 'EDL_TYPE' &&
        message.test(error.message) &&
        error.excerpt.includes('^'),
      parameter,
    );
  }
  const lenient = describeEdl(parse(text('other_t x')), { allowUnknown: true });
  assert.match(lenient.ecalls[0].unavailable ?? '', /'other_t'/);
  assert.equal(lenient.ecalls[1].size, 8);
  for (const bad of [
    'nothing',
    { size: 3, align: 2 },
    { size: 4, align: 3 },
    { array: 'int', count: 0 },
  ] as ForeignType[])
    assert.throws(() => describeEdl(parse(text('other_t x')), { types: { other_t: bad } }), {
      code: 'EDL_TYPE',
    });
  const self: { pointer: ForeignType | null } = { pointer: null };
  self.pointer = self;
  assert.throws(() => describeEdl(parse(text('other_t x')), { types: { other_t: self } }), {
    code: 'EDL_TYPE',
  });
});
