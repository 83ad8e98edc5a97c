// Bundles the monitor into one CommonJS file: the bytes that the launcher seals, the PSP measures and the cvm executes.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

await build({
  entryPoints: [join(root, 'packages/cvm/dist/src/main.js')],
  outfile: join(root, 'packages/cvm/dist/bundle/monitor.cjs'),
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  // koffi's native module is loaded from the sealed memory that was measured, so its loader has no place here.
  external: ['koffi'],
  legalComments: 'none',
  minifyWhitespace: true,
  logLevel: 'error',
  // import.meta is only asked for paths of the installed package, which a measured monitor never uses.
  logOverride: { 'empty-import-meta': 'silent' },
});
