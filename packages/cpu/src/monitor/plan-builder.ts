import type { PageRange, ProcessorStart } from '@nestedsgx/arch';
import { CpuError } from '../errors.js';
import { GATE } from '../layout/gate.js';
import { LOWEST_PAGE, MAX_MAPS, MAX_SITES, MAX_THREADS, RUNNER_MEMORY } from '../layout/memory.js';
import {
  MAP_FLAG,
  PLAN,
  PLAN_FILE,
  PLAN_FLAG,
  PLAN_MAP,
  PLAN_RANGE,
  PLAN_SIGNATURE,
} from '../layout/plan.js';
import { BESIDE, REVOKE } from '../layout/relay.js';
import { writeFields } from '../layout/writer.js';
import { Protections } from './protections.js';
import type { StubPiece } from './site-stub.js';

const PAGE = 4096;
/** Highest user address of x86-64 with four-level paging, less a guard. */
const USER_END = 0x7fff_ffff_0000;

/** Guest RAM and doorbell as every process of the machine maps them. */
export interface MachineMemory {
  ramBase: number;
  ramBytes: number;
  /** Virtual address of the machine's doorbell word, or 0. */
  doorbell: number;
  /** The guest has a kernel of its own. */
  vm?: VmGuest;
}

/** What differs for a guest with a kernel of its own. */
export interface VmGuest {
  /** Virtual address of the word that is incremented, and woken, to interrupt the guest. */
  wakeWord: number;
}

interface PlanMap {
  address: number;
  length: number;
  offset: number;
  file: number;
  flags: number;
}

const aligned = (value: number) => Number.isSafeInteger(value) && value >= 0 && value % PAGE === 0;

/** Sorted, merged where neighbours have equal rights. @throws CpuError PROCESSOR_ARGUMENT on overlap or misalignment */
export function normalizeRanges(ranges: readonly PageRange[], size: number): PageRange[] {
  const sorted = [...ranges].sort((a, b) => a.offset - b.offset);
  const out: PageRange[] = [];
  for (const range of sorted) {
    if (!aligned(range.offset) || !aligned(range.length) || range.offset + range.length > size)
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `The page range at offset ${range.offset} of ${range.length} bytes is misaligned or outside the ELRANGE.`,
      );
    if (range.length === 0) continue;
    const last = out[out.length - 1];
    if (last && range.offset < last.offset + last.length)
      throw new CpuError('PROCESSOR_ARGUMENT', `Two page ranges overlap at offset ${range.offset}.`);
    if (
      last &&
      last.offset + last.length === range.offset &&
      last.r === range.r &&
      last.w === range.w &&
      last.x === range.x
    )
      last.length += range.length;
    else out.push({ ...range });
  }
  return out;
}

/** What a short jump reaches, less a little. */
const REACH = 0x7fff_0000;

/**
 * Start addresses for trampolines beside the ELRANGE that collide with nothing: one from which all of the ELRANGE is in a
 * short jump's reach, or both where it is too large for that. The page above the ELRANGE stays unmapped. `beside`: what
 * the guest keeps free, as bits of BESIDE.
 */
export function placesBeside(
  base: number,
  size: number,
  memory: MachineMemory,
  bytes: number,
  beside = 0,
): number[] {
  const free = (at: number) =>
    at >= RUNNER_MEMORY.END &&
    at + bytes <= USER_END &&
    (at + bytes <= memory.ramBase || at >= memory.ramBase + memory.ramBytes);
  const kept = (bit: number) => (beside & BESIDE.CHOSEN) === 0 || (beside & bit) !== 0;
  const below = kept(BESIDE.BELOW) ? [base - bytes] : [];
  // Above an enclave that ends below the runner comes the runner.
  const above = kept(BESIDE.ABOVE) ? [Math.max(base + size + PAGE, RUNNER_MEMORY.END)] : [];
  const places = [...below, ...above].filter(free);
  const near = base >= RUNNER_MEMORY.END ? size + bytes + PAGE : RUNNER_MEMORY.END + bytes;
  return near < REACH ? places.slice(0, 1) : places;
}

