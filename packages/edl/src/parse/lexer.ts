/** The tokens of the EDL language. */
import { EdlError, type EdlSource, type Span } from './source.js';

export type TokenKind = 'identifier' | 'keyword' | 'number' | 'string' | 'symbol' | 'directive' | 'end';

export interface Token extends Span {
  readonly kind: TokenKind;
  /** Its text; of a string what is between the quotes. */
  readonly text: string;
  /** The macro that it came from; the place is then where that is used. */
  readonly macro?: string;
}

/** Words that cannot be names. Attributes (in, size, …) are ordinary identifiers. */
export const EDL_KEYWORDS: ReadonlySet<string> = new Set(
  (
    'char short unsigned int float double int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t ' +
    'size_t wchar_t long void struct union enum enclave trusted untrusted from import allow public ' +
    'transition_using_threads include propagate_errno const'
  ).split(' '),
);

const TOKEN =
  /(?<newline>\n)|(?<space>[ \t\r]+|\\[ \t]*\r?\n|\/\*[\s\S]*?\*\/)|(?<word>[A-Za-z_][A-Za-z0-9_]*)|(?<number>[0-9]+)|(?<string>"[^"\n]*")|(?<symbol>[{}()[\]*.,;=])/y;
/** What is left out between directives. */
const SKIPPED = /(?<newline>\n)|(?<space>[ \t\r]+|\\[ \t]*\r?\n|\/\*[\s\S]*?\*\/)|[^\s#"'/\\]+|[^\n]/y;
const LINE_PIECE = /[^\n\\"/]+|\\[ \t]*\r?\n|\/\*[\s\S]*?\*\/|"[^"\n]*"|[^\n]/y;
const COMMENT_PIECE = /[^\n\\]+|\\[ \t]*\r?\n|[^\n]/y;

/** Takes tokens off the text of a file, or, between directives, leaves text out. Lines joined by a backslash are one. */
export class Lexer {
  readonly #source: EdlSource;
  readonly #token = new RegExp(TOKEN);
  readonly #skipped = new RegExp(SKIPPED);
  #at: number;
  /** Whether the line has had nothing but space and comments, so that `#` begins a directive. */
  #fresh = true;
  /** Up to where a quotation mark in text that is left out stands alone, by mark. */
  readonly #alone = { '"': 0, "'": 0 };

  constructor(source: EdlSource) {
    this.#source = source;
    this.#at = source.text.startsWith('\uFEFF') ? 1 : 0;
  }

  /**
   * The next token, or a directive, whose text is its line without comments; with `skip` only directives and the end.
   * @throws EDL_SYNTAX
   */
  next(skip: boolean): Token {
    const source = this.#source;
    const { text } = source;
    const pattern = skip ? this.#skipped : this.#token;
    while (this.#at < text.length) {
      const start = this.#at;
      if (this.#fresh && text[start] === '#')
        return { source, start, kind: 'directive', text: this.#line(), end: this.#at };
      if (text.startsWith('//', start)) {
        this.#line();
        continue;
      }
      if (skip && this.#quoted()) continue;
      if (skip && text.startsWith('/*', start) && text.indexOf('*/', start + 2) < 0)
        throw badCharacter(source, start);
      pattern.lastIndex = start;
      const found = pattern.exec(text);
      if (found === null) throw badCharacter(source, start);
      this.#at = pattern.lastIndex;
      const { newline, space, word, number, string, symbol } = found.groups as Record<string, string>;
      if (newline !== undefined) this.#fresh = true;
      if (newline !== undefined || space !== undefined) continue;
      this.#fresh = false;
      if (skip) continue;
      const place = { source, start, end: this.#at };
      if (word !== undefined) return { ...place, kind: wordKind(word), text: word };
      if (number !== undefined) return { ...place, kind: 'number', text: number };
      if (string !== undefined) return { ...place, kind: 'string', text: string.slice(1, -1) };
      return { ...place, kind: 'symbol', text: symbol };
    }
    return { source, start: this.#at, end: this.#at, kind: 'end', text: '' };
  }

  /** Leaves out a string or character in quotation marks, for comments do not begin in one. */
  #quoted(): boolean {
    const { text } = this.#source;
    const mark = text[this.#at];
    if ((mark !== '"' && mark !== "'") || this.#at < this.#alone[mark]) return false;
    let end = this.#at + 1;
    while (end < text.length && text[end] !== mark && text[end] !== '\n') end += text[end] === '\\' ? 2 : 1;
    if (text[end] === mark) {
      this.#at = end + 1;
      this.#fresh = false;
      return true;
    }
    this.#alone[mark] = end;
    return false;
  }

  /** The rest of the line, with the lines joined to it, without comments. */
  #line(): string {
    const { text } = this.#source;
    const pieces: string[] = [];
    let pattern = new RegExp(LINE_PIECE);
    while (this.#at < text.length && text[this.#at] !== '\n') {
      const comment = pattern.source === COMMENT_PIECE.source;
      if (!comment && text.startsWith('//', this.#at)) {
        pattern = new RegExp(COMMENT_PIECE);
        continue;
      }
      if (!comment && text.startsWith('/*', this.#at) && text.indexOf('*/', this.#at + 2) < 0)
        throw badCharacter(this.#source, this.#at);
      pattern.lastIndex = this.#at;
      const piece = pattern.exec(text)?.[0] ?? '';
      this.#at = pattern.lastIndex;
      if (!comment && !/^\\[ \t]*\r?\n$/.test(piece)) pieces.push(piece.startsWith('/*') ? ' ' : piece);
    }
    return pieces.join('').trim();
  }
}

export function wordKind(word: string): 'keyword' | 'identifier' {
  return EDL_KEYWORDS.has(word) ? 'keyword' : 'identifier';
}

function badCharacter(source: EdlSource, at: number): EdlError {
  const rest = source.text.slice(at, at + 2);
  const span = { source, start: at, end: at + 1 };
  if (rest === '/*') return new EdlError('EDL_SYNTAX', "a comment has no end, expected '*/'", span);
  if (rest.startsWith('"'))
    return new EdlError('EDL_SYNTAX', "a string has no end, expected '\"' on its line", span);
  if (rest.startsWith('#'))
    return new EdlError('EDL_SYNTAX', "'#' is not at the beginning of its line", span);
  const character = String.fromCodePoint(source.text.codePointAt(at) ?? 0);
  return new EdlError(
    'EDL_SYNTAX',
    `the character ${JSON.stringify(character)} is not part of the language`,
    span,
  );
}
