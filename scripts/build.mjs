// Builds everything that runs: TypeScript, the native parts, the monitor's bundle and the sample enclaves.
// Each step is skipped by its own tool when its inputs have not changed.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function step(what, command, args, options = {}) {
  const started = Date.now();
  const result = spawnSync(command, args, { cwd: root, encoding: 'utf8', ...options });
  if (result.error || result.status !== 0) {
    console.error(`nestedsgx: ${what} failed (${command} ${args.join(' ')})`);
    console.error(result.error?.message ?? `${result.stdout}${result.stderr}`.trimEnd());
    process.exit(1);
  }
  if (Date.now() - started > 1000)
    console.error(`nestedsgx: ${what} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
}

step('compiling TypeScript', process.execPath, ['node_modules/typescript/bin/tsc', '--build']);
const generator = 'packages/cpu/dist/src/layout/generate.js';
step('generating the native layouts', process.execPath, [generator]);
for (const dir of [
  'packages/os/native',
  'packages/cpu/native',
  'packages/nestedsgx/native',
  'packages/conformance/native',
  'packages/vm/native',
  'packages/libos/native-host',
])
  if (existsSync(join(root, dir, 'Makefile')))
    step(`building ${dir}`, 'make', ['--no-print-directory', '-C', dir]);
step('bundling the monitor', process.execPath, ['scripts/bundle-monitor.mjs']);
step('bundling the command line', process.execPath, ['scripts/bundle-cli.mjs']);
step('building the library OS', process.execPath, ['scripts/build-libos.mjs']);
step('building the sample enclaves', process.execPath, ['scripts/build-samples.mjs']);