/** @throws CpuError PROCESSOR_ARGUMENT, PROCESSOR_LIMIT when an enclave cannot be started as asked */
export function checkStart(start: ProcessorStart, memory: MachineMemory): void {
  const bad = (what: string): never => {
    throw new CpuError('PROCESSOR_ARGUMENT', `The enclave cannot be started: ${what}.`);
  };
  const { base, size } = start;
  if (!aligned(base) || !aligned(size) || size === 0) bad(`BASEADDR ${base} or SIZE ${size} is misaligned`);
  const low = base + size < RUNNER_MEMORY.IMAGE;
  if ((!low && base < RUNNER_MEMORY.END) || base + size > USER_END)
    bad(`its ELRANGE at ${base} leaves user memory`);
  if (!Number.isInteger(Math.log2(size)) || base % size !== 0)
    bad(`its SIZE ${size} is not a power of two, or does not divide BASEADDR ${base}`);
  if (base < memory.ramBase + memory.ramBytes && memory.ramBase < base + size + PAGE)
    bad('its ELRANGE overlaps guest RAM or ends where that begins');
  if (start.gates.count + (memory.vm ? 1 : 0) > MAX_THREADS || start.threads.length > start.gates.count)
    throw new CpuError(
      'PROCESSOR_LIMIT',
      `An enclave with ${start.threads.length} threads and ${start.gates.count} gates cannot be started.`,
      {
        advice: `At most ${MAX_THREADS} gates are supported, and every TCS needs a bound gate page.`,
      },
    );
  // Numbers and addresses of the two modes collide.
  if (memory.vm && start.gates.descriptors) bad('a guest with a kernel of its own grants no descriptors');
  if (!aligned(start.ssaFrameBytes) || start.ssaFrameBytes === 0 || start.ssaFrameBytes >= 2 ** 32)
    bad('the SSA frame size is wrong');
  const gateBytes = start.gates.count * GATE.size + (memory.vm ? REVOKE.size : 0);
  if (!aligned(start.gates.gpa) || start.gates.gpa + gateBytes > memory.ramBytes)
    bad('its gate pages are not in guest RAM');
}

const rightsOf = ({ r, w, x }: PageRange) =>
  (r || w || x ? MAP_FLAG.R : 0) | (w ? MAP_FLAG.W : 0) | (x ? MAP_FLAG.X : 0);

function elrangeMaps(start: ProcessorStart, ranges: readonly PageRange[]): PlanMap[] {
  const maps: PlanMap[] = [];
  const epc = (offset: number, length: number, flags: number) => {
    if (length > 0)
      maps.push({
        address: start.base + offset,
        length,
        offset,
        file: PLAN_FILE.EPC,
        flags: flags | MAP_FLAG.USERFAULT,
      });
  };
  let end = Math.max(0, LOWEST_PAGE - start.base);
  for (const range of ranges) {
    const rights = rightsOf(range);
    if (rights === 0) continue;
    // Where no page is yet: mapped for the future, kept out of reach by userfaultfd (or by PROT_NONE without it).
    epc(end, range.offset - end, MAP_FLAG.R | MAP_FLAG.W);
    if (start.base + range.offset < LOWEST_PAGE)
      throw new CpuError(
        'PROCESSOR_ARGUMENT',
        `An enclave's page lies at ${start.base + range.offset}, where Linux maps nothing.`,
      );
    epc(range.offset, range.length, rights | MAP_FLAG.POPULATE);
    end = range.offset + range.length;
  }
  epc(end, start.size - end, MAP_FLAG.R | MAP_FLAG.W);
  return mergeMaps(maps);
}

/** The protections of a runner's ELRANGE right after its start. */
export function initialProtections(
  size: number,
  ranges: readonly PageRange[],
  userfault: boolean,
): Protections {
  const protections = new Protections(size, userfault ? MAP_FLAG.R | MAP_FLAG.W : 0);
  for (const range of ranges) {
    const rights = rightsOf(range);
    if (rights !== 0) protections.set(range.offset, range.length, rights);
  }
  return protections;
}

