import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { describeEdl, EdlError, generateTrustedC, type ParseEdlOptions, parseEdl } from '../src/index.js';

const RUNS = Number(process.env.NSGX_FUZZ_RUNS ?? 300);
const SEED = Number(process.env.NSGX_SEED ?? 0xed1);
const wrap = (body: string) => `enclave {\ntrusted { public void e(); };\n${body}\n};`;
const parse = (text: string, options: ParseEdlOptions = {}, files: Record<string, string> = {}) =>
  parseEdl(
    { file: 'a.edl', text },
    { resolve: (path) => (path in files ? { file: path, text: files[path] } : undefined), ...options },
  );
const failure = (action: () => unknown): EdlError => {
  try {
    action();
  } catch (error) {
    assert.ok(error instanceof EdlError, String(error));
    return error;
  }
  throw new Error('accepted');
};
const ocalls = (text: string, options?: ParseEdlOptions, files?: Record<string, string>) =>
  parse(text, options, files).untrusted.map(({ name }) => name);
/** Which of two OCALLs is there under a condition. */
const chosen = (condition: string, before = '', options?: ParseEdlOptions) =>
  ocalls(
    `${before}${wrap(`untrusted {\n#if ${condition}\nvoid yes();\n#else\nvoid no();\n#endif\n};`)}`,
    options,
  ).join();

// What `gcc -x c -E` (13) chooses, through which sgx_edger8r reads every file.
test('conditions come out as in the C preprocessor', () => {
  const macros = '#define A 3\n#define B (A - 4)\n#define C 1 + 1\n';
  for (const condition of [
    'A == 3',
    'B < 0',
    'C * 2 == 3',
    'B > 0u',
    '-1 >> 1 == -1',
    '~0u >> 63',
    '0x10 == 16 && 010 == 8 && 0b11 == 3L',
    '1 || 1 / 0',
    '0 ? 1 / 0 : 1',
    'defined A && !defined(UNKNOWN)',
    'UNKNOWN == 0',
    '-7 / 2 == -3 && -7 % 2 == -1',
    '(1 << 63) < 0',
    '2 - 1 - 1 == 0',
    '1 | 2 ^ 3 & 4',
    'defined(__linux__) && __x86_64__ && !defined(_WIN32)',
    'A /* not\n B */ == 3 // really',
    'A == \\\n 3',
  ])
    assert.equal(chosen(condition, macros), 'yes', condition);
  for (const condition of ['0', 'A - 3', 'defined(UNKNOWN) || UNKNOWN', '!A', '-1 > 0u == 0', '0 && 1 / 0'])
    assert.equal(chosen(condition, macros), 'no', condition);
});

test('groups: the first part that holds, whatever the others contain', () => {
  const body = (head: string) =>
    wrap(
      `untrusted {\n${head}\nvoid one();\n#elif defined(TWO) // c\nvoid two();\n#else /* c */\nvoid three();\n#endif\n};`,
    );
  assert.deepEqual(ocalls(body('#ifdef ONE'), { defines: { ONE: 1, TWO: 1 } }), ['one']);
  assert.deepEqual(ocalls(body('# ifdef ONE'), { defines: { TWO: 0 } }), ['two']);
  assert.deepEqual(ocalls(body('#ifdef ONE')), ['three']);
  assert.deepEqual(ocalls(body('#ifndef ONE')), ['one']);
  const junk =
    '#if 0\nit\'s @ "a \\" /* " #error no\n#bogus\n/* #endif */ // #endif \\\n#endif\n#if 1\n#else\n#endif\n#elif 1\n';
  assert.deepEqual(ocalls(wrap(`untrusted {\n${junk}void yes();\n#endif\n};`)), ['yes']);
});

test('macros stand for sizes, dimensions and names; places stay those of the file', () => {
  const edl = parse(
    '#define N 8\n#define BUF uint8_t b[N]\n#define EMPTY\n' +
      wrap('untrusted { void o([in] BUF, [out, size=N] void* p EMPTY); };\n#undef N\nenum e { N };'),
  );
  const [o] = edl.untrusted;
  assert.deepEqual([o.parameters[0].dimensions, o.parameters[1].attributes?.size], [[8], 8]);
  assert.equal(o.span.source.text.slice(o.span.start, o.span.end), 'o');
  const defined = parse(
    'enclave { trusted { public void f([in, size=N] int b[2][M]); }; };'.replace(', size=N', ''),
    {
      defines: { M: 5 },
    },
  );
  assert.deepEqual(defined.trusted[0].parameters[0].dimensions, [2, 5]);
  const loop = parse(`#define a b\n#define b a\n${wrap('untrusted { void a(); };')}`);
  assert.deepEqual(loop.untrusted[0].name, 'a');
});

test('files of macros are included, once if they say so, and imported files have macros of their own', () => {
  const files = {
    'n.h': '#pragma once\n#ifdef SEEN\n#error twice\n#endif\n#define SEEN\n#define N 4\n',
    'io.edl':
      'enclave {\n#ifdef N\nuntrusted { void leaked(); };\n#else\nuntrusted { void own(); };\n#endif\n};',
  };
  const text = `#include "n.h"\n#include "n.h"\n${wrap('from "io.edl" import *;\nuntrusted { void o([in] int a[N]); };')}`;
  assert.deepEqual(ocalls(text, {}, files), ['o', 'own']);
});

test('what is not supported is an error at its line', () => {
  const cases: [text: string, code: string, line: number, message: RegExp][] = [
    ['#if 1\nenclave {};', 'EDL_SYNTAX', 1, /no end, expected '#endif'/],
    ['\n#endif\n', 'EDL_SYNTAX', 2, /'#endif' without '#if'/],
    ['#if 0\n#else\n#else\n#endif', 'EDL_SYNTAX', 3, /after '#else'/],
    ['#if 1 +\n#endif', 'EDL_SYNTAX', 1, /expects a number or a name, found its end/],
    ["\n#if 'a'\n#endif", 'EDL_SYNTAX', 2, /not supported/],
    ['#if F(1)\n#endif', 'EDL_SYNTAX', 1, /'F\(…\)' in a condition is not supported/],
    ['#if 1 / 0\n#endif', 'EDL_SYNTAX', 1, /divides by zero/],
    ['#if __GNUC__ > 4\n#endif', 'EDL_SYNTAX', 1, /depends on the compiler/],
    ['#include <stdint.h>\n', 'EDL_SYNTAX', 1, /not supported, expected a file of macros/],
    ['\n#include "gone.h"\n', 'EDL_IMPORT', 2, /there is no file 'gone.h'/],
    ['#error Set X\n', 'EDL_SYNTAX', 1, /#error Set X/],
    ['#pragma pack(1)\n', 'EDL_SYNTAX', 1, /not supported/],
    ['#line 3\n', 'EDL_SYNTAX', 1, /not a supported directive/],
    ['enclave { #if 1\n', 'EDL_SYNTAX', 1, /not at the beginning of its line/],
    ['#if 0\n/* \n#endif', 'EDL_SYNTAX', 2, /comment has no end/],
    [`#define F(x) x\n${wrap('untrusted { void F(1)(); };')}`, 'EDL_SYNTAX', 4, /has parameters/],
    [
      `#define N (4)\n\n${wrap('untrusted { void o([in] int a[N]); };')}`,
      'EDL_SYNTAX',
      5,
      /expected a number, found '\(' of the macro 'N'/,
    ],
    [
      `#define N 0x10\n${wrap('untrusted { void o([in] int a[N]); };')}`,
      'EDL_SYNTAX',
      4,
      /'N' stands for '0x10'/,
    ],
    [`#if 0\n\n#endif\n${wrap('untrusted { voi§d o(); };')}`, 'EDL_SYNTAX', 6, /"§"/],
  ];
  for (const [text, code, line, message] of cases) {
    const error = failure(() => parse(text));
    assert.deepEqual([error.code, error.line], [code, line], `${text}: ${error.message}`);
    assert.match(error.message, message);
  }
  assert.throws(() => parse(wrap(''), { defines: { 'a b': 1 } }), { code: 'EDL_VALUE' });
  assert.throws(() => parse(wrap(''), { defines: { A: 1.5 } }), { code: 'EDL_VALUE' });
});

test('macros, conditions and files that grow without bound meet a limit', () => {
  const doubling = (last: string) =>
    Array.from({ length: 30 }, (_, i) => `#define M${i} M${i + 1} M${i + 1}\n`).join('') + last;
  const chain = Array.from({ length: 70 }, (_, i) => `#define M${i} M${i + 1}\n`).join('');
  const deep = '('.repeat(1000);
  for (const [text, code] of [
    [doubling('#define M30 x\nM0'), 'EDL_LIMIT'],
    [doubling('#define M30\nM0'), 'EDL_LIMIT'],
    [doubling('#if M0\n#endif'), 'EDL_SYNTAX'],
    [`${chain}M0`, 'EDL_LIMIT'],
    [`${chain}#if M0\n#endif`, 'EDL_SYNTAX'],
    [`#if ${deep}\n#endif`, 'EDL_SYNTAX'],
    ['#include "self.h"\n', 'EDL_LIMIT'],
    ['#ifdef X\n'.repeat(5000), 'EDL_LIMIT'],
    [`#if 0\n${'"\\'.repeat(400_000)}`, 'EDL_SYNTAX'],
    [`//${'/*'.repeat(400_000)}\n/**/`, 'EDL_SYNTAX'],
  ])
    assert.equal(
      failure(() => parse(text, {}, { 'self.h': '#include "self.h"\n' })).code,
      code,
      text.slice(-40),
    );
});

test('a macro as size of an OCALL: known, unavailable, or an error that names it', () => {
  const edl = parse(
    wrap(
      'enum e { A = 2, COUNT };\nuntrusted { void o([out, size=SEGMENT] uint8_t* p); void n([in, count=COUNT] int* p); };',
    ),
  );
  const [o, n] = describeEdl(edl, { constants: { SEGMENT: 256 } }).ocalls;
  assert.deepEqual(o.parameters[0].pass === 'buffer' && o.parameters[0].target.unit, 256);
  assert.deepEqual(n.parameters[0].pass === 'buffer' && n.parameters[0].target.count, 3);
  const error = failure(() => describeEdl(edl));
  assert.deepEqual([error.code, error.line], ['EDL_TYPE', 4]);
  assert.match(error.message, /'size=SEGMENT'.*macro 'SEGMENT' is not known/);
  const [unknown, known] = describeEdl(edl, { allowUnknown: true }).ocalls;
  assert.match(unknown.unavailable ?? '', /SEGMENT/);
  assert.equal(known.unavailable, undefined);
  assert.match(generateTrustedC(edl).source, /\(size_t\)SEGMENT/);
  // sgx_edger8r: "parameter `SEGMENT' not found" for ECALLs, and C refuses it as a member.
  for (const body of [
    'trusted { void f([in, size=SEGMENT] int* p); };',
    'struct s { [size=SEGMENT] int* p; };',
  ]) {
    const refused = failure(() => parse(wrap(body)));
    assert.equal(refused.code, 'EDL_DECLARATION');
    assert.match(String(refused.advice), /--define SEGMENT=VALUE/);
    parse(wrap(body), { defines: { SEGMENT: 8 } });
  }
});

test('removed attributes make only their calls unavailable, where they are let through', () => {
  const text =
    'enclave { struct s { [sizefunc=g] char* p; };\ntrusted { public void a(); public void b([in, sizefunc=f] char* p); public void c(); public void d([in] struct s* p); }; };';
  assert.equal(failure(() => parse(text)).code, 'EDL_REMOVED');
  const edl = parse(text, { allowRemoved: true });
  assert.equal(failure(() => describeEdl(edl)).code, 'EDL_REMOVED');
  assert.equal(failure(() => generateTrustedC(edl)).code, 'EDL_REMOVED');
  const { ecalls } = describeEdl(edl, { allowUnknown: true });
  assert.deepEqual(
    ecalls.map(({ name, unavailable }) => [name, unavailable === undefined]),
    [
      ['a', true],
      ['b', false],
      ['c', true],
      ['d', false],
    ],
  );
  assert.match(ecalls[1].unavailable ?? '', /^a\.edl:2:.*'sizefunc' was removed/);
});

test('random lines of directives give an interface or an EdlError, never anything else', () => {
  const line = fc.constantFrom(
    ...'#if A|#ifdef A|#ifndef B|#elif B > 1|#else|#endif|#define A 1|#define B A B|#define A (|#undef A|#include "a"|/*|*/|//\\|"|\\|enclave {|};|untrusted { void A(); };|B|#|#if (A'.split(
      '|',
    ),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 30 }), (lines) => {
      try {
        parse(lines.join('\n'), {}, { a: '#define B 2\n' });
      } catch (error) {
        assert.ok(error instanceof EdlError, `${lines.join('\n')}: ${error}`);
        assert.ok(error.line >= 1 && error.excerpt.includes('^'));
      }
    }),
    { numRuns: RUNS, seed: SEED },
  );
});
