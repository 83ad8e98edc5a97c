/** Generated TypeScript is checked by the compiler, with right and wrong uses, and then run. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { describeEdl, generateTypeScript, parseEdl } from '../src/index.js';

const require = createRequire(import.meta.url);
const TSC = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
const SOURCE = import.meta.resolve('../src/index.js').replace('/dist/src/index.js', '/dist/src/index');

const EDL = `enclave {
  enum level { LOW, HIGH };
  struct point { int x; uint64_t id; short y[2]; uint8_t tag[4]; struct point* next; };
  struct list { size_t n; [count=n] struct point* items; [size=4] void* raw; [count=1] struct list* self; };
  struct string { int a; };
  trusted {
    public int add(int a, int b);
    public size_t reverse([in, size=n] const uint8_t* in, size_t n, [out, size=n] uint8_t* to);
    public void middle([out] struct point* p, enum level class, [in, out, string] char* text);
    public struct point mirror(struct point p, [in, count=2] long* values, [in] int grid[2][2]);
    public void deep([in, out] struct list* one, [in, count=2] struct list* two, struct string s);
    void inner([user_check] void* p);
    public void missing(gone_t g);
  };
  untrusted {
    void print([in, string] const char* text);
    int o_write(int fd, [in, size=n] const void* data, size_t n) propagate_errno;
    void o_fill([out, size=4] uint8_t* data, [out] int* written);
    uint64_t o_time() allow(inner);
  };
};`;

const USE = `
import type { EdlInterface } from '@nestedsgx/edl';
import { Calc, type CalcEcalls, type CalcOcalls } from './calc.js';
type Ecalls<I> = I extends EdlInterface<infer E, unknown> ? E : never;
export function use(e: CalcEcalls, f: Ecalls<typeof Calc>): void {
  const sum: number = e.add(2, f.add(3, 4));
  const { value, out } = e.reverse(new Uint8Array(sum), 3n);
  const n: bigint = value;
  const to: Uint8Array | null = out.to;
  e.reverse(null, 0, to);
  const middle = e.middle(undefined, 1, 'x');
  const p: { x: number; id: bigint; y: number[]; tag: Uint8Array; next: bigint } | null = middle.out.p;
  const text: string | null = middle.out.text;
  if (p !== null) e.mirror({ ...p, id: 5, next: null }, [1, 2n], [[1, 2], [3, 4]]).tag.fill(0);
  e.deep({ n: 1, items: p === null ? null : [p], raw: new Uint8Array(4), self: null }, [], { a: 1 }).out.one?.items?.at(0)?.x.toFixed();
  e.inner(n);
  // @ts-expect-error one argument is missing
  e.add(1);
  // @ts-expect-error text is not a number
  e.add(1, '2');
  // @ts-expect-error a member is missing
  e.mirror({ x: 1 }, [1, 2], [[1, 2], [3, 4]]);
  // @ts-expect-error no such call
  e.missing(1);
  void text;
}
export const ocalls: CalcOcalls = {
  print: (text) => void text?.length,
  o_write: (fd, data, n) => (data === null ? { value: -1, errno: 28 } : fd + data.length + Number(n)),
  o_fill: (data) => { data?.fill(1); return { out: { written: 4 } }; },
  o_time: () => 5,
};
export const wrong: CalcOcalls = {
  ...ocalls,
  // @ts-expect-error text is not a number
  o_time: () => 'now',
};
`;

test('generated TypeScript compiles, refuses wrong uses and carries the description', async () => {
  const description = describeEdl(parseEdl({ file: 'calc.edl', text: EDL }), { allowUnknown: true });
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-edl-ts-'));
  try {
    const module_ = join(folder, 'node_modules', '@nestedsgx', 'edl');
    mkdirSync(module_, { recursive: true });
    const types = new URL(`${SOURCE}.d.ts`).pathname;
    writeFileSync(
      join(module_, 'package.json'),
      JSON.stringify({ name: '@nestedsgx/edl', type: 'module', types: 'index.d.ts' }),
    );
    writeFileSync(
      join(module_, 'index.d.ts'),
      `export * from ${JSON.stringify(types.replace(/\.d\.ts$/, '.js'))};\n`,
    );
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }));
    writeFileSync(join(folder, 'calc.ts'), generateTypeScript(description));
    writeFileSync(join(folder, 'use.ts'), USE);
    const options =
      '--strict --target es2022 --module nodenext --skipLibCheck --types --outDir out use.ts calc.ts'.split(
        ' ',
      );
    try {
      execFileSync(process.execPath, [TSC, ...options.filter((option) => option !== '--types')], {
        cwd: folder,
        encoding: 'utf8',
        stdio: 'pipe',
        timeout: 120_000,
      });
    } catch (error) {
      assert.fail(String((error as { stdout?: unknown }).stdout ?? error));
    }
    const built = await import(pathToFileURL(join(folder, 'out', 'calc.js')).href);
    assert.deepEqual(built.Calc.description, JSON.parse(JSON.stringify(description)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('names of files and types that TypeScript cannot use', () => {
  const edl = parseEdl({
    file: '3 odd-name.v2.edl',
    text: EDL.replace('public void missing(gone_t g);', ''),
  });
  const text = generateTypeScript(describeEdl(edl));
  assert.match(text, /export const _3_odd_name_v2: EdlInterface<_3_odd_name_v2Ecalls/);
  assert.match(text, /class_: number/);
  assert.match(text, /in_: ArrayBufferView \| null/);
  assert.match(generateTypeScript(describeEdl(edl), 'demo'), /export const Demo: /);
});
