/** New enclave projects from templates, and the samples that come with the package. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';
import { PACKAGE_DIR } from './compile.js';
import { enclaveError } from './errors.js';

/** Names of the templates of `nsgx new`: an interface of typed messages, or one in EDL. */
export const TEMPLATES = ['c', 'edl'] as const;
/** Names of the samples: `calc` (the tour's), `bench` (kernels with a large heap), `evil` (the attack suite's),
 * `elastic` (memory and threads that change at run time, and a large working set). */
export const SAMPLES = ['calc', 'bench', 'evil', 'elastic'] as const;
/** Samples with an interface in EDL, built in Intel's format: `marshal` (every way in which values cross the border). */
export const EDL_SAMPLES = ['marshal'] as const;
/** Name of a sample of either format. */
export type SampleName = (typeof SAMPLES)[number] | (typeof EDL_SAMPLES)[number];

/** Folder of a sample project. Build it with another `out` than its own when the package may be read-only. */
export function sampleDirectory(name: SampleName): string {
  const all: readonly string[] = [...SAMPLES, ...EDL_SAMPLES];
  if (!all.includes(name)) {
    throw enclaveError('PROJECT_TEMPLATE', `there is no sample '${name}'`, {
      advice: `Choose one of ${all.join(', ')}.`,
    });
  }
  return join(PACKAGE_DIR, 'samples', name);
}

/** Folder in which `npm run build` leaves the built and signed samples, one folder each. */
export function samplesBuildDirectory(): string {
  return join(PACKAGE_DIR, 'build', 'samples');
}

/** Path of the built and signed sample, for `Cvm.load`. @throws PROJECT_NOT_BUILT when `npm run build` has not run */
export function sampleImage(name: SampleName): string {
  sampleDirectory(name);
  const suffix = (EDL_SAMPLES as readonly string[]).includes(name) ? 'signed.so' : 'sgxs';
  const path = join(samplesBuildDirectory(), name, `${name}.${suffix}`);
  if (existsSync(path)) return path;
  throw enclaveError('PROJECT_NOT_BUILT', `the sample enclave ${name} is not built: ${path} is missing`, {
    advice: 'Run `npm run build`.',
  });
}

/** A name for the enclave made of the folder's name. */
function nameOf(dir: string): string {
  const name = basename(resolve(dir))
    .replace(/[^A-Za-z0-9._-]/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .slice(0, 64);
  return name === '' ? 'enclave' : name;
}

/**
 * Makes a project in `dir` (created when missing) that builds at once. Returns the paths of the new files, relative
 * to `dir`.
 *
 * Throws PROJECT_TEMPLATE for an unknown template and PROJECT_EXISTS when the folder holds something already.
 */
export function newProject(dir: string, template: (typeof TEMPLATES)[number] = 'c'): string[] {
  if (!TEMPLATES.includes(template)) {
    throw enclaveError('PROJECT_TEMPLATE', `there is no template '${template}'`, {
      advice: `Choose one of ${TEMPLATES.join(', ')}.`,
    });
  }
  if (existsSync(dir) && readdirSync(dir).length > 0) {
    throw enclaveError('PROJECT_EXISTS', `${dir} exists and is not empty`, {
      advice: 'Give a folder that does not exist yet.',
    });
  }
  mkdirSync(dir, { recursive: true });
  cpSync(join(PACKAGE_DIR, 'templates', template), dir, { recursive: true });
  // A file called .gitignore in the package would act on the package itself.
  if (existsSync(join(dir, 'gitignore'))) renameSync(join(dir, 'gitignore'), join(dir, '.gitignore'));
  const name = nameOf(dir);
  const files: string[] = [];
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const text = readFileSync(path, 'utf8');
    if (text.includes('@NAME@')) writeFileSync(path, text.replaceAll('@NAME@', name));
    files.push(relative(dir, path));
  }
  return files.sort();
}
