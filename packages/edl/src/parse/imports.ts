/** Imports: one interface from many files, with functions in the order (and so with the numbers) of sgx_edger8r. */
import type {
  EdlFile,
  EdlImport,
  EdlTrustedFunction,
  EdlType,
  EdlUntrustedFunction,
  EdlVariable,
} from './ast.js';
import { typeText } from './ast.js';
import { type ParseFileOptions, parseFile } from './parser.js';
import { EdlError, type EdlSource } from './source.js';

/** Finds an imported file; `from` is the path of the file that imports. Nothing when there is none. */
export type EdlResolver = (path: string, from: string) => EdlSource | undefined;

/**
 * Parses a file and all that it imports into one.
 * @throws EDL_IMPORT for a missing file or function or a cycle, EDL_LIMIT, and all that {@link parseFile} throws
 */
export function parseWithImports(root: EdlSource, options: ParseFileOptions): EdlFile {
  const { resolve, limits } = options;
  const reading: string[] = [];
  let files = 0;

  const open = (source: EdlSource, by?: EdlImport): EdlFile => {
    if (by !== undefined) {
      if (reading.includes(source.file))
        throw new EdlError(
          'EDL_IMPORT',
          `the import goes in a circle: ${[...reading, source.file].join(' → ')}`,
          by.span,
        );
      if (reading.length >= limits.importDepth)
        throw new EdlError('EDL_LIMIT', `imports are nested deeper than ${limits.importDepth}`, by.span);
      if (++files > limits.files) throw new EdlError('EDL_LIMIT', `more than ${limits.files} files`, by.span);
    }
    reading.push(source.file);
    return parseFile(source, options);
  };

  /** The files that importing `wanted` (all when missing) from `file` brings, the file itself first. */
  const gather = (file: EdlFile, wanted: EdlImport['names'], by?: EdlImport): EdlFile[] => {
    const own = new Set([...file.trusted, ...file.untrusted].map(({ name }) => name));
    const missing = wanted?.filter(({ name }) => !own.has(name));
    const chosen = wanted === undefined ? undefined : new Set(wanted.map(({ name }) => name));
    let list: EdlFile[] = [
      chosen === undefined
        ? file
        : {
            ...file,
            trusted: file.trusted.filter(({ name }) => chosen.has(name)),
            untrusted: file.untrusted.filter(({ name }) => chosen.has(name)),
          },
    ];
    if (file.imports.length === 0 && missing !== undefined && missing.length > 0)
      throw new EdlError(
        'EDL_IMPORT',
        `'${by?.path ?? file.file}' has no function '${missing[0].name}'`,
        missing[0].span,
      );
    for (const item of file.imports) {
      const source = resolve(item.path, file.file);
      if (source === undefined)
        throw new EdlError(
          'EDL_IMPORT',
          `there is no file '${item.path}'`,
          item.span,
          'Add its folder to the search path.',
        );
      const next = open(source, item);
      list = join(list, gather(next, wanted === undefined ? item.names : missing, item));
    }
    reading.pop();
    return list;
  };

  return combine(gather(open(root), undefined));
}

/** A file that came before adds only functions which differ from those it brought already. */
function join(before: EdlFile[], more: readonly EdlFile[]): EdlFile[] {
  const list = [...before];
  for (const file of more) {
    const same = list.find(({ name }) => name !== '' && identifier(name) === identifier(file.name));
    if (same === undefined) {
      list.push(file);
      continue;
    }
    const trusted = new Set(same.trusted.map(trustedText));
    const untrusted = new Set(same.untrusted.map(untrustedText));
    list.push({
      ...file,
      name: '',
      includes: [],
      trustedIncludes: [],
      untrustedIncludes: [],
      types: [],
      trusted: file.trusted.filter((fn) => !trusted.has(trustedText(fn))),
      untrusted: file.untrusted.filter((fn) => !untrusted.has(untrustedText(fn))),
    });
  }
  return list;
}

function combine(list: readonly EdlFile[]): EdlFile {
  const unique = (key: 'includes' | 'trustedIncludes' | 'untrustedIncludes') => [
    ...new Set(list.flatMap((file) => file[key])),
  ];
  return {
    ...list[0],
    imports: [],
    includes: unique('includes'),
    trustedIncludes: unique('trustedIncludes'),
    untrustedIncludes: unique('untrustedIncludes'),
    types: list.flatMap(({ types }) => types),
    trusted: list.flatMap(({ trusted }) => trusted),
    untrusted: list.flatMap(({ untrusted }) => untrusted),
  };
}

/** The name that C code made from the file has; digits at the start stay, as in the original. */
export function identifier(name: string): string {
  return name.replace(/[^A-Za-z0-9]/g, '_');
}

function variableText({ name, type, dimensions, attributes }: EdlVariable): string {
  return JSON.stringify([
    name,
    typeText(type),
    dimensions,
    attributes === undefined ? null : sorted(attributes),
  ]);
}

function sorted(value: object): unknown {
  return Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
}

function functionText(fn: {
  name: string;
  returns: EdlType;
  parameters: readonly EdlVariable[];
  switchless: boolean;
}) {
  return JSON.stringify([fn.name, typeText(fn.returns), fn.parameters.map(variableText), fn.switchless]);
}

function trustedText(fn: EdlTrustedFunction): string {
  return `${functionText(fn)} ${fn.isPublic}`;
}

function untrustedText(fn: EdlUntrustedFunction): string {
  const allow = fn.allow.map(({ name }) => name).join();
  return `${functionText(fn)} ${allow} ${fn.propagateErrno} ${fn.convention} ${fn.dllimport}`;
}
