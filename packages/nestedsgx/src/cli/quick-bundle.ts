/**
 * The bundle of commands that have to start fast (scripts/bundle-cli.mjs): one script, with the code that V8 made of it the
 * last time. Everything else is loaded module by module, which takes some 200 ms.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { cachedDataVersionTag } from 'node:v8';
import { Script } from 'node:vm';
import { defaultStateDir } from '@nestedsgx/sdk/state-dir';

/** What the bundle exports. */
export interface QuickBundle {
  run(argv: readonly string[]): Promise<number>;
}

/** Commands in it, and what asks for the list of all. */
const QUICK = ['exec', 'ps', 'kill'];
const LISTS = ['--help', '-h', '--version', '-V'];
const DIGEST_BYTES = 32;
/** Code of other versions that is left lying. */
const MAX_KEPT = 12;

/** In a clone, sources may have been compiled since the bundle was made of them; an installed package has no sources. */
function isStale(bundle: string, packages: string): boolean {
  if (!existsSync(join(packages, 'nestedsgx/tsconfig.json'))) return false;
  const made = statSync(bundle).mtimeMs;
  for (const name of readdirSync(packages)) {
    const record = statSync(join(packages, name, 'dist/.tsbuildinfo'), { throwIfNoEntry: false });
    if (record !== undefined && record.mtimeMs > made) return true;
  }
  return false;
}

/** Code of the last time. Only what this account has written itself, and whole, goes to V8, which believes it. */
function readCode(path: string): Buffer | undefined {
  try {
    const { uid, mode } = statSync(path);
    if (uid !== process.geteuid?.() || (mode & 0o22) !== 0) return undefined;
    const bytes = readFileSync(path);
    const code = bytes.subarray(DIGEST_BYTES);
    return createHash('sha256').update(code).digest().equals(bytes.subarray(0, DIGEST_BYTES))
      ? code
      : undefined;
  } catch {
    return undefined;
  }
}

function writeCode(folder: string, path: string, code: Buffer): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const old = readdirSync(folder)
      .map((name) => join(folder, name))
      .map((at) => ({ at, used: statSync(at).mtimeMs }))
      .sort((a, b) => b.used - a.used);
    for (const { at } of old.slice(MAX_KEPT - 1)) rmSync(at, { force: true });
    const temporary = `${path}.${process.pid}`;
    writeFileSync(temporary, Buffer.concat([createHash('sha256').update(code).digest(), code]), {
      mode: 0o600,
    });
    renameSync(temporary, path);
  } catch {
    // Made again next time.
  }
}

/**
 * Runs a command from the bundle; undefined when there is none that may be used.
 * @param bundle its path; packages of a clone lie at `packages`
 */
export async function runQuickly(
  bundle: string,
  packages: string,
  argv: readonly string[],
): Promise<number | undefined> {
  if (!existsSync(bundle) || isStale(bundle, packages)) return undefined;
  const source = readFileSync(bundle, 'latin1');
  const { mtimeMs, size } = statSync(bundle);
  const folder = join(defaultStateDir(), 'code');
  const identity = [bundle, mtimeMs, size, cachedDataVersionTag(), argv[0]];
  const name = createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 32);
  const path = join(folder, name);
  const cachedData = readCode(path);
  const script = new Script(source, { filename: bundle, cachedData });
  const body = script.runInThisContext() as (
    require: NodeJS.Require,
    exports: object,
    load: (url: string) => Promise<unknown>,
  ) => void;
  const module = {} as QuickBundle;
  // Code that was kept has no import() of its own.
  const url = pathToFileURL(bundle);
  body(createRequire(url), module, (path) => import(new URL(path, url).href));
  const status = await module.run(argv);
  if (cachedData === undefined || script.cachedDataRejected)
    writeCode(folder, path, script.createCachedData());
  return status;
}

/** Whether the bundle has what the arguments ask for. */
export function isQuick(argv: readonly string[]): boolean {
  return QUICK.includes(argv[0]) || (argv.length === 1 && LISTS.includes(argv[0]));
}
