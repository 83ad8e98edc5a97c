/**
 * What belongs to a program of a Debian package beside its libraries: modules of interpreters, plugins, tables. Source:
 * dpkg-query(1), deb-control(5).
 */
import { spawnSync } from 'node:child_process';
import { isKept } from './debian.js';
import type { Layers } from './layers.js';

/** More than that is not taken without being asked for. */
const MAX_BYTES = 128 * 2 ** 20;
const MAX_FILES = 20_000;
const MAX_PACKAGES = 64;
const DATABASE = '/var/lib/dpkg/info';
/** Data are here; programs, libraries that are linked, and what one builds with are not. */
const DATA = /^(\/usr)?\/(lib|share)\//;
const OTHER =
  /^\/usr\/share\/(applications|icons|locale|pixmaps|zsh|fish)\/|^\/usr\/lib\/(debug|systemd|tmpfiles\.d)\/|^(\/usr)?\/lib\/(x86_64-linux-gnu\/)?[^/]+\.so[.\d]*$|\.a$/;

/** An interpreter and its libraries are packages that do not depend on one another: by the first one's name. */
const RELATED: readonly (readonly [RegExp, readonly string[]])[] = [
  [/^python(3\.\d+)-minimal$/, ['libpython$1-stdlib']],
  [/^perl-base$/, ['perl']],
];

/** An installed package. */
interface Package {
  readonly name: string;
  readonly source: string;
  readonly depends: readonly string[];
}

function ask(args: readonly string[]): string {
  const { status, stdout } = spawnSync('dpkg-query', args, { encoding: 'utf8', maxBuffer: 64 * 2 ** 20 });
  // It answers for those that it knows, and fails for the others.
  return status === 0 || status === 1 ? stdout : '';
}

/** The package that has one of these paths. */
function ownerOf(paths: readonly string[]): string | undefined {
  for (const line of ask(['-S', ...paths]).split('\n')) {
    const [, owner] = /^([a-z0-9][a-z0-9+.:-]*): /.exec(line) ?? [];
    if (owner !== undefined) return owner;
  }
  return undefined;
}

/** What a list of `Depends` names first, without versions. */
function namesOf(depends: string): string[] {
  return depends
    .split(',')
    .map((text) => /^\s*([a-z0-9][a-z0-9+.-]*)/.exec(text)?.[1])
    .filter((name) => name !== undefined);
}

function describe(names: readonly string[]): Package[] {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: these are dpkg-query's
  const format = '${db:Status-Status}\t${binary:Package}\t${source:Package}\t${Pre-Depends},${Depends}\n';
  return ask(['-W', '-f', format, ...names])
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([status]) => status === 'installed')
    .map(([, name, source, depends]) => ({ name, source, depends: namesOf(depends) }));
}

function related(name: string): string[] {
  return RELATED.flatMap(([pattern, others]) => {
    const found = pattern.exec(name.replace(/:.*/, ''));
    return found === null ? [] : others.map((other) => other.replace('$1', found[1] ?? ''));
  });
}

/** A package with those of the same source that it needs: they are one program. */
function together(owner: string): string[] {
  const all = new Map<string, Package>();
  let next = [owner, ...related(owner)];
  let source: string | undefined;
  while (next.length > 0 && all.size < MAX_PACKAGES) {
    const found = describe(next).filter((one) => !all.has(one.name) && one.source === (source ?? one.source));
    source ??= found[0]?.source;
    for (const one of found) all.set(one.name, one);
    next = found.flatMap(({ depends }) => depends);
  }
  return [...all.keys()];
}

/**
 * Paths of data that belong to a program, links resolved, of this machine: those of its package, and of what that needs of
 * the same source. None for a program of no package, or without dpkg.
 * @param layers is told which lists were looked at
 */
export function companionsOf(program: string, layers: Layers, note?: (text: string) => void): string[] {
  if (layers.find(DATABASE) === undefined) return [];
  const owner = ownerOf([program, program.replace(/^\/usr\//, '/')]);
  if (owner === undefined) return [];
  const packages = together(owner);
  for (const name of packages)
    for (const list of [name, name.replace(/:.*/, '')]) layers.find(`${DATABASE}/${list}.list`);
  const paths = ask(['-L', ...packages])
    .split('\n')
    .filter((path) => isKept(path) && DATA.test(path) && !OTHER.test(path));
  const all = [...new Set(paths)].sort();
  const bytes = all.reduce((sum, path) => sum + (layers.find(path)?.size ?? 0), 0);
  if (all.length <= MAX_FILES && bytes <= MAX_BYTES) return all;
  note?.(
    `${packages.join(', ')}: ${all.length} files, ${Math.round(bytes / 2 ** 20)} MiB, are not taken along; name what is needed with --copy`,
  );
  return [];
}
