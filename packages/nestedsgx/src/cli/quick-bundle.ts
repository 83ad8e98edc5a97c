/**
 * Bundles of commands that have to start fast (scripts/bundle-cli.mjs): one script each, with the code that V8 made of it the
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
import { cachedDataVersionTag } from 'node:v8';
import { Script } from 'node:vm';
import { defaultStateDir } from '@nestedsgx/sdk/state-dir';

/** What the bundle exports. */
export interface QuickBundle {
  run(argv: readonly string[]): Promise<number>;
}

/** Bundles by the commands in them, and what asks for the list of all. */
const QUICK: ReadonlyMap<string | undefined, string> = new Map([
  ['exec', 'quick-exec.cjs'],
  ['ps', 'quick-list.cjs'],
  ['kill', 'quick-list.cjs'],
]);
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
 * Runs a command from its bundle; undefined when there is none that may be used.
 * @param folder where bundles are; packages of a clone lie at `packages`
 */
export async function runQuickly(
  folder: string,
  packages: string,
  argv: readonly string[],
): Promise<number | undefined> {
  const name = quickBundle(argv);
  if (name === undefined) return undefined;
  const bundle = join(folder, name);
  if (!existsSync(bundle) || isStale(bundle, packages)) return undefined;
  const source = readFileSync(bundle, 'latin1');
  const { mtimeMs, size } = statSync(bundle);
  const kept = join(defaultStateDir(), 'code');
  const identity = JSON.stringify([bundle, mtimeMs, size, cachedDataVersionTag(), argv[0]]);
  const path = join(kept, createHash('sha256').update(identity).digest('hex').slice(0, 32));
  const cachedData = readCode(path);
  const script = new Script(source, { filename: bundle, cachedData });
  const body = script.runInThisContext() as (
    require: NodeJS.Require,
    exports: object,
    load: (name: string) => Promise<unknown>,
  ) => void;
  const module = {} as QuickBundle;
  // Code that was kept has no import() of its own.
  body(createRequire(bundle), module, (name) => import(name));
  const status = await module.run(argv);
  if (cachedData === undefined || script.cachedDataRejected) writeCode(kept, path, script.createCachedData());
  return status;
}

/** The bundle that has what the arguments ask for, if one does. */
function quickBundle(argv: readonly string[]): string | undefined {
  return argv.length === 1 && LISTS.includes(argv[0]!) ? 'quick-list.cjs' : QUICK.get(argv[0]);
}
