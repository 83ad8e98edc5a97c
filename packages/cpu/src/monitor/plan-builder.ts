import type { PageRange, ProcessorStart } from '@nestedsgx/arch';
import { CpuError } from '../errors.js';
import { TCS_FLAG } from '../layout/control.js';
import { GATE } from '../layout/gate.js';
import { MAX_MAPS, MAX_THREADS, RUNNER_MEMORY } from '../layout/memory.js';
import {
  MAP_FLAG,
  PLAN,
  PLAN_FILE,
  PLAN_FLAG,
  PLAN_MAP,
  PLAN_RANGE,
  PLAN_SIGNATURE,
  PLAN_SITE,
  PLAN_THREAD,
} from '../layout/plan.js';
import { writeFields } from '../layout/writer.js';
import type { Overlay } from './overlay.js';

const PAGE = 4096;
/** Highest user address of x86-64 with four-level paging, less a guard. */
const USER_END = 0x7fff_ffff_0000;

/** Guest RAM and doorbell as every process of the machine maps them. */
export interface MachineMemory {
  ramBase: number;
  ramBytes: number;
  /** Virtual address of the machine's doorbell word, or 0. */
  doorbell: number;
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

/** Start addresses for trampolines beside the ELRANGE that collide with nothing. */
export function placesBeside(base: number, size: number, memory: MachineMemory, bytes: number): number[] {
  const free = (at: number) =>
    at >= RUNNER_MEMORY.END &&
    at + bytes <= USER_END &&
    (at + bytes <= memory.ramBase || at >= memory.ramBase + memory.ramBytes);
  return [base - bytes, base + size].filter(free);
}

function checkStart(start: ProcessorStart, memory: MachineMemory): void {
  const bad = (what: string): never => {
    throw new CpuError('PROCESSOR_ARGUMENT', `The enclave cannot be started: ${what}.`);
  };
  const { base, size } = start;
  if (!aligned(base) || !aligned(size) || size === 0) bad(`BASEADDR ${base} or SIZE ${size} is misaligned`);
  if (base < RUNNER_MEMORY.END || base + size > USER_END) bad(`its ELRANGE at ${base} leaves user memory`);
  if (base < memory.ramBase + memory.ramBytes && memory.ramBase < base + size)
    bad('its ELRANGE overlaps guest RAM');
  if (start.threads.length > MAX_THREADS || start.threads.length > start.gates.count)
    throw new CpuError(
      'PROCESSOR_LIMIT',
      `An enclave with ${start.threads.length} threads cannot be started.`,
      {
        advice: `At most ${MAX_THREADS} TCS are supported, and every TCS needs a bound gate page.`,
      },
    );
  if (!aligned(start.ssaFrameBytes) || start.ssaFrameBytes === 0 || start.ssaFrameBytes >= 2 ** 32)
    bad('the SSA frame size is wrong');
  if (!aligned(start.gates.gpa) || start.gates.gpa + start.gates.count * GATE.size > memory.ramBytes)
    bad('its gate pages are not in guest RAM');
}

function elrangeMaps(
  start: ProcessorStart,
  ranges: readonly PageRange[],
  overlay: Overlay | null,
): PlanMap[] {
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
  const patched = overlay?.pages ?? [];
  let nextPatch = 0;
  let end = 0;
  for (const range of ranges) {
    // Where no page is yet: mapped for the future, kept out of reach by userfaultfd (or by PROT_NONE without it).
    epc(end, range.offset - end, MAP_FLAG.R | MAP_FLAG.W);
    const readable = range.r || range.x;
    const flags =
      (readable ? MAP_FLAG.R | MAP_FLAG.POPULATE : 0) |
      (range.w ? MAP_FLAG.W : 0) |
      (range.x ? MAP_FLAG.X : 0);
    const rangeEnd = range.offset + range.length;
    let at = range.offset;
    for (; nextPatch < patched.length && patched[nextPatch]!.offset < rangeEnd; nextPatch++) {
      const { offset, fileOffset } = patched[nextPatch]!;
      epc(at, offset - at, flags);
      maps.push({
        address: start.base + offset,
        length: PAGE,
        offset: fileOffset,
        file: PLAN_FILE.OVERLAY,
        flags: flags | MAP_FLAG.USERFAULT,
      });
      at = offset + PAGE;
    }
    epc(at, rangeEnd - at, flags);
    end = rangeEnd;
  }
  epc(end, start.size - end, MAP_FLAG.R | MAP_FLAG.W);
  return mergeMaps(maps);
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
 * @param controlLength bytes of control memory
 * @param userfault whether the runner shall make a userfaultfd
 * @throws CpuError PROCESSOR_ARGUMENT, PROCESSOR_LIMIT
 */
export function buildPlan(
  start: ProcessorStart,
  ranges: readonly PageRange[],
  overlay: Overlay | null,
  memory: MachineMemory,
  controlLength: number,
  userfault: boolean,
): Uint8Array {
  checkStart(start, memory);
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
    ...elrangeMaps(start, ranges, overlay),
  ];
  let spanStart = base;
  let spanEnd = base + size;
  for (const { address, offset, length, executable } of overlay?.stub ?? []) {
    maps.push({
      address,
      length,
      offset,
      file: PLAN_FILE.OVERLAY,
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
  const sites = overlay?.sites ?? [];
  const threadsAt = PLAN.size;
  const mapsAt = threadsAt + start.threads.length * PLAN_THREAD.size;
  const rangesAt = mapsAt + maps.length * PLAN_MAP.size;
  const sitesAt = rangesAt + ranges.length * PLAN_RANGE.size;
  const bytes = new Uint8Array(sitesAt + sites.length * PLAN_SITE.size);
  writeFields(
    PLAN,
    {
      magic: PLAN_SIGNATURE,
      flags:
        (userfault ? PLAN_FLAG.USERFAULT : 0) |
        (start.debug ? PLAN_FLAG.DEBUG : 0) |
        (start.aexNotify ? PLAN_FLAG.AEXNOTIFY : 0),
      base,
      size,
      ramBase: memory.ramBase,
      ramBytes: memory.ramBytes,
      doorbell: memory.doorbell,
      xfrm: start.xfrm,
      ssaFrameBytes: start.ssaFrameBytes,
      miscselect: start.miscselect,
      threads: start.threads.length,
      threadsAt,
      maps: maps.length,
      mapsAt,
      ranges: ranges.length,
      rangesAt,
      sites: sites.length,
      sitesAt,
      spanStart,
      spanEnd,
    },
    bytes,
  );
  start.threads.forEach((thread, i) => {
    const linear = (offset: number) => BigInt(base) + BigInt(offset);
    writeFields(
      PLAN_THREAD,
      {
        tcs: linear(thread.tcsOffset),
        ssa: linear(thread.ossa),
        entry: linear(thread.oentry),
        fsBase: linear(thread.ofsbase),
        gsBase: linear(thread.ogsbase),
        gate: memory.ramBase + start.gates.gpa + i * GATE.size,
        nssa: thread.nssa,
        flags: (thread.debugOptIn ? TCS_FLAG.DBGOPTIN : 0) | (thread.aexNotify ? TCS_FLAG.AEXNOTIFY : 0),
      },
      bytes,
      threadsAt + i * PLAN_THREAD.size,
    );
  });
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
  sites.forEach((site, i) => {
    writeFields(PLAN_SITE, { enclu: site.enclu, leaf: site.leaf }, bytes, sitesAt + i * PLAN_SITE.size);
  });
  return bytes;
}
