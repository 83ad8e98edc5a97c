import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { EdlError, type EdlSource, parseEdl } from '../src/index.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 300);
const SEED = Number(process.env.NSGX_SEED ?? 0xed1);
const wrap = (body: string) => `enclave {\n${body}\n};`;
const parse = (text: string, files: Record<string, string> = {}) =>
  parseEdl(
    { file: 'a.edl', text },
    {
      resolve: (path): EdlSource | undefined =>
        path in files ? { file: path, text: files[path] } : undefined,
    },
  );
const failure = (text: string, files: Record<string, string> = {}): EdlError => {
  try {
    parse(text, files);
  } catch (error) {
    assert.ok(error instanceof EdlError, String(error));
    return error;
  }
  throw new Error(`accepted: ${text}`);
};
const ecall = (body: string) => wrap(`trusted { public ${body}; };`);
const names = (list: readonly { name: string }[]) => list.map(({ name }) => name);

test('a whole interface: sections, attributes, types, functions in order', () => {
  const edl = parse(
    wrap(`
  include "types.h"
  from "io.edl" import *;
  enum level { LOW, MIDDLE = 5, HIGH, ALSO = HIGH };
  enum { NAMELESS = 3 };
  union number { int32_t i; float f; uint8_t bytes[4]; };
  struct point { int x; int y; char tag[3][2]; struct inner* next; };
  struct list { size_t n; [count=n] uint32_t* items; [size=16] void* rest; };
  trusted {
    include "only_t.h"
    public int add(int a, unsigned b, unsigned long long c, long double d, wchar_t e) transition_using_threads;
    public void buffers([in, size=n] const void* data, size_t n, [out, count=4] uint16_t* out,
      [in, out] int grid[2][3], [in, string] const char* s, [in, out, wstring] wchar_t* w,
      [user_check] void** raw, [in, isary] key_t key, [in, isptr, readonly, size=n] handle_t h,
      [in, count=2] struct list* lists, union number u, enum level l);
    void hidden(void);
  };
  untrusted {
    include "only_u.h"
    [cdecl, dllimport] long reading(int fd, [out, size=n] char* to, unsigned n) allow(hidden, add) propagate_errno;
    void fast([in, size=8] void *p) transition_using_threads propagate_errno;
    void nothing() allow();
  };
  trusted { public int* last(); };`),
    { 'io.edl': wrap('include "io.h"\nuntrusted { void print([in, string] const char* text); };') },
  );
  assert.deepEqual(names(edl.trusted), ['add', 'buffers', 'hidden', 'last']);
  assert.deepEqual(names(edl.untrusted), ['reading', 'fast', 'nothing', 'print']);
  assert.deepEqual(edl.includes, ['types.h', 'io.h']);
  assert.deepEqual([edl.trustedIncludes, edl.untrustedIncludes], [['only_t.h'], ['only_u.h']]);
  assert.deepEqual(
    edl.trusted.map(({ isPublic, switchless }) => [isPublic, switchless]),
    [
      [true, true],
      [true, false],
      [false, false],
      [true, false],
    ],
  );
  const [reading, fast] = edl.untrusted;
  assert.deepEqual(names(reading.allow), ['hidden', 'add']);
  assert.equal(reading.convention, 'cdecl');
  assert.ok(reading.dllimport && reading.propagateErrno && !reading.switchless);
  assert.ok(fast.propagateErrno && fast.switchless);
  const parameters = edl.trusted[1].parameters;
  assert.deepEqual(parameters[3].dimensions, [2, 3]);
  assert.equal(parameters[3].attributes?.direction, 'inout');
  assert.equal(parameters[0].attributes?.size, 'n');
  assert.ok(parameters[0].attributes?.readonly);
  assert.deepEqual(edl.trusted[0].parameters[2].type, { kind: 'basic', name: 'unsigned long long' });
  assert.deepEqual(edl.trusted[3].returns, { kind: 'pointer', to: { kind: 'basic', name: 'int' } });
});

test('every spelling of a basic type', () => {
  for (const [text, name] of Object.entries({
    char: 'char',
    'unsigned char': 'unsigned char',
    short: 'short int',
    'short int': 'short int',
    'unsigned short': 'unsigned short int',
    'unsigned short int': 'unsigned short int',
    int: 'int',
    unsigned: 'unsigned int',
    'unsigned int': 'unsigned int',
    long: 'long int',
    'long int': 'long int',
    'unsigned long int': 'unsigned long int',
    'long long': 'long long',
    'unsigned long long': 'unsigned long long',
    float: 'float',
    double: 'double',
    'long double': 'long double',
    int8_t: 'int8_t',
    uint64_t: 'uint64_t',
    size_t: 'size_t',
    wchar_t: 'wchar_t',
  }))
    assert.deepEqual(
      parse(ecall(`void f(${text} x)`)).trusted[0].parameters[0].type,
      { kind: 'basic', name },
      text,
    );
  for (const bad of [
    'signed int',
    'unsigned float',
    'long float',
    'long long int',
    'unsigned wchar_t',
    'int long',
  ])
    assert.equal(failure(ecall(`void f(${bad} x)`)).code, 'EDL_SYNTAX', bad);
});

