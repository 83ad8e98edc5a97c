/** `nsgx edl`, and `nsgx new` and `nsgx build` of a project with an interface in EDL. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-edl-'));
after(() => rmSync(folder, { recursive: true, force: true }));

function nsgx(...args: string[]): { status: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [NSGX, ...args], {
    encoding: 'utf8',
    cwd: folder,
  });
  return { status, out: stdout, err: stderr };
}

const EDL = `enclave {
  from "more.edl" import *;
  trusted {
    public int sum([in, count=n] const int *values, size_t n);
    void hidden(own_t value);
  };
  untrusted { void tell([in, string] const char *text) allow(hidden); };
};`;

test('nsgx edl lists the calls, and makes TypeScript and C', () => {
  writeFileSync(join(folder, 'calc.edl'), EDL);
  const missing = nsgx('edl', 'calc.edl');
  assert.equal(missing.status, 1);
  assert.match(missing.err, /more\.edl/);
  assert.match(missing.err, /EDL_IMPORT/);

  mkdirSync(join(folder, 'inc'));
  writeFileSync(join(folder, 'inc/more.edl'), 'enclave { from "sgx_tstdc.edl" import sgx_oc_cpuidex; };');
  const list = nsgx('edl', 'calc.edl', '--search-path', 'inc');
  assert.equal(list.status, 0, list.err);
  const lines = list.out.trimEnd().split('\n');
  assert.match(lines[0]!, /^ecall 0 +sum\(values, n\)$/);
  assert.match(lines[1]!, /^ecall 1 +hidden\(\) +private; .*own_t/);
  assert.match(lines[2]!, /^ocall 0 +tell\(text\) +allows hidden$/);
  assert.match(lines[3]!, /sgx_oc_cpuidex/);

  writeFileSync(join(folder, 'types.json'), '{ "own_t": "uint16_t" }');
  const known = nsgx('--json', 'edl', 'calc.edl', '--search-path', 'inc', '--types', 'types.json');
  assert.equal(JSON.parse(known.out).description.ecalls[1].size, 2);
  writeFileSync(join(folder, 'types.json'), '{');
  assert.equal(nsgx('edl', 'calc.edl', '--search-path', 'inc', '--types', 'types.json').status, 2);

  const made = nsgx(
    'edl',
    'calc.edl',
    '--search-path',
    'inc',
    '--ts',
    'calc.ts',
    '--c',
    'c',
    '--name',
    'thing',
  );
  assert.equal(made.status, 0, made.err);
  assert.match(readFileSync(join(folder, 'calc.ts'), 'utf8'), /export const Thing: EdlInterface</);
  assert.match(
    readFileSync(join(folder, 'c/calc_t.h'), 'utf8'),
    /^int sum\(const int\* values, size_t n\);$/m,
  );
  assert.match(readFileSync(join(folder, 'c/calc_t.c'), 'utf8'), /bridge_sum/);
});

test('nsgx edl says where a file is wrong', () => {
  writeFileSync(join(folder, 'bad.edl'), 'enclave {\n  trusted { public int f(int *p); };\n};');
  const { status, err } = nsgx('edl', 'bad.edl');
  assert.equal(status, 1);
  assert.match(err, /bad\.edl:2:\d+: .*direction/);
});

test('nsgx edl --define: conditional parts, and macros that only C knows', () => {
  const text =
    '#ifdef EXTRA\nenclave { trusted { public void extra(); };\n#else\nenclave { trusted { public void plain(); };\n#endif\nuntrusted { void o([out, size=SEGMENT] uint8_t* to); }; };';
  writeFileSync(join(folder, 'macros.edl'), text);
  const without = nsgx('edl', 'macros.edl');
  assert.match(without.out, /^ecall 0 +plain\(\)/);
  assert.match(without.out, /ocall 0 +o\(\) +macros\.edl:6:\d+: .*'SEGMENT' is not known/);
  const given = nsgx('edl', 'macros.edl', '--define', 'EXTRA', '--define', 'SEGMENT=0x10', '--json');
  const { ecalls, ocalls } = JSON.parse(given.out).description;
  assert.deepEqual([ecalls[0].name, ocalls[0].parameters[0].target.unit], ['extra', 16]);
  assert.equal(nsgx('edl', 'macros.edl', '--define', 'SEGMENT=many').status, 2);
});

test('nsgx new --template edl makes a project that nsgx build builds and signs', () => {
  assert.equal(nsgx('new', 'hello', '--template', 'edl').status, 0);
  const built = nsgx('--json', 'build', 'hello');
  assert.equal(built.status, 0, built.err);
  const { signedPath, mrenclave, warnings } = JSON.parse(built.out);
  assert.equal(warnings, '');
  const inspected = JSON.parse(nsgx('--json', 'inspect', signedPath).out);
  assert.equal(inspected.format, 'intel');
  assert.equal(inspected.mrenclave, mrenclave);
  assert.equal(inspected.tcs, 4);
  assert.equal(inspected.signatureValid, true);
  rmSync(join(folder, 'hello/build'), { recursive: true });
  renameSync(join(folder, 'hello/key.pem'), join(folder, 'key.pem'));
  assert.match(nsgx('build', 'hello').out, /none: sign it with nsgx sign/);
  assert.ok(!existsSync(join(folder, 'hello/build/hello.signed.so')));
  const signed = nsgx('--json', 'sign', 'hello/build/hello.so', '--key', 'key.pem');
  assert.equal(signed.status, 0, signed.err);
  assert.equal(JSON.parse(signed.out).mrenclave, mrenclave);
  const again = JSON.parse(nsgx('--json', 'inspect', 'hello/build/hello.signed.so').out);
  assert.deepEqual([again.signatureValid, again.mrsigner, again.isvSvn], [true, inspected.mrsigner, 1]);
});
