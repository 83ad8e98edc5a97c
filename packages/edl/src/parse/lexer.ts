/** The tokens of the EDL language. */
import { EdlError, type EdlSource, type Span } from './source.js';

export type TokenKind = 'identifier' | 'keyword' | 'number' | 'string' | 'symbol' | 'end';

export interface Token extends Span {
  readonly kind: TokenKind;
  /** Its text; of a string what is between the quotes. */
  readonly text: string;
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
  /(?<space>[ \t\r\n]+|\/\/[^\n]*|\/\*[\s\S]*?\*\/)|(?<word>[A-Za-z_][A-Za-z0-9_]*)|(?<number>[0-9]+)|(?<string>"[^"\n]*")|(?<symbol>[{}()[\]*.,;=])/y;

/** Splits a file into tokens; the last one is the end. @throws EDL_SYNTAX */
export function tokenize(source: EdlSource): Token[] {
  const { text } = source;
  const tokens: Token[] = [];
  const pattern = new RegExp(TOKEN);
  let at = text.startsWith('\uFEFF') ? 1 : 0;
  while (at < text.length) {
    pattern.lastIndex = at;
    const groups = pattern.exec(text)?.groups;
    if (groups === undefined) throw badCharacter(source, at);
    const start = at;
    at = pattern.lastIndex;
    const { word, number, string, symbol } = groups;
    const place = { source, start, end: at };
    if (word !== undefined)
      tokens.push({ ...place, kind: EDL_KEYWORDS.has(word) ? 'keyword' : 'identifier', text: word });
    else if (number !== undefined) tokens.push({ ...place, kind: 'number', text: number });
    else if (string !== undefined) tokens.push({ ...place, kind: 'string', text: string.slice(1, -1) });
    else if (symbol !== undefined) tokens.push({ ...place, kind: 'symbol', text: symbol });
  }
  tokens.push({ source, start: at, end: at, kind: 'end', text: '' });
  return tokens;
}

function badCharacter(source: EdlSource, at: number): EdlError {
  const rest = source.text.slice(at, at + 2);
  const span = { source, start: at, end: at + 1 };
  if (rest === '/*') return new EdlError('EDL_SYNTAX', "a comment has no end, expected '*/'", span);
  if (rest.startsWith('"'))
    return new EdlError('EDL_SYNTAX', "a string has no end, expected '\"' on its line", span);
  if (rest.startsWith('#'))
    return new EdlError(
      'EDL_SYNTAX',
      'preprocessor lines are not part of the language',
      span,
      'Run the file through `cpp -P` first.',
    );
  const character = String.fromCodePoint(source.text.codePointAt(at) ?? 0);
  return new EdlError(
    'EDL_SYNTAX',
    `the character ${JSON.stringify(character)} is not part of the language`,
    span,
  );
}
