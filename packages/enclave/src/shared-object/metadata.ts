/**
 * A linked file as an enclave in Intel's format: its metadata with the layout of heap and threads. Source: Intel SGX SDK
 * for Linux, common/inc/internal/metadata.h. Threads are alike in the image; the runtime fills their data when they are
 * first entered (native/runtime/thread.c).
 */
import { type Attributes, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import {
  type LayoutEntry,
  type LayoutRowInit,
  METADATA_SECTION,
  PAGE_ATTR_EADD,
  PAGE_ATTR_EEXTEND,
  SI_FLAG_REG,
  SI_FLAGS_TCS,
  TCS_TEMPLATE,
  writeMetadata,
  writeMetadataSection,
} from '@nestedsgx/image';
import { enclaveError } from '../errors.js';
import { type LayoutConfig, type MemoryPlan, planMemory } from '../layout.js';

const PAGE = 4096;
/** Elf64_Ehdr.e_type: ld writes ET_EXEC for position-independent files whose first page is left out. */
const E_TYPE_AT = 16;
const ET_DYN = 3;
/** The latest version without dynamic memory. */
const VERSION = Object.freeze({ major: 1, minor: 5 });
const TCS_POLICY_UNBIND = 1;
/** Layout ids, as of metadata.h. */
const HEAP_MIN = 1;
const TCS = 4;
const TD = 5;
const SSA = 6;
const STACK_MIN = 8;
const GUARD = 10;
const THREAD_GROUP = 0x1009;
const READ_WRITE = BigInt(SI_FLAG_REG | SECINFO_R | SECINFO_W);
const MEASURED = PAGE_ATTR_EADD | PAGE_ATTR_EEXTEND;

/** Settings that the metadata hold beside the layout. */
export interface MetadataSettings {
  readonly miscselect: number;
  readonly attributes: Attributes;
}

/** A file that needs nothing but its signature. */
export interface UnsignedSharedObject {
  readonly bytes: Uint8Array;
  readonly plan: MemoryPlan;
}

/**
 * Writes layout and metadata into a linked file (copied). The signature in it is empty.
 *
 * Throws ELF_MALFORMED, ELF_UNSUPPORTED, LAYOUT_TOO_LARGE.
 */
export function writeSharedObject(
  linked: Uint8Array,
  config: LayoutConfig,
  settings: MetadataSettings,
): UnsignedSharedObject {
  const bytes = linked.slice();
  const plan = planMemory(bytes, config);
  bytes.set(plan.layout, plan.layoutSection.offset);
  bytes[E_TYPE_AT] = ET_DYN;
  const block = writeMetadata({
    version: VERSION,
    tcs_policy: TCS_POLICY_UNBIND,
    ssa_frame_size: 1,
    desired_misc_select: settings.miscselect,
    tcs_min_pool: 1,
    enclave_size: BigInt(plan.size),
    attributes: settings.attributes,
    layout: layoutRows(plan, config),
  });
  const note = writeMetadataSection([block]);
  const room = plan.file.sections.find(({ name }) => name === METADATA_SECTION);
  if (room === undefined || room.size < note.length || room.offset + room.size > bytes.length)
    throw enclaveError(
      'ELF_UNSUPPORTED',
      `the linked enclave has no room for ${note.length} bytes of metadata`,
    );
  bytes.set(note, room.offset);
  return { bytes, plan };
}

function layoutRows(plan: MemoryPlan, config: LayoutConfig): LayoutRowInit[] {
  const { shape, firstThread, file } = plan;
  const row = (id: number, from: number, to: number, attributes: number): LayoutRowInit => ({
    entry: {
      id,
      attributes,
      page_count: (to - from) / PAGE,
      rva: BigInt(firstThread + from),
      si_flags: id === GUARD ? 0n : READ_WRITE,
    },
  });
  const heap: LayoutEntry = {
    id: HEAP_MIN,
    attributes: PAGE_ATTR_EADD,
    page_count: plan.heapSize / PAGE,
    rva: BigInt(plan.heapOffset),
    content_size: 0,
    content_offset: 0,
    si_flags: READ_WRITE,
  };
  const fromTcs = (at: number) => BigInt.asUintN(64, BigInt(at - shape.tcs));
  const tcs = TCS_TEMPLATE.encode({
    ossa: fromTcs(shape.ssa),
    nssa: config.ssaFrames,
    oentry: BigInt(file.entry),
    ofs_base: fromTcs(shape.threadData),
    ogs_base: fromTcs(shape.threadData),
    ofs_limit: PAGE - 1,
    ogs_limit: PAGE - 1,
  });
  const thread: LayoutRowInit[] = [
    row(GUARD, 0, shape.stackLow, 0),
    row(STACK_MIN, shape.stackLow, shape.stackTop, MEASURED),
    row(GUARD, shape.stackTop, shape.exceptionLow, 0),
    row(STACK_MIN, shape.exceptionLow, shape.exceptionTop, MEASURED),
    row(GUARD, shape.exceptionTop, shape.ssa, 0),
    row(SSA, shape.ssa, shape.locals, MEASURED),
    row(TD, shape.locals, shape.tcs, MEASURED),
    {
      entry: {
        id: TCS,
        attributes: MEASURED,
        page_count: 1,
        rva: BigInt(firstThread + shape.tcs),
        si_flags: BigInt(SI_FLAGS_TCS),
      },
      content: tcs,
    },
  ];
  const group = {
    id: THREAD_GROUP,
    entry_count: thread.length,
    load_times: config.threads - 1,
    load_step: BigInt(shape.stride),
  };
  return [{ entry: heap }, ...thread, { group }];
}
