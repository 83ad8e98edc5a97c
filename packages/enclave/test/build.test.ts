/** The tool chain: reproducible bytes, generated code, errors that say what to do. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import { parseInterfaceSource } from '@nestedsgx/edl';
import { measureImage, readSgxs } from '@nestedsgx/image';
import * as fc from 'fast-check';
import { readElf } from '../src/elf.js';
import {
  buildEnclave,
  buildOutsideKernels,
  CompileError,
  findToolchain,
  newProject,
  SAMPLES,
  sampleDirectory,
  signOptionsOf,
} from '../src/index.js';
import { Caller, Harness, PACKAGE, work } from './harness.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 300);
const SEED = Number(process.env['NSGX_FUZZ_SEED'] ?? 20261122);
const codeOf = (code: string) => (error: unknown) => (error as { code?: string }).code === code;

function copyOf(sample: (typeof SAMPLES)[number]): string {
  const dir = mkdtempSync(join(work, 'copy-'));
  cpSync(sampleDirectory(sample), join(dir, sample), {
    recursive: true,
    filter: (path) => !path.endsWith('/build'),
  });
  cpSync(join(PACKAGE, 'samples/kernels'), join(dir, 'kernels'), { recursive: true });
  return join(dir, sample);
}

describe('building', () => {
  it('gives the same bytes in different folders, and an image that measures to what it says', async () => {
    for (const sample of SAMPLES) {
      const [a, b] = [
        await buildEnclave({ dir: copyOf(sample) }),
        await buildEnclave({ dir: copyOf(sample) }),
      ];
      assert.notEqual(a.sgxsPath, b.sgxsPath);
      assert.ok(readFileSync(a.sgxsPath).equals(readFileSync(b.sgxsPath)), sample);
      assert.ok(readFileSync(a.jsonPath).equals(readFileSync(b.jsonPath)), sample);
      assert.equal(a.mrenclave, b.mrenclave);
      const image = readSgxs(readFileSync(a.sgxsPath));
      assert.equal(Buffer.from(measureImage(nodeHash, image)).toString('hex'), a.mrenclave);
      assert.equal(image.size, a.size);
      assert.equal(image.tcs, a.threads);
      assert.equal(a.warnings, '', sample);
    }
  });

  it('puts nothing of the build machine into the image, and no instruction that enclaves must not execute', async () => {
    const dir = copyOf('calc');
    writeFileSync(
      join(dir, 'src/where.c'),
      '#include "nsgx_interface.h"\nconst char *where(void);\nconst char *where(void) { return __FILE__; }\n',
    );
    const build = await buildEnclave({ dir });
    const bytes = readFileSync(build.elfPath);
    for (const secret of [dir, PACKAGE, work]) assert.ok(!bytes.includes(secret), secret);
    const code = build.layout.runs.filter((run) => (run.secinfoFlags & 4) !== 0);
    assert.equal(code.length, 1);
    assert.ok(code.every((run) => (run.secinfoFlags & 2) === 0));
    const text = Buffer.from(code[0].data);
    let leaves = 0;
    for (let at = text.indexOf('0f01d7', 0, 'hex'); at >= 0; at = text.indexOf('0f01d7', at + 1, 'hex')) {
      assert.equal(text[at - 5], 0xb8, 'mov $leaf,%eax directly before ENCLU');
      assert.ok([0, 1, 4, 5, 6, 7].includes(text.readUInt32LE(at - 4)));
      leaves++;
    }
    assert.equal(leaves, 6);
    assert.equal(text.indexOf('0fa2', 0, 'hex'), -1, 'no CPUID');
    assert.equal(text.indexOf('0f05', 0, 'hex'), -1, 'no SYSCALL');
  });

  it('compiles the kernels to the same machine code outside as inside', async () => {
    const inside = await buildEnclave({ dir: copyOf('calc') });
    const outside = await buildOutsideKernels(await findToolchain(), join(work, 'kernels.so'));
    const body = (path: string) => {
      const dump = execFileSync('objdump', ['-d', '--no-show-raw-insn', '--no-addresses', path], {
        encoding: 'utf8',
      });
      const from = dump.indexOf('<nsgx_kernel_memory_work>:');
      return dump.slice(from, dump.indexOf('ret', from));
    };
    assert.ok(body(outside).length > 200);
    assert.equal(body(inside.elfPath), body(outside));
  });

  it('lays pages out with guards around stacks, and measures all but what may be left out', async () => {
    const build = await buildEnclave({ dir: copyOf('calc'), config: { threads: 3, heapMeasured: false } });
    const at = (offset: number) =>
      build.layout.runs.find((run) => offset >= run.offset && offset < run.offset + run.data.length);
    assert.equal(at(0), undefined);
    for (const thread of build.layout.threads) {
      for (const guard of [thread.stackLow - 1, thread.stackTop, thread.ssa - 1])
        assert.equal(at(guard), undefined);
      assert.equal(at(thread.tcs)?.secinfoFlags, 0x100);
      assert.equal(at(thread.stackLow)?.secinfoFlags, 0x203);
    }
    for (const run of build.layout.runs) {
      const heap =
        run.offset >= build.layout.heap.offset &&
        run.offset < build.layout.heap.offset + build.layout.heap.size;
      assert.equal(run.measured, !heap);
    }
    assert.equal(build.description.threads, 3);
    const other = await buildEnclave({ dir: copyOf('calc'), config: { threads: 3 } });
    assert.notEqual(other.mrenclave, build.mrenclave);
  });

  it("shows gcc's errors with file and line, and warnings as text", async () => {
    const dir = copyOf('calc');
    writeFileSync(
      join(dir, 'src/broken.c'),
      '#include "nsgx_interface.h"\n\nint broken(void) { return missing; }\n',
    );
    await assert.rejects(buildEnclave({ dir }), (error) => {
      assert.ok(error instanceof CompileError);
      assert.equal(error.code, 'COMPILE_FAILED');
      assert.match(error.message, /src\/broken\.c:3:\d+: error: .missing. undeclared/);
      assert.match(error.output, /return missing/);
      return true;
    });
    writeFileSync(
      join(dir, 'src/broken.c'),
      'int broken(void);\nint broken(void) { int unused; return 1; }\n',
    );
    assert.match((await buildEnclave({ dir })).warnings, /src\/broken\.c:2:\d+: warning: unused variable/);
    writeFileSync(
      join(dir, 'src/broken.c'),
      'int getpid(void);\nint broken(void);\nint add2(void);\n#include "nsgx_interface.h"\nvoid empty(void) {}\n',
    );
    await assert.rejects(buildEnclave({ dir }), codeOf('LINK_FAILED'));
    writeFileSync(join(dir, 'src/broken.c'), '');
    const calc = readFileSync(join(dir, 'src/calc.c'), 'utf8');
    writeFileSync(join(dir, 'src/calc.c'), calc.replace('void empty(void) {}', ''));
    await assert.rejects(buildEnclave({ dir }), (error) => {
      assert.ok(error instanceof CompileError && error.code === 'LINK_FAILED');
      assert.match(error.message, /undefined reference to .empty/);
      return true;
    });
  });

  it('refuses what the runtime cannot start', async () => {
    const dir = copyOf('calc');
    writeFileSync(
      join(dir, 'src/extra.c'),
      'static int x; _Thread_local int *pointer = &x; int *nsgx_keep(void);\nint *nsgx_keep(void) { return pointer; }\n#include "nsgx_interface.h"\n__attribute__((used)) static void *keep = nsgx_keep;\n',
    );
    const calc = readFileSync(join(dir, 'src/calc.c'), 'utf8');
    writeFileSync(
      join(dir, 'src/calc.c'),
      calc.replace('void empty(void) {}', 'int *nsgx_keep(void);\nvoid empty(void) { *nsgx_keep() = 1; }'),
    );
    await assert.rejects(buildEnclave({ dir }), codeOf('ELF_UNSUPPORTED'));
    await assert.rejects(
      buildEnclave({
        dir: copyOf('calc'),
        config: { heapPages: 4_194_304, stackPages: 4096, threads: 1024 },
      }),
      codeOf('LAYOUT_TOO_LARGE'),
    );
  });

  it('asks for the state components of the vector registers that the code uses', async () => {
    const dir = copyOf('calc');
    const plain = await buildEnclave({ dir });
    const wide = await buildEnclave({ dir, config: { vectors: 'avx', isvSvn: 7, debug: true } });
    assert.equal(plain.signOptions.attributes?.XFRM, 3n);
    assert.equal(wide.signOptions.attributes?.XFRM, 7n);
    assert.equal(wide.signOptions.attributes?.FLAGS, 6n);
    assert.equal(wide.signOptions.isvSvn, 7);
    assert.deepEqual(
      signOptionsOf(JSON.parse(readFileSync(wide.jsonPath, 'utf8')).signing),
      wide.signOptions,
    );
  });

  it('says how to install a compiler that is missing', async () => {
    const before = process.env['NSGX_CC'];
    process.env['NSGX_CC'] = 'no-such-gcc';
    try {
      await assert.rejects(buildEnclave({ dir: copyOf('calc') }), (error) => {
        assert.ok(codeOf('TOOLCHAIN_MISSING')(error));
        assert.match((error as { advice: string }).advice, /apt install gcc/);
        return true;
      });
    } finally {
      if (before === undefined) delete process.env['NSGX_CC'];
      else process.env['NSGX_CC'] = before;
    }
  });
});

describe('projects', () => {
  it('makes a project that builds and runs at once', async () => {
    const dir = join(work, 'my first enclave!');
    const files = newProject(dir);
    assert.deepEqual(files, ['.gitignore', 'README.md', 'enclave.json', 'interface.json', 'src/enclave.c']);
    const build = await buildEnclave({ dir });
    assert.equal(build.name, 'my-first-enclave-');
    assert.equal(build.warnings, '');
    const c = new Caller(await Harness.load(build), build);
    assert.equal(await c.call('add', [2, 3]), 5);
    assert.equal((await c.harness.start(c.index('greet'), c.request('greet', ['you']))).kind, 'ocall');
    const done = await c.harness.answer(0, Buffer.alloc(0));
    assert.ok(done.kind === 'exit' && c.result('greet', done.response!) === 'Hello you!');
    await c.harness.close();
    assert.throws(() => newProject(dir), codeOf('PROJECT_EXISTS'));
    assert.throws(() => newProject(join(work, 'other'), 'rust' as 'c'), codeOf('PROJECT_TEMPLATE'));
    assert.throws(() => sampleDirectory('none' as 'calc'), codeOf('PROJECT_TEMPLATE'));
  });

  it('refuses wrong settings by name', async () => {
    const dir = mkdtempSync(join(work, 'wrong-'));
    await assert.rejects(buildEnclave({ dir }), codeOf('PROJECT_FILE'));
    const set = (config: unknown) => writeFileSync(join(dir, 'enclave.json'), JSON.stringify(config));
    writeFileSync(join(dir, 'enclave.json'), '{');
    await assert.rejects(buildEnclave({ dir }), codeOf('PROJECT_INVALID'));
    writeFileSync(join(dir, 'interface.json'), '{}');
    mkdirSync(join(dir, 'src'));
    for (const config of [
      [],
      null,
      {},
      { name: '../x' },
      { name: 'x', threads: 0 },
      { name: 'x', heapPages: -1 },
      { name: 'x', stackPages: 1.5 },
      { name: 'x', unknown: 1 },
      { name: 'x', cflags: ['-o/etc/passwd'] },
      { name: 'x', cflags: ['@file'] },
      { name: 'x', cflags: ['-mavx2'] },
      { name: 'x', vectors: 'amx' },
    ]) {
      set(config);
      await assert.rejects(buildEnclave({ dir }), codeOf('PROJECT_INVALID'), JSON.stringify(config));
    }
    set({ name: 'x' });
    await assert.rejects(buildEnclave({ dir }), codeOf('PROJECT_NO_SOURCES'));
  });

  it('refuses names in interfaces that C or the runtime needs', () => {
    const call = (name: string, params: { name: string; type: string }[] = []) => ({
      ecalls: [{ name, params }],
    });
    for (const name of ['int', 'malloc', 'nsgx_seal', '__x', 'br_x', 'bool']) {
      assert.throws(() => parseInterfaceSource(call(name)), codeOf('INTERFACE_NAME'), name);
      assert.throws(
        () => parseInterfaceSource(call('f', [{ name, type: 'i32' }])),
        codeOf('INTERFACE_NAME'),
        name,
      );
    }
    for (const name of ['', '1a', 'a b', 'a;b', 'a\n', 'ä', 'x'.repeat(65)]) {
      assert.throws(() => parseInterfaceSource(call(name)), codeOf('INTERFACE_INVALID'), name);
    }
    assert.throws(
      () => parseInterfaceSource(call('f', [{ name: 'a', type: 'i8' }])),
      codeOf('INTERFACE_INVALID'),
    );
    assert.throws(
      () => parseInterfaceSource({ ecalls: [{ name: 'f' }], ocalls: [{ name: 'f' }] }),
      codeOf('INTERFACE_NAME'),
    );
    assert.throws(
      () =>
        parseInterfaceSource(
          call('f', [
            { name: 'a', type: 'i32' },
            { name: 'a', type: 'i32' },
          ]),
        ),
      codeOf('INTERFACE_NAME'),
    );
    assert.throws(() => parseInterfaceSource({ ecalls: [], extra: 1 }), codeOf('INTERFACE_INVALID'));
  });
});

describe('the ELF reader', () => {
  it('refuses damaged files with a typed error and nothing else', async () => {
    const build = await buildEnclave({ dir: sampleDirectory('evil'), out: join(work, 'evil') });
    const good = readFileSync(build.elfPath);
    assert.ok(readElf(good).relocations.length > 0);
    for (let length = 0; length < 64; length++)
      assert.throws(() => readElf(good.subarray(0, length)), codeOf('ELF_MALFORMED'));
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(700), fc.nat(255)), { minLength: 1, maxLength: 4 }),
        fc.boolean(),
        (changes, tail) => {
          const copy = Buffer.from(good);
          const start = tail ? copy.readUInt32LE(40) : 0;
          for (const [at, byte] of changes) if (start + at < copy.length) copy[start + at] = byte;
          try {
            readElf(copy);
          } catch (error) {
            assert.ok(codeOf('ELF_MALFORMED')(error), String(error));
          }
        },
      ),
      { numRuns: RUNS, seed: SEED },
    );
  });
});

describe('vendored cryptography', () => {
  it('is byte for byte what its list of hashes says', () => {
    const root = join(PACKAGE, '../../third_party/bearssl');
    const lines = readFileSync(join(root, 'SHA256SUMS'), 'utf8').trim().split('\n');
    assert.ok(lines.length > 30);
    for (const line of lines) {
      const [sum, path] = line.split(/ {2}/);
      assert.equal(
        createHash('sha256')
          .update(readFileSync(join(root, path)))
          .digest('hex'),
        sum,
        path,
      );
    }
  });
});
