// Bundles the commands that have to start fast into one script (packages/nestedsgx/src/cli/quick-bundle.ts runs it).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
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

/** From the bundle. */
const BUILDER = '../src/cli/build-kept.js';

const places = {
  name: 'places of modules',
  setup(builder) {
    // Modules do nothing when they are loaded, so those that nothing is used of are left out.
    builder.onResolve({ filter: /^(@nestedsgx\/|\.)/ }, async ({ path, resolveDir, kind, pluginData }) => {
      if (pluginData === places) return undefined;
      return {
        ...(await builder.resolve(path, { resolveDir, kind, pluginData: places })),
        sideEffects: false,
      };
    });
    // What is rarely needed stays outside.
    builder.onResolve({ filter: /\/build-kept\.js$/ }, () => ({ path: BUILDER, external: true }));
    builder.onLoad({ filter: /[\\/]packages[\\/][^\\/]+[\\/]dist[\\/]src[\\/].*\.js$/ }, ({ path }) => {
      const url = `__moduleUrl(${placeOf(path)
        .map((text) => JSON.stringify(text))
        .join(', ')})`;
      return { contents: readFileSync(path, 'utf8').replaceAll('import.meta.url', url), loader: 'js' };
    });
  },
};

const {
  outputFiles: [bundle],
} = await build({
  write: false,
  entryPoints: [join(packages, 'nestedsgx/dist/src/cli/quick.js')],
  outfile: join(packages, 'nestedsgx/dist/bundle/quick.cjs'),
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

const text = bundle.text.replaceAll(`import("${BUILDER}")`, `__load("${BUILDER}")`);
if (/(?<![\w#.$])import\(/.test(text)) throw new Error('the bundle imports something by itself');
mkdirSync(dirname(bundle.path), { recursive: true });
writeFileSync(bundle.path, text);
