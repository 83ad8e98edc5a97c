/**
 * The layout table for loaders without EDMM, from the one with it. Source: Intel SGX SDK for Linux 2.26,
 * sdk/sign_tool/SignTool/sign_tool.cpp.
 */
import { stepOf } from './layout-plan.js';
import type { LayoutRow } from './metadata.js';
import { GROUP_FLAG, LAYOUT_ID, type LayoutEntry, PAGE_ATTR_POST_ADD } from './metadata-format.js';

const RESERVED: readonly number[] = [LAYOUT_ID.RSRV_MIN, LAYOUT_ID.RSRV_INIT, LAYOUT_ID.RSRV_MAX];
const CHANGED_ONCE: readonly number[] = [LAYOUT_ID.HEAP_INIT, LAYOUT_ID.HEAP_MAX, LAYOUT_ID.STACK_MAX];
/** Ranges that only EDMM adds: they stay address space. */
const NEVER_ADDED: readonly number[] = [LAYOUT_ID.HEAP_MAX, LAYOUT_ID.RSRV_MAX];

/**
 * Heap and first thread, then a group that stands for all other threads (`threads` in total), then reserved memory;
 * nothing is added at run time. Where only reserved memory follows the first thread, the table keeps its rows.
 */
export function rowsWithoutEdmm(rows: readonly LayoutRow[], threads: number): LayoutRow[] {
  const first = rows.findIndex(isEntry(LAYOUT_ID.GUARD));
  const last = rows.findIndex(isEntry(LAYOUT_ID.TD));
  const rest = rows.slice(last + 1);
  const head = withoutPostAdd(rows.slice(0, last + 1), CHANGED_ONCE);
  if (rest.length === 0) return head;
  if (isEntry(LAYOUT_ID.RSRV_MIN)(rest[0])) return [...head, ...withoutPostAdd(rest, RESERVED)];
  const thread = rows.slice(first, last + 1);
  return [
    ...head,
    {
      group: {
        id: GROUP_FLAG | LAYOUT_ID.THREAD_GROUP,
        entry_count: thread.length,
        load_times: threads - 1,
        load_step: stepOf(thread),
      },
    },
    ...withoutPostAdd(
      rest.filter((row) => 'entry' in row && RESERVED.includes(row.entry.id)),
      RESERVED,
    ),
  ];
}

function isEntry(id: number): (row: LayoutRow) => boolean {
  return (row) => 'entry' in row && row.entry.id === id;
}

function withoutPostAdd(rows: readonly LayoutRow[], ids: readonly number[]): LayoutRow[] {
  return rows.map((row) =>
    'entry' in row && ids.includes(row.entry.id) ? { entry: settled(row.entry) } : row,
  );
}

function settled(entry: LayoutEntry): LayoutEntry {
  return {
    ...entry,
    attributes: entry.attributes & ~PAGE_ATTR_POST_ADD,
    si_flags: NEVER_ADDED.includes(entry.id) ? 0n : entry.si_flags,
  };
}
