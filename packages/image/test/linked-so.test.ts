/** A shared object from the real linker, with text relocations, thread-local storage and .bss. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import { loadSignedSo, measureImage, writeMetadata, writeMetadataSection } from '../src/index.js';
import { plainMrenclave } from './plain-loader.js';
import { sampleMetadata } from './signed-so-samples.js';

const folder = mkdtempSync(join(tmpdir(), 'nsgx-linked-'));
after(() => rmSync(folder, { recursive: true, force: true }));

/** An address in the code that only relocation can fill in. */
const TEXT_RELOCATION = '.text\nmovabs $table, %rax\nret\n';
const SOURCE = `
static int counter;
static char space[9000];
int table[3] = {1, 2, 3};
static __thread int local = 7;
int *where(void) { return &counter; }
int enclave_entry(int i) { return table[i] + space[i] + local++; }
`;

/** The path of the linked file, or null where there is no gcc. */
function link(textrel: boolean): string | null {
  const path = join(folder, `${textrel}.signed.so`);
  const metadata = writeMetadata(sampleMetadata(1, 5, { patches: [{ dst: 40n, data: new Uint8Array(8) }] }));
  writeFileSync(join(folder, 'meta.bin'), writeMetadataSection([metadata]));
  writeFileSync(join(folder, 'enclave.c'), SOURCE);
  const section = '.section .note.sgxmeta,"",@note\n.incbin "meta.bin"\n';
  const stack = '.section .note.GNU-stack,"",@progbits\n';
  writeFileSync(join(folder, 'meta.S'), (textrel ? TEXT_RELOCATION : '') + section + stack);
  const flags = ['-O1', '-fPIC', '-shared', '-nostdlib', '-Wl,-z,notext,-z,max-page-size=4096'];
  const args = [...flags, 'enclave.c', 'meta.S', '-o', path];
  const { status, stderr, error } = spawnSync('gcc', args, { cwd: folder, encoding: 'utf8' });
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return null;
  assert.equal(status, 0, stderr);
  return path;
}

for (const textrel of [false, true]) {
  test(`a linked file ${textrel ? 'with' : 'without'} text relocations measures as the plain loader does`, (t) => {
    const path = link(textrel);
    if (path === null) {
      t.skip('there is no gcc');
      return;
    }
    const file = readFileSync(path);
    const image = loadSignedSo(file);
    assert.ok(image.source.elf.segments.length >= 2);
    assert.equal(image.source.relocationPages.size > 0, textrel);
    const flags = new Set([...image.pages()].map(({ secinfoFlags }) => secinfoFlags));
    assert.equal(flags.has(0x207), textrel);
    assert.equal(
      Buffer.from(measureImage(nodeHash, image)).toString('hex'),
      plainMrenclave(file, image.source.chosen.fileOffset),
    );
  });
}
