/**
 * The C preprocessor's part in an EDL file. sgx_edger8r runs every file through `gcc -x c -E -P` before it reads it; this
 * does the same with tokens, which keep their places: conditional groups, macros without parameters, and files of macros.
 */
import { holds } from './condition.js';
import type { EdlResolver } from './imports.js';
import { Lexer, type Token, wordKind } from './lexer.js';
import type { EdlLimits } from './limits.js';
import { EdlError, type EdlSource, type Span } from './source.js';

export interface PreprocessOptions {
  /** Finds the files of `#include "…"`. */
  readonly resolve: EdlResolver;
  readonly limits: EdlLimits;
  /** Macros as gcc's -D defines them. */
  readonly defines: Readonly<Record<string, number>>;
}

/** Text of a macro, or why it cannot be used. */
type Macro = { readonly body: string } | { readonly unusable: string };

/** A conditional group: whether its part is read, whether a part was, whether `#else` was there. */
interface Group {
  active: boolean;
  taken: boolean;
  otherwise: boolean;
  readonly span: Span;
}

const PREDEFINED =
  '__linux__ __linux linux __gnu_linux__ __unix__ __unix unix __x86_64__ __x86_64 __amd64__ __amd64 __LP64__ _LP64 __ELF__ __STDC__ __STDC_HOSTED__';
const COMPILERS = '__GNUC__ __GNUC_MINOR__ __GNUC_PATCHLEVEL__ __VERSION__ __STDC_VERSION__';
const PIECE = /\s+|[A-Za-z_]\w*|[0-9]+(?!\w)|"[^"\n]*"|[{}()[\]*.,;=]/y;

/** The tokens of a file after preprocessing, the last one the end. @throws EDL_SYNTAX, EDL_IMPORT, EDL_LIMIT */
export function preprocess(source: EdlSource, options: PreprocessOptions): Token[] {
  return new Preprocessor(options).run(source);
}

class Preprocessor {
  readonly #options: PreprocessOptions;
  readonly #macros = new Map<string, Macro>();
  readonly #once = new Set<string>();
  readonly #tokens: Token[] = [];
  #depth = 0;
  #files = 0;
  #size = 0;
  #expanded = 0;

