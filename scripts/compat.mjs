// Tries every enclave of a folder: npm run compat -- FOLDER [--out docs/COMPATIBILITY.md] [--json FILE]. With --out the
// results replace what stands between the two marks of the document. Build first.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');
const BEGIN = '<!-- results: written by npm run compat -->';
const END = '<!-- end of results -->';
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    json: { type: 'string' },
    'call-seconds': { type: 'string', default: '10' },
    'load-seconds': { type: 'string', default: '120' },
  },
});
if (positionals.length !== 1) {
  console.error(
    'usage: npm run compat -- FOLDER [--out FILE.md] [--json FILE] [--call-seconds N] [--load-seconds N]',
  );
  process.exit(2);
}
const { compatMarkdown, isWorking, runCompat } = await import(
  join(root, 'packages/nestedsgx/dist/src/compat/index.js')
);
let report;
try {
  report = await runCompat(positionals[0], {
    callSeconds: Number(values['call-seconds']),
    loadSeconds: Number(values['load-seconds']),
    progress: (one, done, all) => {
      const calls =
        one.calls.length === 0
          ? ''
          : `, ${one.calls.filter((c) => c.outcome === 'returned').length} of ${one.calls.length} calls`;
      const state = isWorking(one) ? 'ok' : one.loaded ? 'NOT ALL' : `not loaded (${one.failure?.code})`;
      console.error(`${done}/${all} ${one.file}: ${state}${calls}`);
    },
  });
} catch (error) {
  console.error(`nestedsgx: ${error.message}\n           ${error.advice ?? ''}`);
  process.exit(1);
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(report, null, 2)}\n`);
const text = compatMarkdown(report);
if (values.out === undefined) process.stdout.write(text);
else {
  const document = readFileSync(values.out, 'utf8');
  const begin = document.indexOf(BEGIN);
  const end = document.indexOf(END);
  if (begin < 0 || end < begin) throw new Error(`${values.out} has no place for the results`);
  writeFileSync(values.out, `${document.slice(0, begin + BEGIN.length)}\n\n${text}\n${document.slice(end)}`);
}
