/** C made from EDL files: gcc takes it without a warning, and lays its structures out as the marshaller does. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { describeEdl, type ForeignType, generateTrustedC, type ParsedEdl, parseEdl } from '@nestedsgx/edl';
import { PACKAGE, work } from './harness.js';

const TYPES: Record<string, ForeignType> = {
  buffer_t: { pointer: 'int' },
  const_buffer_t: { pointer: 'char' },
  array_t: { array: 'short int', count: 10 },
  pair_t: { struct: { a: 'char', b: 'uint64_t' } },
  handle_t: { pointer: null },
};
const HEADER = `#include <stdint.h>
typedef int *buffer_t;
typedef const char *const_buffer_t;
typedef short array_t[10];
typedef struct { char a; uint64_t b; } pair_t;
typedef void *handle_t;
`;

/** Statements that hold gcc's layout against the description. */
function assertions(edl: ParsedEdl): string {
  const description = describeEdl(edl, { types: TYPES });
  const lines: string[] = [];
  for (const call of [...description.ecalls, ...description.ocalls]) {
    if (call.size === 0) continue;
    const type = `ms_${call.name}_t`;
    const place = (field: string, at: number) =>
      lines.push(`_Static_assert(offsetof(${type}, ${field}) == ${at}, "${call.name}.${field}");`);
    lines.push(`_Static_assert(sizeof(${type}) == ${call.size}, "${call.name}");`);
    lines.push(`_Static_assert(_Alignof(${type}) == ${call.align}, "${call.name}");`);
    if (call.returns !== undefined) place('ms_retval', 0);
    if (call.errnoOffset !== undefined) place('ocall_errno', call.errnoOffset);
    for (const p of call.parameters) {
      place(`ms_${p.name}`, p.offset);
      if ((p.pass === 'string' || p.pass === 'wstring') && p.lengthOffset !== undefined)
        place(`ms_${p.name}_len`, p.lengthOffset);
    }
  }
  return lines.join('\n');
}

function compile(name: string, text: string): void {
  const edl = parseEdl({ file: `${name}.edl`, text });
  const { header, source } = generateTrustedC(edl);
  const dir = join(work, name);
  mkdirSync(dir, { recursive: true });
  writeFileSync(join(dir, `${name}_t.h`), header);
  writeFileSync(join(dir, 'types.h'), HEADER);
  writeFileSync(join(dir, `${name}_t.c`), `${source}${assertions(edl)}\n`);
  const own = execFileSync('gcc', ['-print-file-name=include'], { encoding: 'utf8' }).trim();
  const include = join(PACKAGE, 'native/include');
  const flags = ['-std=gnu11', '-O1', '-ffreestanding', '-Wall', '-Wextra', '-Werror', '-nostdinc'];
  const paths = ['-isystem', join(include, 'libc'), '-isystem', own, '-I', include, '-I', dir];
  const result = spawnSync('gcc', ['-c', ...flags, ...paths, `${name}_t.c`, '-o', 'out.o'], {
    cwd: dir,
    encoding: 'utf8',
  });
  assert.equal(result.stderr, '');
  assert.equal(result.status, 0);
}