  constructor(options: PreprocessOptions) {
    this.#options = options;
    for (const name of PREDEFINED.split(' ')) this.#macros.set(name, { body: '1' });
    for (const name of COMPILERS.split(' '))
      this.#macros.set(name, {
        unusable: `'${name}' depends on the compiler, give its value by a definition`,
      });
    for (const [name, value] of Object.entries(options.defines)) this.#macros.set(name, { body: `${value}` });
  }

  run(source: EdlSource): Token[] {
    this.#tokens.push(this.#file(source));
    return this.#tokens;
  }

  /** Reads one file and gives its end. */
  #file(source: EdlSource): Token {
    const { limits } = this.#options;
    this.#size += source.text.length;
    if (this.#size > limits.fileSize)
      throw new EdlError('EDL_LIMIT', `the file has more than ${limits.fileSize} characters`, {
        source,
        start: 0,
        end: 1,
      });
    const lexer = new Lexer(source);
    const groups: Group[] = [];
    for (;;) {
      const active = groups.at(-1)?.active ?? true;
      const token = lexer.next(!active);
      if (token.kind === 'directive') this.#directive(token, groups, active);
      else if (token.kind === 'end') {
        const open = groups.pop();
        if (open !== undefined)
          throw new EdlError('EDL_SYNTAX', "the condition has no end, expected '#endif'", open.span);
        return token;
      } else this.#put(token);
    }
  }

  #directive(token: Token, groups: Group[], active: boolean): void {
    const [, name, rest] = /^#\s*(\w*)\s*(.*)$/s.exec(token.text) as RegExpExecArray;
    const fail = (problem: string, advice?: string) => new EdlError('EDL_SYNTAX', problem, token, advice);
    switch (name) {
      case 'if':
      case 'ifdef':
      case 'ifndef': {
        if (groups.length >= this.#options.limits.items)
          throw new EdlError('EDL_LIMIT', 'conditions are nested too deeply', token);
        const yes = active && this.#holds(name, rest, fail);
        groups.push({ active: yes, taken: !active || yes, otherwise: false, span: token });
        return;
      }
      case 'elif':
      case 'else': {
        const group = groups.at(-1);
        if (group === undefined) throw fail(`'#${name}' without '#if'`);
        if (group.otherwise) throw fail(`'#${name}' after '#else'`);
        group.otherwise = name === 'else';
        group.active = !group.taken && (name === 'else' || this.#holds('if', rest, fail));
        group.taken ||= group.active;
        return;
      }
      case 'elifdef':
      case 'elifndef':
        throw fail(`'#${name}' is not supported`, "Write '#elif defined(NAME)'.");
      case 'endif':
        if (groups.pop() === undefined) throw fail("'#endif' without '#if'");
        return;
    }
    if (!active) return;
    switch (name) {
      case 'define':
        this.#define(rest, fail);
        return;
      case 'undef':
        this.#macros.delete(nameIn(rest, name, fail));
        return;
      case 'include':
        this.#include(rest, token, fail);
        return;
      case 'error':
        throw fail(`#error ${rest}`, 'Give the macros that the file asks for as definitions.');
      case 'pragma':
        if (rest !== 'once') throw fail(`'#pragma ${rest.slice(0, 40)}' is not supported`);
        this.#once.add(token.source.file);
        return;
      case 'warning':
        return;
      default:
        if (token.text !== '#') throw fail(`'${token.text.slice(0, 40)}' is not a supported directive`);
    }
  }

  #holds(kind: string, rest: string, fail: (problem: string) => EdlError): boolean {
    const isDefined = (name: string) => this.#macros.has(name);
    if (kind === 'ifdef') return isDefined(nameIn(rest, kind, fail));
    if (kind === 'ifndef') return !isDefined(nameIn(rest, kind, fail));
    const bodyOf = (name: string) => {
      const macro = this.#macros.get(name);
      if (macro !== undefined && 'unusable' in macro) throw fail(macro.unusable);
      return macro?.body;
    };
    return holds(rest, { isDefined, bodyOf }, fail);
  }

  #define(rest: string, fail: (problem: string) => EdlError): void {
    const found = /^([A-Za-z_]\w*)(\(?)(.*)$/s.exec(rest);
    if (found === null || found[1] === 'defined') throw fail("'#define' needs a name");
    const [, name, open, body] = found;
    if (!this.#macros.has(name) && this.#macros.size >= this.#options.limits.items)
      throw fail(`there are more than ${this.#options.limits.items} macros`);
    this.#macros.set(
      name,
      open === ''
        ? { body: body.trim() }
        : { unusable: `the macro '${name}' has parameters, which is not supported` },
    );
  }

  #include(rest: string, span: Token, fail: (problem: string, advice?: string) => EdlError): void {
    const path = /^"([^"]+)"$/.exec(rest)?.[1];
    if (path === undefined)
      throw fail(
        `'#include ${rest.slice(0, 80)}' is not supported, expected a file of macros in quotes`,
        'Headers of types are named without \'#\': include "stdint.h".',
      );
    const { resolve, limits } = this.#options;
    const source = resolve(path, span.source.file);
    if (source === undefined)
      throw new EdlError(
        'EDL_IMPORT',
        `there is no file '${path}'`,
        span,
        'Add its folder to the search path.',
      );
    if (this.#once.has(source.file)) return;
    if (this.#depth >= limits.importDepth)
      throw new EdlError('EDL_LIMIT', `files are included deeper than ${limits.importDepth}`, span);
    if (++this.#files > limits.files)
      throw new EdlError('EDL_LIMIT', `more than ${limits.files} files`, span);
    this.#depth++;
    this.#file(source);
    this.#depth--;
  }

  /** Adds a token, or what it stands for. */
  #put(token: Token, hidden: readonly string[] = []): void {
    const { kind, text } = token;
    const isWord = kind === 'identifier' || kind === 'keyword';
    const macro = isWord && !hidden.includes(text) ? this.#macros.get(text) : undefined;
    if (macro === undefined) {
      this.#tokens.push(token);
      return;
    }
    if ('unusable' in macro) throw new EdlError('EDL_SYNTAX', macro.unusable, token);
    const { limits } = this.#options;
    if (hidden.length >= limits.importDepth)
      throw new EdlError('EDL_LIMIT', `macros are nested deeper than ${limits.importDepth}`, token);
    const pattern = new RegExp(PIECE);
    const { source, start, end, macro: outer = text } = token;
    for (let at = 0; at < macro.body.length; at = pattern.lastIndex) {
      pattern.lastIndex = at;
      const piece = pattern.exec(macro.body)?.[0];
      if (piece === undefined)
        throw new EdlError(
          'EDL_SYNTAX',
          `the macro '${text}' stands for '${macro.body.slice(0, 40)}', expected a decimal number, names or symbols`,
          token,
        );
      if (/^\s/.test(piece)) continue;
      if (++this.#expanded > limits.expansion)
        throw new EdlError('EDL_LIMIT', `macros make more than ${limits.expansion} tokens`, token);
      this.#put({ source, start, end, macro: outer, ...tokenOf(piece) }, [...hidden, text]);
    }
  }
}

function tokenOf(piece: string): Pick<Token, 'kind' | 'text'> {
  if (/^[A-Za-z_]/.test(piece)) return { kind: wordKind(piece), text: piece };
  if (/^[0-9]/.test(piece)) return { kind: 'number', text: piece };
  return piece.startsWith('"')
    ? { kind: 'string', text: piece.slice(1, -1) }
    : { kind: 'symbol', text: piece };
}

function nameIn(rest: string, directive: string, fail: (problem: string) => EdlError): string {
  const name = /^[A-Za-z_]\w*/.exec(rest)?.[0];
  if (name === undefined || name === 'defined') throw fail(`'#${directive}' needs a name`);
  return name;
}
