/** An enclave of Intel's SDK (`.signed.so`) as fields for `nsgx inspect`. */
import { SIGSTRUCT } from '@nestedsgx/arch';
import {
  containsEnclu,
  type DynamicRange,
  GROUP_FLAG,
  type IntelImage,
  LAYOUT_IDS,
  type MetadataVersion,
  PAGE_ATTR_NAMES,
  TCS_TEMPLATE,
  trustedRuntimeVersion,
} from '@nestedsgx/image';
import { plain } from './fields.js';
import { hex } from './files.js';

const PAGE = 4096;

/** What the metadata says, under the SDK's names; sizes in bytes. */
export function intelFields(image: IntelImage): Record<string, unknown> {
  const { blocks, chosen, layout, relocationPages } = image.source;
  const { metadata } = chosen;
  const fields = SIGSTRUCT.decode(image.sigstruct);
  const bytesOf = (...names: string[]): number =>
    layout.filter(({ name }) => names.includes(name)).reduce((sum, range) => sum + range.pages * PAGE, 0);
  const perThread = (...names: string[]): number => {
    const first = names.map((name) => layout.find((range) => range.name === name)?.pages ?? 0);
    return first.reduce((sum, pages) => sum + pages, 0) * PAGE;
  };
  const tcs = layout.find(({ name }) => name === 'TCS');
  return {
    sdkVersion: trustedRuntimeVersion(image.source) ?? 'unknown',
    mode: image.source.simulation
      ? 'simulation: cannot run; build with SGX_MODE=HW'
      : containsEnclu(image.source)
        ? 'hardware'
        : 'no ENCLU: cannot run',
    metadataVersions: blocks.map(({ version }) => versionText(version)).join(', '),
    metadataUsed: versionText(chosen.version),
    tcsPolicy: image.tcsPolicy,
    tcsMinPool: image.tcsMinPool,
    maxSaveBufferSize: metadata.max_save_buffer_size,
    threads: image.threads.filter(({ dynamic }) => !dynamic).length,
    dynamicThreads: image.threads.filter(({ dynamic }) => dynamic).length,
    heapMinBytes: bytesOf('HEAP_MIN'),
    heapInitBytes: bytesOf('HEAP_MIN', 'HEAP_INIT'),
    heapMaxBytes: bytesOf('HEAP_MIN', 'HEAP_INIT', 'HEAP_MAX'),
    stackMinBytes: perThread('STACK_MIN'),
    stackMaxBytes: perThread('STACK_MIN', 'STACK_MAX'),
    reservedBytes: bytesOf('RSRV_MIN', 'RSRV_INIT', 'RSRV_MAX'),
    dynamicBytes: image.dynamic.filter(isLater).reduce((sum, range) => sum + range.size, 0),
    relocationPages: relocationPages.size,
    patches: chosen.patches.map(({ dst, size }) => `${size} bytes at 0x${dst.toString(16)}`).join(', '),
    ...(image.elrange === null ? {} : { elrange: plain(image.elrange) }),
    ...(tcs === undefined || tcs.entry.content_size !== TCS_TEMPLATE.size
      ? {}
      : { tcsTemplate: plain(TCS_TEMPLATE.decode(chosen.bytes, tcs.entry.content_offset)) }),
    vendor: `0x${fields.VENDOR.toString(16)}`,
    date: fields.DATE.toString(16).padStart(8, '0'),
    attributeMask: plain(fields.ATTRIBUTEMASK),
    isvFamilyId: hex(fields.ISVFAMILYID),
    isvExtProdId: hex(fields.ISVEXTPRODID),
  };
}

/** The layout table, one object a row. */
export function layoutTable(image: IntelImage): Record<string, unknown>[] {
  return image.source.chosen.layout.map((row) => {
    if ('group' in row) {
      const { id, entry_count, load_times, load_step } = row.group;
      return {
        id: LAYOUT_IDS.get(id) ?? `group ${id & ~GROUP_FLAG}`,
        ...plainRow({ entry_count, load_times, load_step }),
      };
    }
    const { id, attributes, ...rest } = row.entry;
    return {
      id: LAYOUT_IDS.get(id) ?? String(id),
      attributes: PAGE_ATTR_NAMES.filter((_, bit) => ((attributes >> bit) & 1) !== 0).join(' '),
      ...plainRow(rest),
    };
  });
}

/** The rows of {@link layoutTable} as cells, with a heading. */
export function layoutCells(image: IntelImage): string[][] {
  const heading = ['', 'id', 'pages', 'rva', 'flags', 'attributes'];
  const rows = layoutTable(image).map((row, i) => {
    const cell = (name: string): string => String(row[name] ?? '');
    if ('load_times' in row)
      return [
        `${i}`,
        cell('id'),
        '',
        '',
        '',
        `${cell('entry_count')} entries × ${cell('load_times')}, step ${cell('load_step')}`,
      ];
    return [`${i}`, cell('id'), cell('page_count'), cell('rva'), cell('si_flags'), cell('attributes')];
  });
  return [heading, ...rows];
}

function plainRow(row: object): object {
  return plain(row) as object;
}

function isLater(range: DynamicRange): boolean {
  return range.postAdd && !range.added;
}

function versionText({ major, minor }: MetadataVersion): string {
  return `${major}.${minor}`;
}
