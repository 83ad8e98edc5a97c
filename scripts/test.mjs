// Runs every package's tests with node:test. `--soak` runs the full counts; without it the short form.
// Names given on the command line select packages: node scripts/test.mjs arch cpu
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
// biome-ignore lint/suspicious/noControlCharactersInRegex: colour sequences begin with ESC
const COLOUR = /\u001b\[[0-9;]*m/g;
const soak = process.argv.includes('--soak');
const wanted = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
const packages = readdirSync(join(root, 'packages')).filter(
  (name) => wanted.length === 0 || wanted.includes(name),
);

function* testFiles(dir) {
  if (!existsSync(dir)) return;
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* testFiles(path);
    else if (entry.name.endsWith('.test.js') && hasSource(path)) yield path;
  }
}

/** What a test that was renamed or removed left in dist is not run. */
function hasSource(path) {
  return existsSync(path.replace('/dist/test/', '/test/').replace(/\.js$/, '.ts'));
}

const files = packages.flatMap((name) => [...testFiles(join(root, 'packages', name, 'dist/test'))]);
if (files.length === 0) {
  console.error('nestedsgx: no test files found; build first (node scripts/build.mjs)');
  process.exit(1);
}
const seed = process.env.NSGX_SEED ?? String((Date.now() % 0x7fffffff) | 0);
console.error(`nestedsgx: ${files.length} test files, seed ${seed}${soak ? ', full counts' : ''}`);
const env = { ...process.env, NSGX_SEED: seed, ...(soak ? { NSGX_SOAK: '1', NSGX_FUZZ_RUNS: '1000' } : {}) };

// Files run one after another: several of them measure or saturate the machine, and two cores are shared with the
// processes the tests start.
const child = spawn(
  process.execPath,
  [
    '--test',
    '--test-concurrency=1',
    `--test-timeout=${soak ? 3_600_000 : 180_000}`,
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    `--test-reporter=${join(root, 'scripts/ended-reporter.mjs')}`,
    '--test-reporter-destination=stderr',
    ...files,
  ],
  { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'] },
);
// node:test closes with lines such as "ℹ pass 12"; what failed is told after them, at any length.
const counts = new Map();
let rest = '';
child.stdout.on('data', (chunk) => {
  process.stdout.write(chunk);
  const lines = (rest + chunk).split('\n');
  rest = lines.pop();
  for (const line of lines) {
    const match = /^\S+ (pass|fail|cancelled|skipped|todo) (\d+)$/.exec(line.replace(COLOUR, ''));
    if (match) counts.set(match[1], Number(match[2]));
  }
});
child.on('exit', (code) => {
  const count = (name) => counts.get(name) ?? 0;
  const failed = count('fail') + count('cancelled');
  console.log(`\n${count('pass')} passed, ${failed} failed, ${count('skipped') + count('todo')} skipped`);
  process.exit(code ?? 1);
});
