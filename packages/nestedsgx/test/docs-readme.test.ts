/** The program in README.md compiles, runs, and prints what its comments say. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadCommands } from '../src/cli/commands/index.js';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
const text = readFileSync(join(ROOT, 'README.md'), 'utf8');

function run(args: readonly string[], folder: string) {
  const env = { ...process.env, NSGX_HOME: join(folder, 'state') };
  return spawnSync(process.execPath, args, { cwd: folder, env, encoding: 'utf8', timeout: 120_000 });
}

test('the program compiles, runs and prints what it says', () => {
  const program = /^```ts\n(.*?)^```$/ms.exec(text)?.[1];
  assert.ok(program, 'there is a program');
  const folder = mkdtempSync(join(tmpdir(), 'nestedsgx-readme-'));
  try {
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }\n');
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    writeFileSync(join(folder, 'program.ts'), program);
    const compilerOptions = {
      module: 'nodenext',
      target: 'es2022',
      lib: ['esnext'],
      types: ['node'],
      strict: true,
    };
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.ts'] }));
    const compiled = run([join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc')], folder);
    assert.equal(compiled.status, 0, compiled.stdout);
    const { status, stdout, stderr } = run([join(folder, 'program.js')], folder);
    assert.equal(status, 0, stderr);
    const lines = stdout.trim().split('\n');
    assert.equal(lines[0], '5');
    assert.match(lines[1]!, /^Hello README/);
    assert.deepEqual(lines.slice(2), ['42', 'accepted']);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('commands that the documents name exist', async () => {
  const known = new Set((await loadCommands()).map(({ name }) => name));
  for (const name of [
    'README.md',
    'docs/TUTORIAL.md',
    'docs/TROUBLESHOOTING.md',
    'docs/ATTESTATION.md',
    'docs/SECURITY.md',
  ])
    for (const [, command] of readFileSync(join(ROOT, name), 'utf8').matchAll(/(?:npx |`)nsgx ([a-z]\w*)/g))
      assert.ok(known.has(command!), `${name} names nsgx ${command}`);
});

test('files that the documents link to exist', () => {
  for (const name of ['docs/TUTORIAL.md', 'docs/ATTESTATION.md', 'docs/ARCHITECTURE.md', 'docs/SECURITY.md'])
    for (const [, file] of readFileSync(join(ROOT, name), 'utf8').matchAll(/\]\(([\w./-]+)(?:#[\w-]*)?\)/g))
      assert.ok(existsSync(join(ROOT, dirname(name), file!)), `${name} links to ${file}`);
});
