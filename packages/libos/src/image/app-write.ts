/** Writes app.img. The same image gives the same bytes. */
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import type { PageRun } from '@nestedsgx/image';
import { libosError } from '../errors.js';
import { rootSource } from '../run/root.js';
import {
  AT_ZERO,
  aligned,
  DIGEST_AT,
  HEADER_BYTES,
  MAGIC,
  ROW_AT,
  ROW_BYTES,
  RUN_BYTES,
  RUN_MEASURED,
  RUN_ZERO,
  SECTIONS,
  VERSION,
} from './app-format.js';
import type { ProgramImage } from './build.js';

const PAGE = 4096;
const PIECE = 2 ** 20;
const ZERO_PAGE = Buffer.alloc(PAGE);
/** Fewer zero pages than this stay among others. */
const ZERO_PAGES = 4;

interface Span {
  readonly offset: number;
  readonly flags: number;
  readonly secinfoFlags: number;
  readonly data: Uint8Array;
}

/** A run in parts that are wholly zero, and the others. */
function* spans({ offset, secinfoFlags, data, measured }: PageRun): Generator<Span> {
  const zero = (at: number) => ZERO_PAGE.compare(data, at, at + PAGE) === 0;
  const flags = measured ? RUN_MEASURED : 0;
  let from = 0;
  for (let at = 0; at < data.length; ) {
    let end = at;
    while (end < data.length && zero(end)) end += PAGE;
    if (end - at < ZERO_PAGES * PAGE && !(from === at && end === data.length)) {
      at = Math.max(end, at + PAGE);
      continue;
    }
    if (at > from) yield { offset: offset + from, flags, secinfoFlags, data: data.subarray(from, at) };
    yield { offset: offset + at, flags: flags | RUN_ZERO, secinfoFlags, data: data.subarray(at, end) };
    at = end;
    from = end;
  }
  if (from < data.length) yield { offset: offset + from, flags, secinfoFlags, data: data.subarray(from) };
}

function runRow(span: Span, at: number): Buffer {
  const row = Buffer.alloc(RUN_BYTES);
  row.writeBigUInt64LE(BigInt(span.offset), 0);
  row.writeBigUInt64LE(BigInt(span.data.length), 8);
  row.writeUInt32LE(span.secinfoFlags, 16);
  row.writeUInt32LE(span.flags, 20);
  row.writeBigUInt64LE(BigInt(at), 24);
  return row;
}

/** Pieces of a section from wherever they are. */
type Pieces = Iterable<Uint8Array>;

function* rootPieces(program: ProgramImage): Generator<Uint8Array> {
  const root = rootSource(program.root);
  for (let at = 0; at < root.length; ) {
    const piece = root.read(at, PIECE);
    if (piece.length === 0) throw new RangeError(`the root ends at ${at} of ${root.length} bytes`);
    yield piece;
    at += piece.length;
  }
}

/**
 * Writes a signed program to a file, which appears whole or not at all.
 * @param description what people may want to know of it; not measured
 * @throws APP_IMAGE_WRITE
 */
export function writeAppImage(
  path: string,
  program: ProgramImage,
  sigstruct: Uint8Array,
  description: object,
): void {
  const all = [...program.image.pages()].flatMap((run) => [...spans(run)]);
  const rows: Buffer[] = [];
  let pagesAt = 0;
  for (const span of all) {
    const isZero = (span.flags & RUN_ZERO) !== 0;
    rows.push(runRow(span, isZero ? 0 : pagesAt));
    if (!isZero) pagesAt += span.data.length;
  }
  const sections: Pieces[] = [
    [sigstruct],
    [Buffer.from(JSON.stringify(description), 'utf8')],
    rows,
    all.filter(({ flags }) => (flags & RUN_ZERO) === 0).map(({ data }) => data),
    rootPieces(program),
  ];
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const fd = openSync(temporary, 'w', 0o644);
    try {
      writeSections(fd, program, sections);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, path);
  } catch (cause) {
    rmSync(temporary, { force: true });
    throw libosError('APP_IMAGE_WRITE', `${path} cannot be written: ${(cause as Error).message}`, {
      cause,
      advice: 'Choose another path with -o, or make room.',
    });
  }
}

function writeSections(fd: number, program: ProgramImage, sections: readonly Pieces[]): void {
  const header = Buffer.alloc(HEADER_BYTES);
  MAGIC.copy(header);
  header.writeUInt32LE(VERSION, 8);
  header.writeUInt32LE(program.image.ssaFrameSize, 12);
  header.writeBigUInt64LE(BigInt(program.image.size), 16);
  header.writeUInt32LE(program.address === 0 ? AT_ZERO : 0, 24);
  let at = HEADER_BYTES;
  sections.forEach((pieces, i) => {
    const hash = createHash('sha256');
    let length = 0;
    for (const piece of pieces) {
      hash.update(piece);
      writeAll(fd, piece, at + length);
      length += piece.length;
    }
    if (length > SECTIONS[i].limit)
      throw new RangeError(`its ${SECTIONS[i].name} would have ${length} bytes`);
    const row = ROW_AT + i * ROW_BYTES;
    header.writeBigUInt64LE(BigInt(at), row);
    header.writeBigUInt64LE(BigInt(length), row + 8);
    hash.digest().copy(header, row + 16);
    at += aligned(length);
  });
  ftruncateSync(fd, at);
  createHash('sha256').update(header.subarray(0, DIGEST_AT)).digest().copy(header, DIGEST_AT);
  writeAll(fd, header, 0);
}

function writeAll(fd: number, bytes: Uint8Array, at: number): void {
  for (let done = 0; done < bytes.length; )
    done += writeSync(fd, bytes, done, bytes.length - done, at + done);
}