function mergeMaps(maps: readonly PlanMap[]): PlanMap[] {
  const out: PlanMap[] = [];
  for (const map of maps) {
    const last = out[out.length - 1];
    if (
      last &&
      last.file === map.file &&
      last.flags === map.flags &&
      last.address + last.length === map.address &&
      last.offset + last.length === map.offset
    )
      last.length += map.length;
    else out.push({ ...map });
  }
  return out;
}

/**
 * Writes the plan that a runner carries out.
 *
 * @param stub where the file of slots, trampolines and the site table is mapped; empty without patches
 * @param controlLength bytes of control memory
 * @param userfault whether the runner shall make a userfaultfd
 * @throws CpuError PROCESSOR_LIMIT (mappings)
 */
export function buildPlan(
  start: ProcessorStart,
  ranges: readonly PageRange[],
  stub: readonly StubPiece[],
  memory: MachineMemory,
  controlLength: number,
  userfault: boolean,
): Uint8Array {
  const { base, size } = start;
  const maps: PlanMap[] = [
    {
      address: memory.ramBase,
      length: memory.ramBytes,
      offset: 0,
      file: PLAN_FILE.RAM,
      flags: MAP_FLAG.R | MAP_FLAG.W,
    },
    {
      address: RUNNER_MEMORY.CONTROL,
      length: controlLength,
      offset: 0,
      file: PLAN_FILE.CONTROL,
      flags: MAP_FLAG.R | MAP_FLAG.W,
    },
    ...elrangeMaps(start, ranges),
  ];
  let spanStart = base;
  let spanEnd = base + size;
  for (const { address, offset, length, executable } of stub) {
    maps.push({
      address,
      length,
      offset,
      file: PLAN_FILE.STUB,
      flags: MAP_FLAG.R | (executable ? MAP_FLAG.X : 0),
    });
    if (address >= RUNNER_MEMORY.END) {
      spanStart = Math.min(spanStart, address);
      spanEnd = Math.max(spanEnd, address + length);
    }
  }
  if (maps.length > MAX_MAPS)
    throw new CpuError(
      'PROCESSOR_LIMIT',
      `The enclave needs ${maps.length} mappings; ${MAX_MAPS} are possible.`,
      {
        advice: 'Give neighbouring pages equal permissions.',
      },
    );
  const mapsAt = PLAN.size;
  const rangesAt = mapsAt + maps.length * PLAN_MAP.size;
  const bytes = new Uint8Array(rangesAt + ranges.length * PLAN_RANGE.size);
  writeFields(
    PLAN,
    {
      magic: PLAN_SIGNATURE,
      flags:
        (userfault ? PLAN_FLAG.USERFAULT : 0) |
        (start.debug ? PLAN_FLAG.DEBUG : 0) |
        (start.aexNotify ? PLAN_FLAG.AEXNOTIFY : 0) |
        (memory.vm ? PLAN_FLAG.VM : 0) |
        (start.gates.descriptors ? PLAN_FLAG.DESCRIPTORS : 0),
      base,
      size,
      ramBase: memory.ramBase,
      ramBytes: memory.ramBytes,
      doorbell: memory.doorbell,
      xfrm: start.xfrm,
      ssaFrameBytes: start.ssaFrameBytes,
      miscselect: start.miscselect,
      threads: start.gates.count,
      maps: maps.length,
      mapsAt,
      ranges: ranges.length,
      rangesAt,
      sites: stub.length > 0 ? MAX_SITES : 0,
      spanStart,
      spanEnd,
      gates: memory.ramBase + start.gates.gpa,
      wakeWord: memory.vm?.wakeWord ?? 0,
    },
    bytes,
  );
  maps.forEach((map, i) => {
    writeFields(PLAN_MAP, { ...map }, bytes, mapsAt + i * PLAN_MAP.size);
  });
  ranges.forEach((range, i) => {
    const permissions = (range.r ? MAP_FLAG.R : 0) | (range.w ? MAP_FLAG.W : 0) | (range.x ? MAP_FLAG.X : 0);
    writeFields(
      PLAN_RANGE,
      { address: base + range.offset, length: range.length, permissions },
      bytes,
      rangesAt + i * PLAN_RANGE.size,
    );
  });
  return bytes;
}
