// Makes the page: one HTML file with script and style inside, which works from a web server, a disk or a mail.
// node examples/verify-page/build.mjs [FILE]    (after npm run build; default examples/verify-page/build/index.html)
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const hash = (text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;

/** The page, and its script alone. */
export async function buildPage() {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'src/page.ts')],
    bundle: true,
    platform: 'browser',
    format: 'iife',
    target: 'es2022',
    minify: true,
    write: false,
    logLevel: 'silent',
  });
  // A script inside a page ends where this stands, wherever that is.
  const script = outputFiles[0].text.replaceAll('</script', '<\\/script').trim();
  const style = readFileSync(join(here, 'style.css'), 'utf8');
  // Nothing is loaded, nothing sent, no other script runs.
  const policy = `default-src 'none'; script-src ${hash(script)}; style-src ${hash(style)}; base-uri 'none'; form-action 'none'`;
  const html = readFileSync(join(here, 'index.html'), 'utf8')
    .replace('<!-- POLICY -->', () => `<meta http-equiv="Content-Security-Policy" content="${policy}" />`)
    .replace('<!-- STYLE -->', () => `<style>${style}</style>`)
    .replace('<!-- SCRIPT -->', () => `<script>${script}</script>`);
  return { html, script };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const out = resolve(process.argv[2] ?? join(here, 'build/index.html'));
  mkdirSync(dirname(out), { recursive: true });
  const { html } = await buildPage();
  writeFileSync(out, html);
  console.log(`${out}: ${html.length} bytes`);
}
