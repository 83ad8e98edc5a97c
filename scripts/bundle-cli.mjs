// Bundles the commands that have to start fast into scripts of their own (packages/nestedsgx/src/cli/quick-bundle.ts runs it).
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { allRows } from '../packages/nestedsgx/dist/src/cli/main.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const packages = join(root, 'packages');

// Modules find files of their package from where they are: a bundled one is told where it would be. Packages are looked up
// as a module would be, so this works wherever npm puts them.
const HEAD = `(function (require, exports, __load) { const module = { exports };
const __moduleUrl = (name, known, file) => {
  const path = require.resolve(name);
  return require('node:url').pathToFileURL(path.slice(0, -known.length) + file).href;
};`;

/** How code of a package names one of its files by a name that it exports, and its own path. */
function placeOf(path) {
  const [folder, ...file] = relative(packages, path).split(/[\\/]/);
  const { name, exports } = JSON.parse(readFileSync(join(packages, folder, 'package.json'), 'utf8'));
  const [exported, known] = Object.entries(exports)[0];
  return [join(name, exported), known.slice('./'.length), file.join('/')];
}

/** What is rarely needed stays outside: modules that are loaded late, by how the command's own modules name them. */
const OUTSIDE = {
  'nestedsgx/dist/src/cli/build-kept.js': './build-kept.js',
  'sdk/dist/src/cvm-info.js': '@nestedsgx/sdk/cvm-info',
  'sdk/dist/src/launch/options.js': '@nestedsgx/sdk/launch-options',
};

const places = {
  name: 'places of modules',
  setup(builder) {
    // Modules do nothing when they are loaded, so those that nothing is used of are left out.
    builder.onResolve({ filter: /^(@nestedsgx\/|\.)/ }, async ({ path, resolveDir, kind, pluginData }) => {
      if (pluginData === places) return undefined;
      const found = await builder.resolve(path, { resolveDir, kind, pluginData: places });
      const outside = OUTSIDE[relative(packages, found.path)];
      if (outside !== undefined && kind === 'dynamic-import') return { path: outside, external: true };
      return { ...found, sideEffects: false };
    });
    builder.onLoad({ filter: /[\\/]packages[\\/][^\\/]+[\\/]dist[\\/]src[\\/].*\.js$/ }, ({ path }) => {
      const url = `__moduleUrl(${placeOf(path)
        .map((text) => JSON.stringify(text))
        .join(', ')})`;
      return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'js' };
    });
  },
};

const { outputFiles } = await build({
  write: false,
  entryPoints: ['quick-exec.js', 'quick-list.js'].map((name) =>
    join(packages, 'nestedsgx/dist/src/cli', name),
  ),
  outdir: join(packages, 'nestedsgx/dist/bundle'),
  outExtension: { '.js': '.cjs' },
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20',
  format: 'cjs',
  external: ['koffi'],
  define: { __filename: 'undefined', COMMAND_ROWS: JSON.stringify(await allRows()) },
  banner: { js: HEAD },
  footer: { js: 'Object.assign(exports, module.exports); })' },
  plugins: [places],
  legalComments: 'none',
  minifyWhitespace: true,
  charset: 'ascii',
  logLevel: 'error',
  logOverride: { 'empty-import-meta': 'silent' },
});

rmSync(join(packages, 'nestedsgx/dist/bundle'), { recursive: true, force: true });
for (const bundle of outputFiles) {
  let { text } = bundle;
  for (const name of Object.values(OUTSIDE)) text = text.replaceAll(`import("${name}")`, `__load("${name}")`);
  if (/(?<![\w#.$])import\(/.test(text)) throw new Error(`${bundle.path} imports something by itself`);
  mkdirSync(dirname(bundle.path), { recursive: true });
  writeFileSync(bundle.path, text);
}
