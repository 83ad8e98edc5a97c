/**
 * g_global_data: what the trusted runtime knows of its enclave, patched in before measuring. Source: Intel SGX SDK
 * for Linux 2.26, common/inc/internal/global_data.h, thread_data.h; psw/urts/parser/update_global_data.hxx.
 */
import { array, at, bytes, NsgxError, struct, u32, u64, writeU32 } from '@nestedsgx/arch';
import { PAGE } from '../sgxs/format.js';
import type { EnclaveConfig } from './config.js';
import { firstEntry, type LayoutPlan } from './layout-plan.js';
import type { LayoutRow } from './metadata.js';
import { LAYOUT_ENTRY, LAYOUT_GROUP, LAYOUT_ID } from './metadata-format.js';
import type { UnsignedSo } from './unsigned-so.js';

/** GPRSGX, at the end of an SSA frame, in bytes. */
const GPRSGX_SIZE = 184;
/** Rows that global_data_t has room for. */
const LAYOUT_ENTRY_NUM = 43;

/** thread_data_t (192 bytes): the start of every thread's TD page; addresses are relative to the TCS. */
const THREAD_DATA = struct('thread_data_t', 192, {
  self_addr: at(0, u64),
  last_sp: at(8, u64),
  stack_base_addr: at(16, u64),
  stack_limit_addr: at(24, u64),
  first_ssa_gpr: at(32, u64),
  xsave_size: at(56, u64),
  first_ssa_xsave: at(88, u64),
  tls_addr: at(104, u64),
  tls_array: at(112, u64),
});

/** global_data_t as of 2.20 (1760 bytes); 2.25 appended fips_on and padding (1768). */
export const GLOBAL_DATA = struct('global_data_t', 1760, {
  enclave_size: at(8, u64),
  heap_offset: at(16, u64),
  heap_size: at(24, u64),
  rsrv_offset: at(32, u64),
  rsrv_size: at(40, u64),
  rsrv_executable: at(48, u64),
  thread_policy: at(56, u64),
  tcs_max_num: at(64, u64),
  tcs_num: at(72, u64),
  td_template: at(80, THREAD_DATA),
  tcs_template: at(272, bytes(72)),
  layout_entry_num: at(344, u32),
  layout_table: at(352, array(bytes(32), LAYOUT_ENTRY_NUM)),
  enclave_image_address: at(1728, u64),
  elrange_start_address: at(1736, u64),
  elrange_size: at(1744, u64),
  edmm_bk_overhead: at(1752, u64),
});
const FIPS_FIELD_SIZE = 8;

/** Rows of the layout table as bytes. */
export function layoutBytes(rows: readonly LayoutRow[]): Uint8Array[] {
  return rows.map((row) =>
    'group' in row ? LAYOUT_GROUP.encode(row.group) : LAYOUT_ENTRY.encode(row.entry),
  );
}

/** The bytes that replace g_global_data. Throws IMAGE_LAYOUT when the layout has more rows than fit. */
export function globalData(so: UnsignedSo, { values }: EnclaveConfig, plan: LayoutPlan): Uint8Array {
  const u = (value: bigint): bigint => BigInt.asUintN(64, value);
  const tcs = firstEntry(plan.rows, LAYOUT_ID.TCS)!;
  const relative = (id: number): bigint => firstEntry(plan.rows, id)!.rva - tcs.rva;
  const reserved = firstEntry(plan.rows, LAYOUT_ID.RSRV_MIN);
  const stackBase = relative(LAYOUT_ID.STACK_MIN) + values.StackMinSize;
  const ssa = relative(LAYOUT_ID.SSA);
  const threadPages = firstEntry(plan.rows, LAYOUT_ID.TD)!.page_count;
  const td = relative(LAYOUT_ID.TD) + BigInt((threadPages - 1) * PAGE);
  if (plan.rows.length > LAYOUT_ENTRY_NUM)
    throw new NsgxError(
      'IMAGE_LAYOUT',
      `the layout has ${plan.rows.length} rows, more than ${LAYOUT_ENTRY_NUM}`,
    );
  const table = layoutBytes(plan.rows);
  const elrange = values.ELRangeSize !== 0n;
  const known = GLOBAL_DATA.encode({
    enclave_size: plan.enclaveSize,
    heap_offset: firstEntry(plan.rows, LAYOUT_ID.HEAP_MIN)!.rva,
    heap_size: values.HeapInitSize,
    rsrv_offset: reserved?.rva ?? 0n,
    rsrv_size: reserved === undefined ? 0n : values.ReservedMemInitSize,
    rsrv_executable: reserved === undefined ? 0n : values.ReservedMemExecutable,
    thread_policy: values.TCSPolicy,
    tcs_max_num: values.TCSMaxNum,
    tcs_num: values.TCSNum,
    td_template: {
      self_addr: u(td),
      last_sp: u(stackBase),
      stack_base_addr: u(stackBase),
      stack_limit_addr: u(stackBase - values.StackMaxSize),
      first_ssa_gpr: u(ssa + BigInt(plan.state.ssaFrameSize * PAGE - GPRSGX_SIZE)),
      xsave_size: BigInt(plan.state.xsaveSize),
      first_ssa_xsave: u(ssa),
      tls_addr: u(so.tlsBytes === 0 ? relative(LAYOUT_ID.TD) : td - BigInt(so.tlsBytes)),
      tls_array: u(td + BigInt(THREAD_DATA.offsets.tls_addr)),
    },
    tcs_template: plan.tcsTemplate,
    layout_entry_num: table.length,
    layout_table: [
      ...table,
      ...Array.from({ length: LAYOUT_ENTRY_NUM - table.length }, () => new Uint8Array(32)),
    ],
    enclave_image_address: elrange ? values.EnclaveImageAddress : 0n,
    elrange_start_address: elrange ? values.ELRangeStartAddress : 0n,
    elrange_size: elrange ? values.ELRangeSize : so.release.elrangeDefaultsToEnclave ? plan.enclaveSize : 0n,
    edmm_bk_overhead: plan.bookkeeping,
  });
  if (!so.release.fipsField) return known;
  const out = new Uint8Array(known.length + FIPS_FIELD_SIZE);
  out.set(known);
  writeU32(out, known.length, Number(values.EnableIPPFIPS));
  return out;
}
