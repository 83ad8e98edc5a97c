/**
 * One strict pass over an SGXS stream, page by page through a fixed window, so that an image of any size
 * needs a few MiB. Pages come out as long runs.
 */
import { type IncrementalHash, NsgxError } from '@nestedsgx/arch';
import type { PageRun } from '../image.js';
import { PAGE, type SgxsLimits } from './format.js';
import { readSgxsHeader } from './header.js';
import type { ByteSource } from './source.js';
import { RUN_BYTES, type SgxsTotals, Walker, walkerBytes } from './walker.js';

/**
 * Walks the whole stream and yields its pages as runs of up to 1 MiB. With `buffer` the runs lie in it (one
 * at a time); with `null` no data are delivered at all (`data` is empty) and the pass only checks. `hash`
 * absorbs the measured stream, so that its digest is MRENCLAVE at the end; `totals` counts.
 *
 * Throws the IMAGE_* errors of the format; every message names the chunk and its offset in the file.
 */
export function* walkSgxs(
  source: ByteSource,
  limits: SgxsLimits,
  options: { buffer?: Uint8Array | null; hash?: IncrementalHash; totals?: SgxsTotals } = {},
): Generator<PageRun, void, undefined> {
  const header = readSgxsHeader(source, limits);
  const { buffer, hash, totals = { pages: 0, measuredPages: 0, tcs: 0 } } = options;
  if (buffer instanceof Uint8Array && buffer.length < PAGE) {
    throw new NsgxError(
      'IMAGE_LAYOUT',
      `the buffer for pages has ${buffer.length} bytes, at least 4096 are needed`,
    );
  }
  const maxRun =
    buffer instanceof Uint8Array ? Math.min(RUN_BYTES, buffer.length - (buffer.length % PAGE)) : RUN_BYTES;
  const memory = takeMemory(walkerBytes(source));
  try {
    const walker = new Walker(source, header.size, hash, totals, memory);
    for (let run = walker.next(maxRun); run !== null; run = walker.next(maxRun))
      yield {
        offset: run.offset,
        secinfoFlags: run.flags,
        data: deliver(run.data, buffer),
        measured: run.measured,
      };
  } finally {
    spare = memory;
  }
}

/** Memory of the last walk, for the next one: fresh megabytes cost a small image more than the walk itself. */
let spare: Uint8Array | undefined;

function takeMemory(bytes: number): Uint8Array {
  const memory = spare !== undefined && spare.length >= bytes ? spare : new Uint8Array(bytes);
  spare = undefined; // a walk begun before this one ends has memory of its own
  return memory;
}

function deliver(data: Uint8Array, buffer: Uint8Array | null | undefined): Uint8Array {
  if (buffer === null) return data.subarray(0, 0);
  if (buffer === undefined) return data.slice();
  buffer.set(data);
  return buffer.subarray(0, data.length);
}
