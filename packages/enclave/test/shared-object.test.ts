/** Enclaves in Intel's format: bytes, layout, signature, errors of projects with an interface in EDL. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { verifySigstruct } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { IntelImage, measureImage, parseSignedSo, TCS_TEMPLATE } from '@nestedsgx/image';
import { generateKey } from '@nestedsgx/image/node';
import { buildEdlEnclave, buildEnclave, type EdlBuildOptions, sampleDirectory } from '../src/index.js';
import { work } from './harness.js';

const codeOf = (code: string) => (error: unknown) => (error as { code?: string }).code === code;
let key: string;

function copyOf(): string {
  const dir = mkdtempSync(join(work, 'edl-'));
  cpSync(sampleDirectory('marshal'), dir, { recursive: true });
  return dir;
}

const build = (dir: string, options: Partial<EdlBuildOptions> = {}) =>
  buildEdlEnclave({ dir, date: '20260101', ...options });

before(async () => {
  key = (await generateKey()).privateKeyPem;
});

describe('building in Intel’s format', () => {
  it('gives the same bytes in different folders, signed by the key', async () => {
    const [a, b] = [await build(copyOf(), { key }), await build(copyOf(), { key })];
    assert.ok(a.signedPath !== undefined && b.signedPath !== undefined);
    assert.ok(readFileSync(a.signedPath).equals(readFileSync(b.signedPath)));
    assert.ok(readFileSync(a.jsonPath).equals(readFileSync(b.jsonPath)));
    const image = new IntelImage(parseSignedSo(readFileSync(a.signedPath)));
    const fields = verifySigstruct(nodeHash, image.sigstruct);
    assert.equal(Buffer.from(fields.ENCLAVEHASH).toString('hex'), a.mrenclave);
    assert.equal(Buffer.from(measureImage(nodeHash, image)).toString('hex'), a.mrenclave);
    assert.deepEqual([fields.ISVPRODID, fields.ISVSVN, fields.MISCSELECT], [7, 2, 1]);
    assert.deepEqual(image.attributes, fields.ATTRIBUTES);
    assert.equal(JSON.parse(readFileSync(a.jsonPath, 'utf8')).edl.name, 'marshal');
  });

  it('lays pages out as it says', async () => {
    for (const threads of [1, 3]) {
      const built = await build(copyOf(), { config: { threads, heapPages: 20 } });
      assert.equal(built.signedPath, undefined);
      const image = new IntelImage(parseSignedSo(readFileSync(built.soPath)));
      assert.equal(image.tcs, threads);
      assert.equal(image.threads.length, threads);
      assert.equal(image.size, built.size);
      const runs = [...image.pages()];
      const offsets = new Set(runs.flatMap((run) => pagesOf(run)));
      assert.equal(offsets.size, built.pages);
      const heap = runs.filter((run) => !run.measured && run.secinfoFlags === 0x203);
      assert.equal(
        heap.reduce((sum, run) => sum + run.data.length, 0),
        20 * 4096,
      );
      for (const { offset } of image.threads) {
        const run = runs.find((candidate) => candidate.offset === offset);
        assert.ok(run !== undefined);
        assert.equal(run.secinfoFlags, 0x100);
        const tcs = TCS_TEMPLATE.decode(run.data);
        assert.equal(tcs.ofs_base, BigInt(offset) - 4096n);
        assert.equal(tcs.ogs_base, tcs.ofs_base);
        assert.equal(tcs.nssa, 3);
        assert.equal(tcs.oentry, 0x1000n);
        for (let i = 0; i < tcs.nssa; i++) assert.ok(offsets.has(Number(tcs.ossa) + i * 4096));
      }
    }
  });

  it('writes TypeScript that knows the calls', async () => {
    const built = await build(copyOf());
    const text = readFileSync(built.tsPath, 'utf8');
    assert.match(text, /ecall_add\(a: number, b: number\): number;/);
    assert.match(text, /Private: only during an OCALL that allows it/);
  });

  it('finds imports beside the file, on the search path, and in the SDK’s own files', async () => {
    const dir = copyOf();
    execFileSync('mkdir', [join(dir, 'other')]);
    writeFileSync(join(dir, 'other/more.edl'), 'enclave { trusted { public int ecall_more(void); }; };');
    const edl = join(dir, 'marshal.edl');
    writeFileSync(edl, readFileSync(edl, 'utf8').replace('enclave {', 'enclave { from "more.edl" import *;'));
    writeFileSync(join(dir, 'src/more.c'), '#include "marshal_t.h"\nint ecall_more(void) { return 1; }\n');
    await assert.rejects(build(dir), codeOf('EDL_IMPORT'));
    const { description } = await build(dir, { config: { edlSearchPath: ['other'] } });
    assert.ok(description.edl.ecalls.some(({ name }) => name === 'ecall_more'));
    assert.ok(description.edl.ocalls.some(({ name }) => name === 'sgx_oc_cpuidex'));
  });

  it('says what is wrong with a project', async () => {
    const dir = copyOf();
    await assert.rejects(buildEnclave({ dir }), codeOf('PROJECT_INVALID'));
    await assert.rejects(build(sampleDirectory('calc')), codeOf('PROJECT_INVALID'));
    await assert.rejects(build(dir, { config: { maxThreads: 9 } }), codeOf('PROJECT_INVALID'));
    await assert.rejects(build(dir, { config: { heapMaxPages: 999 } }), codeOf('PROJECT_INVALID'));
    await assert.rejects(build(dir, { config: { interface: 'none.edl' } }), codeOf('PROJECT_FILE'));
    const edl = join(dir, 'marshal.edl');
    const text = readFileSync(edl, 'utf8');
    writeFileSync(edl, text.replace('public int ecall_add(int a', 'public int ecall_missing(int a'));
    await assert.rejects(build(dir), codeOf('LINK_FAILED'));
    writeFileSync(edl, text.replace('int a', '[in] int a'));
    await assert.rejects(build(dir), codeOf('EDL_ATTRIBUTE'));
    writeFileSync(edl, text.replace('public int ecall_add(int a', 'public int ecall_add(strange_t a'));
    await assert.rejects(build(dir), codeOf('COMPILE_FAILED'));
    assert.equal(existsSync(join(dir, 'build/marshal.signed.so')), false);
  });
});

function pagesOf(run: { offset: number; data: Uint8Array }): number[] {
  return Array.from({ length: run.data.length / 4096 }, (_, i) => run.offset + i * 4096);
}