describe('C made from EDL', () => {
  it('has what the language has', () => {
    compile(
      'whole',
      `enclave {
        include "types.h"
        include "sgx_trts.h"
        enum { FIRST = 3, SECOND };
        enum kind_t { KIND_A, KIND_B = FIRST };
        union word_t { uint64_t whole; uint16_t parts[4]; };
        struct point_t { char c; long double x; int m[2][3]; };
        struct deep_t { int n; uint16_t unit; [size=n] void *a; [size=unit, count=n] struct point_t *b; int *plain; };
        trusted {
          public void none(void);
          public int only_result(void);
          public pair_t foreign([in] pair_t *p, [in, out, count=n] struct point_t *q, uint8_t n, handle_t h);
          public void sizes([in, isptr, size=7] buffer_t a, [out, isptr] buffer_t b, [in, isptr, readonly] const_buffer_t c);
          public void arrays([in, isary] array_t a, [in, out, isary] array_t b, [user_check, isary] array_t c, [out] int d[2][3][4]);
          public void checks([user_check] const struct point_t *a, [user_check] int b[3], [user_check, isptr] buffer_t c);
          public void texts([in, string] const char *a, [in, out, string] unsigned char *b, [in, out, wstring] wchar_t *c);
          public long double floats(float a, double b, long double c);
          public struct point_t structs(struct point_t a, union word_t b, enum kind_t c);
          public void deep([in] struct deep_t *a, [in, out, count=3] struct deep_t *b);
          public void pointers([in, count=2] char **a, [out] void **b, [in, size=n, count=m] const void *c, int n, long m);
          public sgx_status_t status(sgx_status_t memory, int status, int structure, int copy) transition_using_threads;
          int hidden(int ms);
        };
        untrusted {
          void out_none(void) allow(hidden);
          void out_errno(void) propagate_errno;
          pair_t out_foreign([in] pair_t *p, [in, out, count=n] struct point_t *q, uint8_t n, handle_t h) allow(none, deep);
          void out_sizes([in, isptr, size=7] buffer_t a, [out, isptr] buffer_t b, [in, isptr, readonly] const_buffer_t c);
          void out_arrays([in, isary] array_t a, [in, out, isary] array_t b, [user_check, isary] array_t c, [out] int d[2][3][4]);
          void out_checks([user_check] const struct point_t *a, [user_check] int b[3], [user_check, isptr] buffer_t c);
          int out_texts([in, string] const char *a, [in, out, string] unsigned char *b, [in, out, wstring] wchar_t *c) propagate_errno;
          [cdecl, dllimport] long double out_floats(float a, double b, long double c);
          [stdcall] struct point_t out_structs(struct point_t a, union word_t b, enum kind_t c);
          int out_deep([in] struct deep_t *a, [in, out, count=3] struct deep_t *b) propagate_errno;
          void *out_pointers([in, count=2] char **a, [out] void **b, [in, size=n, count=m] const void *c, int n, long m);
          void out_status(sgx_status_t memory, int status, int structure, int copy) transition_using_threads;
        };
      };`,
    );
  });

  it('is what gcc takes for interfaces made at random', () => {
    let state = Number(process.env['NSGX_SEED'] ?? 1) >>> 0 || 1;
    const pick = <T>(list: readonly T[]): T => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return list[Math.floor((state / 2 ** 32) * list.length)];
    };
    const values = [
      'char',
      'int8_t',
      'short',
      'int',
      'unsigned long',
      'uint64_t',
      'float',
      'double',
      'long double',
    ].concat(['struct s_t', 'union u_t', 'enum e_t', 'pair_t', 'size_t', 'wchar_t', 'handle_t', 'uint16_t']);
    const targets = [
      'char',
      'int',
      'uint64_t',
      'double',
      'struct s_t',
      'union u_t',
      'enum e_t',
      'pair_t',
      'void *',
    ];
    const parameter = (i: number): string => {
      const kind = pick(['value', 'value', 'one', 'many', 'sized', 'array', 'text', 'check', 'deep']);
      const direction = pick(['in', 'out', 'in, out']);
      if (kind === 'value') return `${pick(values)} p${i}`;
      if (kind === 'one') return `[${direction}] ${pick(targets)} *p${i}`;
      if (kind === 'many') return `[${direction}, count=n] ${pick(targets)} *p${i}`;
      if (kind === 'sized')
        return `[${direction}, size=${pick(['n', '64'])}] ${pick([...targets, 'void'])} *p${i}`;
      if (kind === 'array')
        return `[${direction}] ${pick(['int', 'struct s_t', 'double'])} p${i}[${pick([1, 3])}][2]`;
      if (kind === 'check') return `[user_check] ${pick(targets)} *p${i}`;
      if (kind === 'deep') return `[${pick(['in', 'in, out'])}, count=${pick(['n', '2'])}] struct d_t *p${i}`;
      const text = pick(['string', 'wstring']);
      return `[${pick(['in', 'in, out'])}, ${text}] ${text === 'string' ? 'char' : 'wchar_t'} *p${i}`;
    };
    const fn = (name: string): string => {
      const list = Array.from({ length: pick([0, 1, 2, 3, 5]) }, (_, i) => parameter(i));
      return `${pick([...values, 'void', 'void'])} ${name}(${[...list, `${pick(['size_t', 'int', 'uint8_t'])} n`].join(', ')})`;
    };
    const list = (count: number, name: string, before: string, after: () => string) =>
      Array.from({ length: count }, (_, i) => `${before} ${fn(`${name}${i}`)}${after()};`).join('\n');
    compile(
      'random',
      `enclave {
        include "types.h"
        enum e_t { E_A, E_B };
        union u_t { char a[3]; int b; };
        struct s_t { char a; double b; short c[3]; };
        struct d_t { uint8_t n; [count=n] struct s_t *a; int m; [size=m] char *b; };
        trusted { ${list(60, 'in', 'public', () => '')} };
        untrusted { ${list(60, 'out', '', () => pick(['', ' propagate_errno', ' allow(in1)']))} };
      };`,
    );
  });
});