const NEGATIVES: [body: string, code: string, under: string, message: RegExp][] = [
  [
    'int f(int a int b)',
    'EDL_SYNTAX',
    'int',
    /expected '\)' after the parameters, or ',', found the keyword 'int'/,
  ],
  ['int f(int)', 'EDL_SYNTAX', ')', /expected the parameter's name/],
  ['int f(int a[])', 'EDL_DECLARATION', '[', /needs its size/],
  ['int f([in] int a[0])', 'EDL_DECLARATION', '0', /zero elements/],
  ['int f(void a)', 'EDL_DECLARATION', 'a', /type void/],
  ['int[3] f()', 'EDL_DECLARATION', '[', /cannot return an array/],
  ['int f(const int a)', 'EDL_SYNTAX', 'a', /const is for pointers/],
  ['int f(int* p)', 'EDL_ATTRIBUTE', 'p', /needs a direction/],
  ['int f([size=3] int* p)', 'EDL_ATTRIBUTE', '[', /need a direction/],
  ['int f([] int* p)', 'EDL_ATTRIBUTE', '[', /brackets are empty/],
  ['int f([in, in] int* p)', 'EDL_ATTRIBUTE', 'in', /appears twice/],
  ['int f([in, size=1, size=2] int* p)', 'EDL_ATTRIBUTE', 'size', /'size' appears twice/],
  ['int f([in, size] int* p)', 'EDL_ATTRIBUTE', 'size', /has no value/],
  ['int f([in, sizefunc=g] void* p)', 'EDL_REMOVED', 'sizefunc', /'sizefunc' was removed.*expected 'size'/],
  ['int f([in, length=3] int* p)', 'EDL_ATTRIBUTE', 'length', /is not an attribute, expected one of in, out/],
  ['int f([in, user_check] int* p)', 'EDL_ATTRIBUTE', '[', /exclude each other/],
  ['int f([in] void* p)', 'EDL_ATTRIBUTE', '[', /size of what 'p' points to/],
  ['int f([in, count=3] void* p)', 'EDL_ATTRIBUTE', '[', /size of what 'p' points to/],
  ['int f([out, string] char* p)', 'EDL_ATTRIBUTE', '[', /need 'in'/],
  ['int f([in, string, wstring] char* p)', 'EDL_ATTRIBUTE', '[', /exclude/],
  ['int f([in, string, size=4] char* p)', 'EDL_ATTRIBUTE', '[', /cannot be used with 'string'/],
  ['int f([in, string] int* p)', 'EDL_ATTRIBUTE', '[', /for char pointers, not for 'int\*'/],
  ['int f([in, wstring] char* p)', 'EDL_ATTRIBUTE', '[', /for wchar_t pointers/],
  ['int f([in, out] const int* p)', 'EDL_ATTRIBUTE', '[', /constant/],
  ['int f([in] int v)', 'EDL_ATTRIBUTE', '[', /passed by value/],
  ['int f([in] name_t v)', 'EDL_ATTRIBUTE', '[', /passed by value/],
  ['int f([in, isptr] int* v)', 'EDL_ATTRIBUTE', '[', /'isptr' is for types of C headers/],
  ['int f([in, isary] int* v)', 'EDL_ATTRIBUTE', '[', /'isary' is for types of C headers/],
  ['int f([in, isary, isptr] k_t v)', 'EDL_ATTRIBUTE', '[', /cannot be used with 'isptr'/],
  ['int f([in, isary, size=3] k_t v)', 'EDL_ATTRIBUTE', '[', /cannot be used with 'isary'/],
  ['int f([in, readonly] int* v)', 'EDL_ATTRIBUTE', '[', /'readonly' is for types/],
  ['int f([in, readonly, isary] k_t v)', 'EDL_ATTRIBUTE', '[', /needs 'isptr'/],
  ['int f([in] int* v[3])', 'EDL_ATTRIBUTE', '[', /array of pointers/],
  ['int f([in, count=3] int v[3])', 'EDL_ATTRIBUTE', '[', /cannot be used with the array/],
  ['int f([in, size=n] int* p)', 'EDL_DECLARATION', 'p', /'size=n' names no parameter/],
  ['int f([in, size=n] int* p, float n)', 'EDL_DECLARATION', 'p', /expected an integer/],
  ['int f([in, string] char* p, size_t p_len)', 'EDL_DECLARATION', 'p', /name of the field/],
  ['int f(int retval)', 'EDL_DECLARATION', 'retval', /field with the result/],
  ['int f(int a, int a)', 'EDL_DECLARATION', 'a', /declared twice/],
  ['int f() propagate_errno', 'EDL_SYNTAX', 'propagate_errno', /for untrusted functions/],
  ['int f() allow(f)', 'EDL_SYNTAX', 'allow', /for untrusted functions/],
];

test('each mistake in a function has its code, its line with a caret and what was expected', () => {
  for (const [body, code, under, message] of NEGATIVES) {
    const error = failure(ecall(body));
    assert.equal(error.code, code, `${body}: ${error.message}`);
    assert.match(error.message, message);
    assert.ok(error.message.startsWith(`a.edl:2:${error.column}: `), error.message);
    assert.equal(error.line, 2);
    const [line, caret] = error.excerpt.split('\n');
    assert.ok(line.includes(body), line);
    const at = caret.indexOf('^');
    assert.ok(line.slice(at).startsWith(under), `${body}: the caret is at ${line.slice(at)}`);
  }
});

test('mistakes elsewhere', () => {
  const cases: [text: string, code: string, line: number, message: RegExp][] = [
    ['', 'EDL_SYNTAX', 1, /expected 'enclave'/],
    ['enclave {}', 'EDL_SYNTAX', 1, /expected ';' after the '}' of the enclave, found the end/],
    ['enclave {};', 'EDL_DECLARATION', 1, /no public ECALL/],
    [`${ecall('int f()')} more`, 'EDL_SYNTAX', 3, /expected the end of the file/],
    ['enclave {\n /* open', 'EDL_SYNTAX', 2, /comment has no end/],
    ['enclave {\n include "a', 'EDL_SYNTAX', 2, /string has no end/],
    ['enclave { #define X\n};', 'EDL_SYNTAX', 1, /'#' is not at the beginning/],
    ['enclave {\n § };', 'EDL_SYNTAX', 2, /"§" is not part/],
    [wrap('struct s { };'), 'EDL_SYNTAX', 2, /expected a member of the struct/],
    [wrap('struct s { void v; };'), 'EDL_DECLARATION', 2, /type void/],
    [wrap('struct s { [in, size=3] int* p; };'), 'EDL_ATTRIBUTE', 2, /cannot have a direction/],
    [wrap('struct s { [user_check] int* p; };'), 'EDL_ATTRIBUTE', 2, /expected 'size' or 'count'/],
    [wrap('struct s { [size=3] int p; };'), 'EDL_ATTRIBUTE', 2, /only a pointer/],
    [wrap('struct s { [size=n] int* p; };'), 'EDL_DECLARATION', 2, /names no member/],
    [wrap('union u { [size=3] int* p; };'), 'EDL_ATTRIBUTE', 2, /members of a union/],
    [wrap('enum e { A, };'), 'EDL_SYNTAX', 2, /expected a constant's name/],
    [wrap('enum e { A, A };'), 'EDL_DECLARATION', 2, /'A' is declared twice/],
    [wrap('struct s { int a; };\nstruct s { int b; };'), 'EDL_DECLARATION', 3, /defined twice/],
    [wrap('trusted { int f(); };'), 'EDL_DECLARATION', 1, /no public ECALL/],
    [
      wrap('trusted { public int f(); };\nuntrusted { int f(); };'),
      'EDL_DECLARATION',
      3,
      /'f' is declared twice/,
    ],
    [
      wrap('trusted { public int f(); };\nuntrusted { int g() allow(h); };'),
      'EDL_DECLARATION',
      3,
      /allows 'h', which is not/,
    ],
    [wrap('untrusted { public int f(); };'), 'EDL_SYNTAX', 2, /'public' is for trusted/],
    [wrap('untrusted { [stdcall, cdecl] int f(); };'), 'EDL_ATTRIBUTE', 2, /'cdecl' contradicts 'stdcall'/],
    [wrap('trusted { public int f();\ninclude "x.h" };'), 'EDL_SYNTAX', 3, /comes before the functions/],
    [
      wrap('struct s { int n; [count=n] int* p; };\ntrusted { public int f([out] struct s* x); };'),
      'EDL_DECLARATION',
      3,
      /cannot be an 'out'/,
    ],
    [
      wrap('struct s { int n; [count=n] int* p; };\ntrusted { public int f(struct s x); };'),
      'EDL_DECLARATION',
      3,
      /cannot be passed by value/,
    ],
    [
      wrap('struct s { int n; [count=n] int* p; };\ntrusted { public int f([in] s* x); };'),
      'EDL_DECLARATION',
      3,
      /expected 'struct s'/,
    ],
    [wrap('from "io.edl" import print, *;'), 'EDL_SYNTAX', 2, /expected a function's name or '\*'/],
    [wrap('from "gone.edl" import *;'), 'EDL_IMPORT', 2, /there is no file 'gone.edl'/],
    [ecall(`int f([in] int a${'[1]'.repeat(17)})`), 'EDL_LIMIT', 2, /too many/],
    [ecall('int f([in] int a[65536][65536])'), 'EDL_LIMIT', 2, /too many/],
    [ecall(`int f([user_check] int ${'*'.repeat(17)} p)`), 'EDL_LIMIT', 2, /16 stars/],
    [ecall('int f([in, size=99999999999999999999] void* p)'), 'EDL_LIMIT', 2, /too large/],
    [`${' '.repeat(2 ** 20)} `, 'EDL_LIMIT', 1, /more than 1048576 characters/],
  ];
  for (const [text, code, line, message] of cases) {
    const error = failure(text);
    assert.deepEqual([error.code, error.line], [code, line], error.message.slice(0, 300));
    assert.match(error.message, message);
  }
});

test('imports: allow-lists, order, repetitions, circles', () => {
  const io = wrap(
    'struct shared { int a; };\ntrusted { public int t(); };\nuntrusted { void one(); void two(int a); };',
  );
  const root = (list: string) => wrap(`${list}\ntrusted { public int main(); };`);
  const some = parse(root('from "io.edl" import two;'), { 'io.edl': io });
  assert.deepEqual(
    [names(some.trusted), names(some.untrusted), names(some.types as never)],
    [['main'], ['two'], ['shared']],
  );
  assert.equal(failure(root('from "io.edl" import two, three;'), { 'io.edl': io }).code, 'EDL_IMPORT');
  const mid = (text: string) => wrap(`from "io.edl" import ${text};\nuntrusted { void mid(); };`);
  const twice = parse(root('from "b.edl" import *;\nfrom "c.edl" import *;'), {
    'b.edl': mid('one'),
    'c.edl': wrap('from "io.edl" import *;'),
    'io.edl': io,
  });
  assert.deepEqual(names(twice.untrusted), ['mid', 'one', 'two']);
  assert.deepEqual(names(twice.trusted), ['main', 't']);
  const through = parse(root('from "b.edl" import mid, two;'), { 'b.edl': mid('one'), 'io.edl': io });
  assert.deepEqual(names(through.untrusted), ['mid', 'two']);
  const circle = failure(root('from "b.edl" import *;'), { 'b.edl': wrap('from "b.edl" import *;') });
  assert.equal(circle.code, 'EDL_IMPORT');
  assert.equal(circle.file, 'b.edl');
  assert.match(circle.message, /circle: a\.edl → b\.edl → b\.edl/);
  const bomb: Record<string, string> = {};
  for (let i = 0; i < 20; i++)
    bomb[`${i}.edl`] = wrap(`from "${i + 1}.edl" import *;\nfrom "${i + 1}.edl" import *;`);
  bomb['20.edl'] = wrap('');
  assert.equal(failure(root('from "0.edl" import *;'), bomb).code, 'EDL_LIMIT');
});

test('warnings: orphans, pointers in structures by value, structures without the word', () => {
  const edl = parse(
    wrap('struct s { int* p; };\ntrusted { void lost(); public void f(struct s a, [in] s* b); };'),
  );
  assert.deepEqual(
    edl.warnings.map(({ line, message }) => [line, message.split("'")[0].trim()]),
    [
      [3, 'what the pointers in'],
      [3, ''],
      [3, 'no OCALL allows the private ECALL'],
    ],
  );
});

test('random and mutated text gives an interface or an EdlError, never anything else', () => {
  const good = wrap(
    'struct s { int n; [count=n] int* p; };\ntrusted { public int f([in, size=n] const void* p, size_t n); };\nuntrusted { void g([in, string] const char* t) allow(f) propagate_errno; };',
  );
  const words = good.match(/\w+|\S/g) ?? [];
  const check = (text: string) => {
    try {
      parse(text);
    } catch (error) {
      assert.ok(error instanceof EdlError, `${text}: ${error}`);
      assert.ok(error.line >= 1 && error.column >= 1 && error.excerpt.includes('^'));
    }
  };
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...words), { maxLength: 40 }), (list) =>
      check(`enclave { ${list.join(' ')} };`),
    ),
    { numRuns: RUNS, seed: SEED },
  );
  fc.assert(
    fc.property(
      fc.nat(good.length),
      fc.nat(12),
      fc.oneof(fc.constantFrom(...words), fc.string()),
      (at, cut, put) => check(good.slice(0, at) + put + good.slice(at + cut)),
    ),
    { numRuns: RUNS, seed: SEED },
  );
});
