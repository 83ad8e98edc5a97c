/**
 * From a linked file to the pages of an enclave.
 *
 * Offsets from the base: an empty page, code, read-only data, data, a guard page, heap (with room to grow), then for each thread (and each that may come)
 * [guard, stack, guard, exception stack, guard, SSA frames, thread-local storage and thread data, TCS]. Guard pages are
 * left out of the image, so touching one is a page fault.
 */
import { PT_REG, PT_TCS, SECINFO_R, SECINFO_W, SECINFO_X, TCS } from '@nestedsgx/arch';
import type { PageRun } from '@nestedsgx/image';
import * as elf from './elf.js';
import { enclaveError } from './errors.js';

const PAGE = 4096;
/** Bytes of the runtime's struct nsgx_layout. */
const LAYOUT_BYTES = 160;
/** The section that holds it (native/runtime/entry.S). */
export const LAYOUT_SECTION = '.nsgx.layout';
const EXCEPTION_STACK_PAGES = 3;
const MAX_IMAGE = 2 ** 34;
const REG = PT_REG << 8;
const RW = REG | SECINFO_R | SECINFO_W;
/** Zero pages shared by all runs that hold nothing. */
const ZEROS = new Uint8Array(256 * PAGE);

/** What the layout needs of the project's settings. */
export interface LayoutConfig {
  readonly threads: number;
  readonly heapPages: number;
  /** Room for threads and for heap that come at run time; not less than what there is at the start. */
  readonly maxThreads?: number;
  readonly heapMaxPages?: number;
  readonly heapMeasured: boolean;
  readonly stackPages: number;
  readonly ssaFrames: number;
  /** Offset where heap and threads begin at the earliest; behind code and data if not given. */
  readonly heapFrom?: number;
  /** Room for pages that somebody else puts behind what is laid out here: SIZE is not less than this. */
  readonly minimumSize?: number;
}

/** Where one thread's parts lie, as offsets from the base. */
export interface ThreadLayout {
  readonly stackLow: number;
  readonly stackTop: number;
  readonly ssa: number;
  readonly threadData: number;
  readonly tcs: number;
}

/** A whole enclave. */
export interface EnclaveLayout {
  /** SECS.SIZE: a power of two. */
  readonly size: number;
  /** Where code and data end, and all that is laid out here. */
  readonly codeEnd: number;
  readonly end: number;
  readonly ssaFrameSize: 1;
  /** Ascending, without overlaps. */
  readonly runs: readonly PageRun[];
  readonly heap: { readonly offset: number; readonly size: number };
  readonly threads: readonly ThreadLayout[];
  /** The entry point. */
  readonly entry: number;
}

/** Rounds up to whole pages. */
export const pageUp = (n: number) => Math.ceil(n / PAGE) * PAGE;

function zeroRuns(offset: number, length: number, measured: boolean): PageRun[] {
  const runs: PageRun[] = [];
  for (let at = 0; at < length; at += ZEROS.length) {
    const part = Math.min(ZEROS.length, length - at);
    runs.push({ offset: offset + at, secinfoFlags: RW, data: ZEROS.subarray(0, part), measured });
  }
  return runs;
}

function unsupported(message: string): Error {
  return enclaveError('ELF_UNSUPPORTED', message, {
    advice:
      'Remove what needs it from the sources: the runtime offers code, data and plain thread-local storage.',
  });
}

/** Checks that the file needs nothing but what the runtime does: base relocations of writable data. */
function checkLinked(file: elf.ElfFile, writable: { offset: number; size: number }): void {
  for (const segment of file.segments) {
    if (segment.type === elf.PT_INTERP) throw unsupported('the linked enclave wants a dynamic linker');
    if (
      segment.type === elf.PT_LOAD &&
      (segment.flags & elf.PF_W) !== 0 &&
      (segment.flags & elf.PF_X) !== 0
    ) {
      throw unsupported('the linked enclave has a segment that is writable and executable');
    }
  }
  for (const section of file.sections) {
    if (section.type === elf.SHT_RELR || (section.type === elf.SHT_REL && section.allocated)) {
      throw unsupported(`the linked enclave has relocations of an unknown form in ${section.name}`);
    }
  }
  const tdata = file.sections.find((section) => section.name === '.tdata');
  for (const relocation of file.relocations) {
    const at = relocation.offset;
    if (relocation.type !== elf.R_X86_64_RELATIVE || relocation.symbol !== 0) {
      throw unsupported(
        `the linked enclave has a relocation of type ${relocation.type} at 0x${at.toString(16)}`,
      );
    }
    if (at < writable.offset || at + 8 > writable.offset + writable.size) {
      throw unsupported(`the linked enclave has a relocation of read-only memory at 0x${at.toString(16)}`);
    }
    if (tdata !== undefined && at >= tdata.address && at < tdata.address + tdata.size) {
      throw unsupported('a thread-local variable is initialised with an address');
    }
  }
}

