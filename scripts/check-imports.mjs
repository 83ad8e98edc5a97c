// Holds every package to the import table of docs/ARCHITECTURE.md: source imports, package.json and tsconfig references.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const table = JSON.parse(readFileSync(join(root, 'scripts/import-table.json'), 'utf8'));
const problems = [];
// Statements at the start of a line, and dynamic imports; text inside strings is neither.
const IMPORTS = [
  /^(?:import|export)\b[^'"`;=]*?\bfrom\s*['"]([^'"]+)['"]/gm,
  /^import\s*['"]([^'"]+)['"]/gm,
  /\bimport\(\s*['"]([^'"]+)['"]/g,
];
const nameOf = (pkg) => (pkg === 'nestedsgx' ? 'nestedsgx' : `@nestedsgx/${pkg}`);

function* sourceFiles(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) yield* sourceFiles(path);
    else if (entry.name.endsWith('.ts')) yield path;
  }
}

function allowed(pkg, specifier) {
  if (
    !specifier.startsWith('@nestedsgx/') &&
    specifier !== 'nestedsgx' &&
    !specifier.startsWith('nestedsgx/')
  )
    return true;
  const target = specifier.startsWith('@nestedsgx/') ? specifier.split('/')[1] : 'nestedsgx';
  if (target === pkg) return true;
  if (!table[pkg].includes(target)) return false;
  // The host side never sees the monitor's half of the cpu package, nor the monitor the host's.
  if (target === 'cpu' && (pkg === 'guest' || pkg === 'sdk' || pkg === 'vm'))
    return specifier === '@nestedsgx/cpu/host';
  if (target === 'cpu' && pkg === 'cvm') return specifier === '@nestedsgx/cpu/monitor';
  return true;
}

for (const pkg of readdirSync(join(root, 'packages'))) {
  if (!(pkg in table)) {
    problems.push(`packages/${pkg} has no row in scripts/import-table.json`);
    continue;
  }
  const base = join(root, 'packages', pkg);
  const manifest = JSON.parse(readFileSync(join(base, 'package.json'), 'utf8'));
  const inManifest = Object.keys(manifest.dependencies ?? {}).filter((name) =>
    name.startsWith('@nestedsgx/'),
  );
  for (const name of inManifest)
    if (!table[pkg].map(nameOf).includes(name))
      problems.push(`packages/${pkg}/package.json depends on ${name}`);
  const tsconfig = JSON.parse(readFileSync(join(base, 'tsconfig.json'), 'utf8'));
  for (const ref of tsconfig.references ?? [])
    if (!table[pkg].includes(ref.path.replace('../', '')))
      problems.push(`packages/${pkg}/tsconfig.json references ${ref.path}`);
  for (const file of [...sourceFiles(join(base, 'src')), ...sourceFiles(join(base, 'test'))]) {
    const text = readFileSync(file, 'utf8');
    for (const match of IMPORTS.flatMap((pattern) => [...text.matchAll(pattern)])) {
      const specifier = match[1];
      if (!allowed(pkg, specifier)) problems.push(`${file.slice(root.length + 1)} imports ${specifier}`);
      if (
        specifier.startsWith('.') &&
        join(dirname(file), specifier).slice(base.length, base.length + 1) !== '/'
      )
        problems.push(`${file.slice(root.length + 1)} reaches out of its package with ${specifier}`);
    }
  }
}

if (problems.length > 0) {
  console.error('The import table does not allow:');
  for (const problem of problems) console.error(`  ${problem}`);
  process.exit(1);
}
console.log('import table: ok');
