/** Reads app.img: tables at once, pages and files when they are asked for. Everything in it is checked before it is used. */
import { createHash } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { type Attributes, PT_REG, PT_TCS, SECINFO_R, SECINFO_W, SIGSTRUCT } from '@nestedsgx/arch';
import { DEFAULT_SGXS_LIMITS, type EnclaveImage, type PageRun, type PagesOptions } from '@nestedsgx/image';
import { libosError } from '../errors.js';
import type { RootSource } from '../run/root.js';
import {
  type AppHeader,
  AT_ZERO,
  aligned,
  DIGEST_AT,
  HEADER_BYTES,
  MAGIC,
  malformed,
  ROW_AT,
  ROW_BYTES,
  RUN_BYTES,
  RUN_MEASURED,
  RUN_ZERO,
  SECTIONS,
  type Section,
  type SectionName,
  VERSION,
} from './app-format.js';

const PAGE = 4096;
const PIECE = 2 ** 20;

interface Run {
  readonly offset: number;
  readonly length: number;
  readonly secinfoFlags: number;
  readonly measured: boolean;
  /** Where in the file; none for zeros. */
  readonly at?: number;
}

/** An open file with checked reads. */
class AppFile {
  readonly #fd: number;
  readonly length: number;

  constructor(readonly path: string) {
    try {
      // Without O_NONBLOCK the opening of a FIFO would wait for a writer.
      this.#fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch (cause) {
      throw libosError('APP_IMAGE_UNREADABLE', `${path} cannot be read: ${(cause as Error).message}`, {
        cause,
        advice: 'Check the path.',
      });
    }
    const status = fstatSync(this.#fd);
    if (!status.isFile()) {
      closeSync(this.#fd);
      throw malformed(path, 'is not a file');
    }
    this.length = status.size;
  }

  /** Fills `into` from `at`. @throws APP_IMAGE_MALFORMED when the file has become shorter, APP_IMAGE_UNREADABLE */
  readInto(into: Uint8Array, at: number): void {
    for (let done = 0; done < into.length; ) {
      let got: number;
      try {
        got = readSync(this.#fd, into, done, into.length - done, at + done);
      } catch (cause) {
        throw libosError('APP_IMAGE_UNREADABLE', `${this.path} cannot be read`, { cause });
      }
      if (got === 0) throw malformed(this.path, 'is cut short');
      done += got;
    }
  }

  read({ offset, length }: { offset: number; length: number }): Buffer {
    const bytes = Buffer.allocUnsafe(length);
    this.readInto(bytes, offset);
    return bytes;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function readHeader(file: AppFile): AppHeader {
  const { path } = file;
  if (file.length < HEADER_BYTES) throw malformed(path, 'is no program image');
  const header = file.read({ offset: 0, length: HEADER_BYTES });
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) throw malformed(path, 'is no program image');
  const version = header.readUInt32LE(8);
  if (version !== VERSION)
    throw libosError('APP_IMAGE_VERSION', `${path} is an image of version ${version}; this is ${VERSION}`, {
      advice: 'Build it again with this version of nsgx.',
    });
  const digest = createHash('sha256').update(header.subarray(0, DIGEST_AT)).digest();
  if (!digest.equals(header.subarray(DIGEST_AT))) throw malformed(path, 'has a damaged header');
  const number = (at: number, limit: number, what: string) => {
    const value = header.readBigUInt64LE(at);
    if (value > BigInt(limit)) throw malformed(path, `has an impossible ${what}`);
    return Number(value);
  };
  const size = number(16, DEFAULT_SGXS_LIMITS.maxEnclaveBytes, 'size');
  const ssaFrameSize = header.readUInt32LE(12);
  if (size < 2 * PAGE || !Number.isInteger(Math.log2(size)) || ssaFrameSize < 1 || ssaFrameSize > 64)
    throw malformed(path, 'describes no enclave');
  const sections = {} as Record<SectionName, Section>;
  let expected = HEADER_BYTES;
  SECTIONS.forEach(({ name, limit }, i) => {
    const row = ROW_AT + i * ROW_BYTES;
    const offset = number(row, Number.MAX_SAFE_INTEGER, 'offset');
    const length = number(row + 8, limit, `length of its ${name}`);
    if (offset !== expected) throw malformed(path, `has its ${name} at an impossible place`);
    expected = offset + aligned(length);
    sections[name] = { offset, length, sha256: header.subarray(row + 16, row + 48) };
  });
  if (expected !== file.length)
    throw malformed(path, `has ${file.length} bytes, and should have ${expected}: it is cut short or longer`);
  return { size, ssaFrameSize, atZero: (header.readUInt32LE(24) & AT_ZERO) !== 0, sections };
}

/** A small section whose digest is checked at once. */
function section(file: AppFile, { sections }: AppHeader, name: SectionName): Buffer {
  const bytes = file.read(sections[name]);
  if (!createHash('sha256').update(bytes).digest().equals(sections[name].sha256))
    throw malformed(file.path, `has a damaged ${name}`);
  return bytes;
}

function validFlags(flags: number): boolean {
  if (flags === PT_TCS << 8) return true;
  return (
    flags >> 8 === PT_REG && (flags & 0xf8) === 0 && ((flags & SECINFO_W) === 0 || (flags & SECINFO_R) !== 0)
  );
}

function readRuns(file: AppFile, header: AppHeader): Run[] {
  const table = section(file, header, 'runs');
  const { pages } = header.sections;
  if (table.length % RUN_BYTES !== 0) throw malformed(file.path, 'has an impossible table of pages');
  const runs: Run[] = [];
  let end = 0;
  for (let row = 0; row < table.length; row += RUN_BYTES) {
    const wrong = () => malformed(file.path, `has impossible pages in row ${row / RUN_BYTES}`);
    const [offset, length, at] = [0, 8, 24].map((k) => Number(table.readBigUInt64LE(row + k)));
    const secinfoFlags = table.readUInt32LE(row + 16);
    const flags = table.readUInt32LE(row + 20);
    const zero = (flags & RUN_ZERO) !== 0;
    if (offset % PAGE !== 0 || length % PAGE !== 0 || length === 0 || offset < end) throw wrong();
    if (offset + length > header.size || flags > 3 || !validFlags(secinfoFlags)) throw wrong();
    if (zero ? at !== 0 : at % PAGE !== 0 || at + length > pages.length) throw wrong();
    end = offset + length;
    const measured = (flags & RUN_MEASURED) !== 0;
    runs.push({ offset, length, secinfoFlags, measured, ...(zero ? {} : { at: pages.offset + at }) });
  }
  return runs;
}

/** The enclave of an open file. */
class AppEnclave implements EnclaveImage {
  readonly format = 'sgxs';
  readonly size: number;
  readonly ssaFrameSize: number;
  readonly miscselect: number;
  readonly attributes: Attributes;
  readonly tcs: number;
  readonly sigstruct: Uint8Array;
  readonly #file: AppFile;
  readonly #runs: readonly Run[];

  constructor(file: AppFile, header: AppHeader, runs: readonly Run[]) {
    this.#file = file;
    this.#runs = runs;
    this.size = header.size;
    this.ssaFrameSize = header.ssaFrameSize;
    if (header.sections.signature.length !== SIGSTRUCT.size) throw malformed(file.path, 'has no signature');
    this.sigstruct = new Uint8Array(section(file, header, 'signature'));
    const signed = SIGSTRUCT.decode(this.sigstruct);
    this.miscselect = signed.MISCSELECT;
    this.attributes = signed.ATTRIBUTES;
    this.tcs = runs.reduce((sum, run) => sum + (run.secinfoFlags >> 8 === PT_TCS ? run.length / PAGE : 0), 0);
  }

  *pages({ buffer }: PagesOptions = {}): Generator<PageRun> {
    const limit = buffer === undefined ? PIECE : Math.floor(buffer.length / PAGE) * PAGE;
    for (const run of this.#runs)
      for (let done = 0; done < run.length; done += limit) {
        const length = Math.min(limit, run.length - done);
        const data = buffer === undefined ? new Uint8Array(length) : buffer.subarray(0, length);
        if (run.at !== undefined) this.#file.readInto(data, run.at + done);
        else if (buffer !== undefined) data.fill(0);
        yield { offset: run.offset + done, secinfoFlags: run.secinfoFlags, data, measured: run.measured };
      }
  }

  /** Bytes of the enclave as it is loaded. @throws APP_IMAGE_MALFORMED when no pages are there */
  read(offset: number, length: number): Uint8Array {
    const into = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const run = this.#runs.find((r) => at >= r.offset && at < r.offset + r.length);
      if (run === undefined) throw malformed(this.#file.path, `has no pages at 0x${at.toString(16)}`);
      const part = Math.min(length - done, run.offset + run.length - at);
      if (run.at !== undefined)
        this.#file.readInto(into.subarray(done, done + part), run.at + at - run.offset);
      done += part;
    }
    return into;
  }
}

/** An image file that is open. */
export interface AppImage extends AsyncDisposable {
  readonly path: string;
  readonly image: EnclaveImage & { read(offset: number, length: number): Uint8Array };
  readonly root: RootSource;
  /** BASEADDR, if it matters. */
  readonly address?: number;
  /** What the builder wrote for people; not to be believed. */
  readonly description: unknown;
  /** Hashes every section. @returns the names of those that are not what the header says */
  damaged(): SectionName[];
  close(): void;
}

/** Whether a file begins as an image of a program does. */
export function isAppImage(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return false;
  }
  try {
    const bytes = Buffer.alloc(MAGIC.length);
    return fstatSync(fd).isFile() && readSync(fd, bytes, 0, bytes.length, 0) === 8 && bytes.equals(MAGIC);
  } finally {
    closeSync(fd);
  }
}

/**
 * Opens an image of a program.
 * @throws APP_IMAGE_UNREADABLE, APP_IMAGE_MALFORMED, APP_IMAGE_VERSION
 */
export function openAppImage(path: string): AppImage {
  const file = new AppFile(path);
  try {
    const header = readHeader(file);
    const { sections } = header;
    const image = new AppEnclave(file, header, readRuns(file, header));
    const description = parse(file, section(file, header, 'description'));
    const { offset, length } = sections.root;
    const close = () => file.close();
    return {
      ...{ path, image, description, close },
      ...(header.atZero ? { address: 0 } : {}),
      root: {
        length,
        read(at, count) {
          const bytes = new Uint8Array(Math.max(0, Math.min(count, length - at)));
          file.readInto(bytes, offset + at);
          return bytes;
        },
      },
      damaged: () => SECTIONS.map(({ name }) => name).filter((name) => !intact(file, sections[name])),
      [Symbol.asyncDispose]: async () => close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

function parse(file: AppFile, bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    throw malformed(file.path, 'has a description that is no JSON');
  }
}

function intact(file: AppFile, { offset, length, sha256 }: Section): boolean {
  const hash = createHash('sha256');
  for (let at = 0; at < length; at += PIECE)
    hash.update(file.read({ offset: offset + at, length: Math.min(PIECE, length - at) }));
  return hash.digest().equals(sha256);
}