/** Bytes of thread-local storage: its first value, and room that ends exactly at the thread data. */
function threadLocals(
  file: elf.ElfFile,
  bytes: Uint8Array,
): { address: number; image: Uint8Array; room: number } {
  const segment = file.segments.find((candidate) => candidate.type === elf.PT_TLS);
  if (segment === undefined || segment.memorySize === 0)
    return { address: 0, image: new Uint8Array(0), room: 0 };
  const align = Math.max(1, segment.align);
  if (align > PAGE) throw unsupported(`a thread-local variable wants an alignment of ${align} bytes`);
  const room = Math.ceil(segment.memorySize / align) * align;
  if (room > 1024 * PAGE) throw unsupported(`thread-local variables take ${room} bytes`);
  return {
    address: segment.address,
    image: bytes.subarray(segment.offset, segment.offset + segment.fileSize),
    room,
  };
}

/** Offsets of a thread's parts from the beginning of its area, the guard page below its stack. */
export interface ThreadShape {
  readonly stride: number;
  readonly stackLow: number;
  readonly stackTop: number;
  readonly exceptionLow: number;
  readonly exceptionTop: number;
  readonly ssa: number;
  readonly locals: number;
  readonly threadData: number;
  readonly tcs: number;
}

function threadShape(config: LayoutConfig, localsRoom: number): ThreadShape {
  const stackLow = PAGE;
  const stackTop = stackLow + config.stackPages * PAGE;
  const exceptionLow = stackTop + PAGE;
  const exceptionTop = exceptionLow + EXCEPTION_STACK_PAGES * PAGE;
  const ssa = exceptionTop + PAGE;
  const locals = ssa + config.ssaFrames * PAGE;
  const threadData = locals + pageUp(localsRoom);
  const tcs = threadData + PAGE;
  return { stride: tcs + PAGE, stackLow, stackTop, exceptionLow, exceptionTop, ssa, locals, threadData, tcs };
}

/** Thread-local storage and thread data (native/runtime/thread.h) of thread `index`, whose area starts at `base`. */
function threadPages(
  shape: ThreadShape,
  base: number,
  index: number,
  locals: { image: Uint8Array; room: number },
): Uint8Array {
  const pages = new Uint8Array(shape.threadData + PAGE - shape.locals);
  const data = shape.threadData - shape.locals;
  pages.set(locals.image, data - locals.room);
  const view = new DataView(pages.buffer, data);
  view.setBigUint64(8, BigInt(base + shape.stackTop), true);
  view.setBigUint64(16, BigInt(base + shape.stackTop), true);
  view.setBigUint64(24, BigInt(base + shape.stackLow), true);
  view.setBigUint64(32, BigInt(base + shape.exceptionTop), true);
  view.setBigUint64(48, BigInt(base + shape.ssa), true);
  view.setUint32(108, index, true);
  return pages;
}

function threadRuns(
  shape: ThreadShape,
  base: number,
  index: number,
  config: LayoutConfig,
  entry: number,
  locals: { image: Uint8Array; room: number },
): PageRun[] {
  const threadData = base + shape.threadData;
  const tcs = TCS.encode({
    OSSA: BigInt(base + shape.ssa),
    NSSA: config.ssaFrames,
    OENTRY: BigInt(entry),
    OFSBASE: BigInt(threadData),
    OGSBASE: BigInt(threadData),
    FSLIMIT: PAGE - 1,
    GSLIMIT: PAGE - 1,
  });
  return [
    ...zeroRuns(base + shape.stackLow, shape.stackTop - shape.stackLow, true),
    ...zeroRuns(base + shape.exceptionLow, shape.exceptionTop - shape.exceptionLow, true),
    ...zeroRuns(base + shape.ssa, shape.locals - shape.ssa, true),
    {
      offset: base + shape.locals,
      secinfoFlags: RW,
      data: threadPages(shape, base, index, locals),
      measured: true,
    },
    { offset: base + shape.tcs, secinfoFlags: PT_TCS << 8, data: tcs, measured: true },
  ];
}

/** The pages of the segments, as runs. */
function segmentRuns(file: elf.ElfFile, bytes: Uint8Array): PageRun[] {
  const runs: PageRun[] = [];
  let end = PAGE;
  for (const segment of file.segments) {
    if (segment.type !== elf.PT_LOAD || segment.memorySize === 0) continue;
    if (segment.address % PAGE !== 0 || segment.address < end) {
      throw unsupported(`the linked enclave has a segment at 0x${segment.address.toString(16)}`);
    }
    const data = new Uint8Array(pageUp(segment.memorySize));
    data.set(bytes.subarray(segment.offset, segment.offset + segment.fileSize));
    let flags = REG | SECINFO_R;
    if ((segment.flags & elf.PF_W) !== 0) flags |= SECINFO_W;
    if ((segment.flags & elf.PF_X) !== 0) flags |= SECINFO_X;
    runs.push({ offset: segment.address, secinfoFlags: flags, data, measured: true });
    end = segment.address + data.length;
    if (end > MAX_IMAGE)
      throw enclaveError('LAYOUT_TOO_LARGE', `the enclave's code and data take ${end} bytes`);
  }
  return runs;
}

