/**
 * An enclave image of a program: the library OS, the description of its root, the program and its libraries in place, and
 * zero pages for its stack and memory. Offsets from the base up:
 *
 *     library OS | memory of the core | page bits | description of the root | stack | programs | arena | … | boot page
 *
 * with an empty page before the stack, the programs and the arena. All that a program may touch is one range, from the
 * stack to the end of the arena.
 */
import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import {
  ATTRIBUTES_MODE64BIT,
  PT_REG,
  PT_TCS,
  SECINFO_R,
  SECINFO_W,
  XFRM_AVX,
  XFRM_AVX512,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import { layOut } from '@nestedsgx/enclave';
import type { EnclaveImage, PageRun, SignOptions } from '@nestedsgx/image';
import { isElf, readProgram } from '../elf/program.js';
import { libosError } from '../errors.js';
import { KERNEL_PATH } from '../kernel/build-kernel.js';
import { keptSites } from '../rewrite/site-cache.js';
import type { RootContents } from '../run/root.js';
import { BOOT_FIXED_PLACES, BOOT_JIT, BOOT_NO_HOST_SIGNALS, BOOT_VERBOSE, bootPage } from './boot.js';
import { type Binary, type Collected, collect, type MountPlace } from './collect.js';
import type { Layers } from './layers.js';
import { buildRoot, type RootEntry } from './manifest.js';
import { type Placed, placeProgram, rewriteForLoading, roundUp } from './place.js';
import { encodePolicy, type ProgramPolicy } from './policy.js';
import type { StoreKey } from './store-key.js';

const PAGE = 4096;
const RW = (PT_REG << 8) | SECINFO_R | SECINFO_W;
const R = (PT_REG << 8) | SECINFO_R;
const ZEROS = new Uint8Array(2 ** 20);
const MAX_SIZE = 2 ** 36;
/** An enclave at address 0 ends below what runs it. */
const LOW_SIZE = 2 ** 30;
/** More than the library OS takes beside its memory. */
const KERNEL_ROOM = 64 * 2 ** 20;
/** What the library OS notes of each page (native/include/pages.h). */
const PAGE_BITS = 5;

/** What has pages from the start; the rest comes when it is used. */
const CORE_READY = 512 * 1024;
const ARENA_READY = 512 * 1024;
const STACK_READY = 256 * 1024;
/** Room for the arena to begin later than it could, in pages that are ready (FIRST_PAGES of native/src/places.c). */
const SLACK = 256 * 1024;
/** Settings of native/enclave.json that the layout repeats. */
const KERNEL = Object.freeze({
  threads: 3,
  maxThreads: 66,
  heapPages: 64,
  heapMaxPages: 4096,
  heapMeasured: true,
  stackPages: 32,
  ssaFrames: 3,
});

/** What an image is made of. Sizes in bytes. */
export interface ProgramImageOptions {
  /** Path of the program on this machine. */
  readonly program: string;
  /** Further files for its root, by their paths here. */
  readonly copy?: readonly string[];
  /** What is taken along as far as it can be read, by its paths in the root. */
  readonly along?: readonly string[];
  /** Whether data of the Debian package that has the program are taken along. Default false. */
  readonly companions?: boolean;
  /** Where all files are looked for; on this machine. */
  readonly layers?: Layers;
  /** Told of what was left out. */
  readonly onNote?: (text: string) => void;
  /** Memory for brk and mmap; 64 MiB. */
  readonly memory?: number;
  /** What the host may say to the program; anything. */
  readonly policy?: ProgramPolicy;
  /** Stack; 1 MiB. */
  readonly stack?: number;
  /** Memory of the library OS with the files that the program writes; 32 MiB. */
  readonly files?: number;
  /** A folder whose files stay, encrypted, in the host's store; none. The key is the measurement's if nothing else is said. */
  readonly store?: { readonly path: string; readonly key?: StoreKey };
  /** Where folders of the host are mounted; none. The host says which they are when the program is run. */
  readonly mounts?: readonly MountPlace[];
  /** The folder that the program starts in; the root. */
  readonly start?: string;
  /** Folder where what was found in binaries is kept for the next time. */
  readonly cache?: string;
  /** Name each refused system call once. */
  readonly verbose?: boolean;
  /** Let the program make memory executable that it has written: JIT compilers. */
  readonly jit?: boolean;
  /** Whether its stack and memory begin elsewhere in the enclave at each start. Default true. */
  readonly randomize?: boolean;
  /** Whether the host may send signals to the program. Default true. */
  readonly hostSignals?: boolean;
}

/** An image with what belongs to it outside. */
export interface ProgramImage {
  /** With its signature, if it is signed. */
  readonly image: EnclaveImage;
  /** What the host serves for the root. */
  readonly root: RootContents;
  /** BASEADDR, if it matters. */
  readonly address?: number;
  /** How an image that is not signed wants to be. */
  readonly signOptions?: SignOptions;
}

/** An image as it was built: with its root in memory, unsigned. */
export interface BuiltProgram extends ProgramImage {
  readonly root: readonly Uint8Array[];
  readonly signOptions: SignOptions;
  /** SYSCALL instructions that jump, and that trap. */
  readonly rewritten: number;
  readonly trapping: number;
  /** Paths of the binaries in place. */
  readonly binaries: readonly string[];
}

function zeros(offset: number, length: number): PageRun[] {
  const runs: PageRun[] = [];
  for (let at = 0; at < length; at += ZEROS.length)
    runs.push({
      offset: offset + at,
      secinfoFlags: RW,
      data: ZEROS.subarray(0, Math.min(ZEROS.length, length - at)),
      measured: false,
    });
  return runs;
}

function padded(bytes: Uint8Array): Uint8Array {
  const pages = new Uint8Array(roundUp(bytes.length));
  pages.set(bytes);
  return pages;
}

function powerOfTwo(n: number): number {
  return 2 ** Math.ceil(Math.log2(n));
}

/** More than all binaries take with their trampolines and gaps, and the description. */
function sizeOf({ binaries, entries }: Collected): number {
  const reach = ({ program }: Binary) =>
    program.segments.at(-1)!.address + program.segments.at(-1)!.memorySize;
  return binaries.reduce((sum, binary) => sum + 2 * reach(binary) + 2 ** 21, 2 ** 20 + entries.size * 1024);
}

/** The linked library OS. @throws KERNEL_MISSING */
function readKernel(): Uint8Array {
  if (!existsSync(KERNEL_PATH))
    throw libosError('KERNEL_MISSING', `${KERNEL_PATH} does not exist`, { advice: 'Run npm run build.' });
  return new Uint8Array(readFileSync(KERNEL_PATH));
}

/**
 * Builds the image of a program, unsigned.
 * @throws PROGRAM_MISSING, PROGRAM_MALFORMED, PROGRAM_FIXED_ADDRESS, KERNEL_MISSING, PROGRAM_TOO_LARGE
 */
export function buildProgramImage(options: ProgramImageOptions): BuiltProgram {
  const collected = collect(resolve(options.program), {
    copy: options.copy?.map((path) => resolve(path)),
    along: options.along,
    companions: options.companions,
    layers: options.layers,
    store: options.store,
    mounts: options.mounts,
    start: options.start,
    onNote: options.onNote,
  });
  const kernel = readKernel();
  const memory = roundUp(options.memory ?? 64 * 2 ** 20);
  const stackSize = roundUp(options.stack ?? 8 * 2 ** 20);
  const stackReady = Math.min(STACK_READY, stackSize);
  const coreSize = roundUp(options.files ?? 32 * 2 ** 20, 65536);

  // Digests and names do not depend on where things are, so a first description tells how long it will be.
  const loadable = rewriteAll(collected, options.cache);
  const manifestSize = describe(collected, new Map(), loadable).manifest.length;
  const policy = options.policy === undefined ? new Uint8Array(0) : encodePolicy(options.policy);
  // Enough for twice what is known: the size of the enclave is a power of two.
  const slack = options.randomize === false ? 0 : roundUp(memory / 16) + SLACK;
  const known =
    coreSize + memory + slack + stackSize + sizeOf(collected) + roundUp(manifestSize) + KERNEL_ROOM;
  const pagesSize = roundUp(powerOfTwo(known) / PAGE / 8);

  /** What is the library OS's own, from an offset on. */
  const system = (coreStart: number) => {
    const pagesStart = coreStart + coreSize;
    const manifestStart = pagesStart + PAGE_BITS * pagesSize;
    const policyStart = manifestStart + roundUp(manifestSize);
    return { coreStart, pagesStart, manifestStart, policyStart, end: policyStart + roundUp(policy.length) };
  };
  /** What is the program's: its stack, its binaries, and memory. */
  const user = (from: number) => {
    const placed = new Map<Binary, Placed>();
    let end = from;
    const put = (binary: Binary) => {
      const place = placeProgram(binary.program, keptSites(binary.program, options.cache), end);
      placed.set(binary, place);
      end = place.end;
    };
    const fixed = collected.main.program.fixed;
    if (fixed) put(collected.main);
    const stackStart = end + (fixed ? PAGE : 0);
    end = stackStart + stackSize + PAGE;
    for (const binary of collected.binaries) if (!placed.has(binary)) put(binary);
    return { start: from, placed, stackStart, arenaStart: end + PAGE, end: end + PAGE + memory + slack };
  };
  const place = collected.main.program.fixed
    ? arrangeFixed(collected.main, kernel, user, system)
    : arrange(kernel, user, system);
  const { placed, stackStart, arenaStart } = place.user;
  const { coreStart, pagesStart, manifestStart, policyStart } = place.system;
  const last = Math.max(place.user.end, place.system.end) + PAGE;
  const { runs, size } = layOut(kernel, { ...KERNEL, heapFrom: place.heapFrom, minimumSize: last });
  if (size > (collected.main.program.fixed ? LOW_SIZE : MAX_SIZE))
    throw libosError('PROGRAM_TOO_LARGE', `the enclave would have ${size} bytes`, {
      advice: 'Ask for less memory.',
    });
  if (pagesSize * 8 * PAGE < size)
    throw new RangeError(`${pagesSize} bytes of page bits are too few for ${size}`);
  const root = describe(collected, placed, loadable);
  const main = placed.get(collected.main)!;
  const interpreter = collected.interpreter === undefined ? undefined : placed.get(collected.interpreter)!;
  const first = interpreter ?? main;
  const boot = bootPage({
    ...{ coreStart, coreSize, coreReady: Math.min(CORE_READY, coreSize), pagesStart, pagesSize },
    ...{
      arenaReady: Math.min(ARENA_READY, memory),
      manifestStart,
      manifestSize,
      stackStart,
      stackSize,
      arenaStart,
    },
    userStart: place.user.start,
    userSize: place.user.end - place.user.start,
    arenaSize: memory,
    arenaSlack: slack,
    stackReady,
    entry: first.program.entry + first.bias,
    programEntry: main.program.entry + main.bias,
    headers: main.program.headers + main.bias,
    headerCount: main.program.headerCount,
    interpreter: interpreter?.bias ?? 0,
    flags:
      (options.jit ? BOOT_JIT : 0) |
      (options.randomize === false ? BOOT_FIXED_PLACES : 0) |
      (options.verbose ? BOOT_VERBOSE : 0) |
      (options.hostSignals === false ? BOOT_NO_HOST_SIGNALS : 0),
    policyStart,
    policySize: policy.length,
  });
  const all: PageRun[] = [
    ...runs,
    ...zeros(coreStart, Math.min(CORE_READY, coreSize)),
    { offset: pagesStart, secinfoFlags: RW, data: new Uint8Array(PAGE_BITS * pagesSize), measured: true },
    { offset: manifestStart, secinfoFlags: R, data: padded(root.manifest), measured: true },
    ...(policy.length === 0
      ? []
      : [{ offset: policyStart, secinfoFlags: R, data: padded(policy), measured: true }]),
    ...zeros(stackStart + stackSize - stackReady, stackReady),
    ...[...placed.values()].flatMap((place) => place.runs),
    ...zeros(arenaStart, Math.min(ARENA_READY, memory)),
    { offset: size - PAGE, secinfoFlags: R, data: boot, measured: true },
  ];
  all.sort((a, b) => a.offset - b.offset);
  const count = (of: (place: Placed) => number) =>
    [...placed.values()].reduce((sum, place) => sum + of(place), 0);
  return {
    image: inMemory(all, size),
    root: root.contents,
    signOptions: {
      miscselect: 1,
      attributes: { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: XFRM_LEGACY | XFRM_AVX | XFRM_AVX512 },
    },
    ...(collected.main.program.fixed ? { address: 0 } : {}),
    rewritten: count((of) => of.rewritten),
    trapping: count((of) => of.trapping),
    binaries: collected.binaries.map(({ path }) => path),
  };
}

interface System {
  readonly coreStart: number;
  readonly pagesStart: number;
  readonly manifestStart: number;
  readonly policyStart: number;
  readonly end: number;
}

interface User {
  readonly start: number;
  readonly placed: ReadonlyMap<Binary, Placed>;
  readonly stackStart: number;
  readonly arenaStart: number;
  readonly end: number;
}

interface Arrangement {
  readonly user: User;
  readonly system: System;
  readonly heapFrom?: number;
}

/** The library OS first, with an empty page before what is the program's. */
function arrange(
  kernel: Uint8Array,
  user: (from: number) => User,
  system: (from: number) => System,
): Arrangement {
  const own = system(layOut(kernel, KERNEL).end + PAGE);
  return { system: own, user: user(own.end + PAGE) };
}

/** The program where it is linked for, between the library OS's code and its memory. */
function arrangeFixed(
  main: Binary,
  kernel: Uint8Array,
  user: (from: number) => User,
  system: (from: number) => System,
): Arrangement {
  const from = Math.floor(main.program.segments[0].address / PAGE) * PAGE;
  const code = layOut(kernel, { ...KERNEL, heapFrom: from }).codeEnd;
  if (code + PAGE > from)
    throw libosError(
      'PROGRAM_FIXED_ADDRESS',
      `${main.path} is linked for address 0x${from.toString(16)}, where the library OS itself is`,
      { advice: 'Use a position-independent build of it (gcc -pie or -static-pie), as most of Debian is.' },
    );
  const program = user(from);
  const own = system(program.end + PAGE);
  return { user: program, system: own, heapFrom: own.end + PAGE };
}

/** The binaries of the root by path, with calls that jump: whatever is executed comes from here. */
function rewriteAll(collected: Collected, cache: string | undefined): Map<string, Loadable> {
  const all = new Map<string, Loadable>();
  const known = new Map(collected.binaries.map(({ path, program }) => [path, program]));
  for (const { path, bytes } of collected.entries.values()) {
    if (bytes === undefined || !isElf(bytes)) continue;
    try {
      const program = known.get(path) ?? readProgram(bytes, path);
      all.set(path, rewriteForLoading(program, keptSites(program, cache)));
    } catch {
      // A file that only looks like one of this machine's binaries is data.
    }
  }
  return all;
}

type Loadable = ReturnType<typeof rewriteForLoading>;

/** The root with what of it lies in place. The program and its interpreter are loaded from the start. */
function describe(
  collected: Collected,
  placed: ReadonlyMap<Binary, Placed>,
  loadable: ReadonlyMap<string, Loadable>,
) {
  const images = new Map([...placed].map(([binary, place]) => [binary.path, { binary, place }]));
  return buildRoot(
    [...collected.entries.values()].map((entry) => {
      const code = loadable.get(entry.path);
      if (code === undefined) return entry;
      const rewritten: RootEntry = {
        ...entry,
        bytes: code.bytes,
        code: { pages: code.span / PAGE, bytes: code.trampolines },
      };
      const found = images.get(entry.path);
      if (found === undefined) return rewritten;
      const { binary, place } = found;
      const taken = binary === collected.main || binary === collected.interpreter;
      return { ...rewritten, image: { offset: place.offset, size: place.size, taken } };
    }),
  );
}

function inMemory(runs: readonly PageRun[], size: number): EnclaveImage {
  return {
    format: 'sgxs',
    size,
    ssaFrameSize: 1,
    miscselect: 1,
    attributes: { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: XFRM_LEGACY },
    tcs: runs.filter((run) => run.secinfoFlags === PT_TCS << 8).length,
    pages: () => runs,
  };
}
