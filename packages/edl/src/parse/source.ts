/** Text of EDL files with places in it, and the error that shows such a place. */
import { NsgxError } from '@nestedsgx/arch';
import type { EdlErrorCode } from '../errors.js';

/** One EDL file. */
export interface EdlSource {
  /** Path or name, as messages show it. */
  readonly file: string;
  readonly text: string;
}

/** A place in a file: offsets of UTF-16 units, `end` exclusive. */
export interface Span {
  readonly source: EdlSource;
  readonly start: number;
  readonly end: number;
}

/** Something wrong in an EDL file: `file`, `line` and `column` (from 1), and `excerpt`, the line with a caret below. */
export class EdlError extends NsgxError {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly excerpt: string;

  constructor(code: EdlErrorCode, problem: string, span: Span, advice?: string) {
    const place = locate(span);
    super(code, `${span.source.file}:${place.line}:${place.column}: ${problem}\n${place.excerpt}`, {
      advice,
    });
    this.file = span.source.file;
    this.line = place.line;
    this.column = place.column;
    this.excerpt = place.excerpt;
  }
}

/** Line and column (from 1) of a place, and its line with a caret below. Long lines are cut around the caret. */
export function locate(span: Span): { line: number; column: number; excerpt: string } {
  const { text } = span.source;
  const start = Math.min(span.start, text.length);
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf('\n'); at >= 0 && at < start; at = text.indexOf('\n', at + 1)) {
    line++;
    lineStart = at + 1;
  }
  const newline = text.indexOf('\n', lineStart);
  const whole = text.slice(lineStart, newline < 0 ? text.length : newline).replace(/\r$/, '');
  const column = start - lineStart + 1;
  const from = Math.max(0, column - 1 - 80);
  const shown = whole.slice(from, from + 160).replace(/[^\t\P{Cc}]/gu, '\uFFFD');
  const before = shown.slice(0, column - 1 - from).replace(/[^\t]/g, ' ');
  const length = Math.max(1, Math.min(span.end - span.start, shown.length - before.length));
  return { line, column, excerpt: `    ${shown}\n    ${before}${'^'.repeat(length)}` };
}