/** Where everything of an enclave lies, in whatever format its image is. */
export interface MemoryPlan {
  readonly file: elf.ElfFile;
  /** The pages of the segments. */
  readonly runs: PageRun[];
  readonly shape: ThreadShape;
  readonly locals: { readonly address: number; readonly image: Uint8Array; readonly room: number };
  readonly dataEnd: number;
  readonly heapOffset: number;
  readonly heapSize: number;
  /** Offset of the area of thread 0; the others follow at `shape.stride`. */
  readonly firstThread: number;
  /** SECS.SIZE. */
  readonly size: number;
  readonly end: number;
  /** struct nsgx_layout of the runtime, for the section of the file that holds it. */
  readonly layout: Uint8Array;
  readonly layoutSection: elf.ElfSection;
}

/** Plans the memory of a linked file. Throws ELF_MALFORMED, ELF_UNSUPPORTED, LAYOUT_TOO_LARGE. */
export function planMemory(bytes: Uint8Array, config: LayoutConfig): MemoryPlan {
  const file = elf.readElf(bytes);
  const runs = segmentRuns(file, bytes);
  const data = runs.find((run) => (run.secinfoFlags & SECINFO_W) !== 0);
  if (data === undefined) throw unsupported('the linked enclave has no writable data');
  checkLinked(file, { offset: data.offset, size: data.data.length });
  const locals = threadLocals(file, bytes);
  const shape = threadShape(config, locals.room);

  const dataEnd = runs.reduce((end, run) => Math.max(end, run.offset + run.data.length), 0);
  const heapOffset = Math.max(dataEnd + PAGE, config.heapFrom ?? 0);
  const heapSize = config.heapPages * PAGE;
  const heapLimit = Math.max(config.heapPages, config.heapMaxPages ?? 0) * PAGE;
  const maxThreads = Math.max(config.threads, config.maxThreads ?? 0);
  const firstThread = heapOffset + heapLimit;
  const end = firstThread + maxThreads * shape.stride;
  if (end > MAX_IMAGE) {
    throw enclaveError(
      'LAYOUT_TOO_LARGE',
      `the enclave would take ${end} bytes, at most ${MAX_IMAGE} are possible`,
      {
        advice: 'Lower heapPages, heapMaxPages, stackPages, threads or maxThreads in enclave.json.',
      },
    );
  }
  let size = 2 * PAGE;
  while (size < Math.max(end, config.minimumSize ?? 0)) size *= 2;

  const layoutSection = file.sections.find((candidate) => candidate.name === LAYOUT_SECTION);
  if (layoutSection === undefined || layoutSection.size !== LAYOUT_BYTES)
    throw unsupported('the linked enclave has no place for the layout of its memory');
  const words = [
    1,
    size,
    heapOffset,
    heapSize,
    config.threads,
    firstThread + shape.threadData,
    shape.stride,
    data.offset,
    data.data.length,
    heapLimit,
    maxThreads,
    config.ssaFrames,
    file.entry,
    locals.address,
    locals.image.length,
    locals.room,
    shape.threadData - shape.stackTop,
    shape.threadData - shape.stackLow,
    shape.threadData - shape.exceptionTop,
    shape.threadData - shape.ssa,
  ];
  const layout = new Uint8Array(new BigUint64Array(words.map(BigInt)).buffer);
  return {
    file,
    runs,
    shape,
    locals,
    dataEnd,
    heapOffset,
    heapSize,
    firstThread,
    size,
    end,
    layout,
    layoutSection,
  };
}

/** Lays a linked file out as SGXS. Throws ELF_MALFORMED, ELF_UNSUPPORTED, LAYOUT_TOO_LARGE. */
export function layOut(bytes: Uint8Array, config: LayoutConfig): EnclaveLayout {
  const plan = planMemory(bytes, config);
  const { file, runs, shape, locals, heapOffset, heapSize, firstThread, size, end } = plan;
  putLayout(plan);
  runs.push(...zeroRuns(heapOffset, heapSize, config.heapMeasured));
  const threads: ThreadLayout[] = [];
  for (let i = 0; i < config.threads; i++) {
    const base = firstThread + i * shape.stride;
    runs.push(...threadRuns(shape, base, i, config, file.entry, locals));
    threads.push({
      stackLow: base + shape.stackLow,
      stackTop: base + shape.stackTop,
      ssa: base + shape.ssa,
      threadData: base + shape.threadData,
      tcs: base + shape.tcs,
    });
  }
  return {
    size,
    codeEnd: plan.dataEnd,
    end,
    ssaFrameSize: 1,
    runs,
    heap: { offset: heapOffset, size: heapSize },
    threads,
    entry: file.entry,
  };
}

/** Fills struct nsgx_layout of the runtime (native/runtime/runtime.h) in the read-only data. */
function putLayout({ runs, layout, layoutSection: { address } }: MemoryPlan): void {
  const run = runs.find(
    ({ offset, data }) => address >= offset && address + layout.length <= offset + data.length,
  );
  if (run === undefined) throw unsupported('the linked enclave has no place for the layout of its memory');
  run.data.set(layout, address - run.offset);
}
