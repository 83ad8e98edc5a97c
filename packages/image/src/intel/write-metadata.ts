/** Writing the blocks of `.note.sgxmeta`. Source: Intel SGX SDK for Linux, metadata.h. */
import { type Attributes, NsgxError, type StructInit, writeU32 } from '@nestedsgx/arch';
import { MAX_METADATA_BYTES } from './limits.js';
import {
  DIR_ELRANGE,
  DIR_EXTEND,
  DIR_LAYOUT,
  DIR_PATCH,
  ELRANGE_CONFIG_ENTRY,
  type ElrangeConfigEntry,
  EXTEND_ENTRY,
  EXTEND_ENTRY_ID_SHARED_OBJECT,
  hasElrange,
  hasExtend,
  LAYOUT_ENTRY,
  LAYOUT_GROUP,
  type LayoutEntry,
  type LayoutGroup,
  METADATA,
  METADATA_MAGIC,
  METADATA_NOTE,
  type Metadata,
  type MetadataVersion,
  PATCH_ENTRY,
  SHARED_OBJECT_ENTRY,
  type SharedObjectEntry,
} from './metadata-format.js';

/** A row of the layout table that is to be written; `content` becomes content_offset and content_size. */
export type LayoutRowInit =
  | { readonly entry: StructInit<LayoutEntry>; readonly content?: Uint8Array }
  | { readonly group: StructInit<LayoutGroup> };

/** A metadata block that is to be written. */
export interface MetadataInit
  extends StructInit<Omit<Metadata, 'magic_num' | 'version' | 'size' | 'dirs' | 'attributes'>> {
  readonly version: MetadataVersion;
  readonly attributes?: Attributes;
  readonly layout: readonly LayoutRowInit[];
  /** Bytes that replace those at file offset `dst` before the enclave is measured. */
  readonly patches?: readonly { readonly dst: bigint; readonly data: Uint8Array }[];
  /** Only with a version that has one (11.x, 13.x). */
  readonly elrange?: ElrangeConfigEntry;
  /** A second shared object in the file; only with a version that has extensions (1.5, 3.2 and above). */
  readonly sharedObject?: SharedObjectEntry;
}

/**
 * One metadata block: metadata_t with as many directories as its version has, contents, layout table, patch data,
 * patch table, ELRANGE. Throws IMAGE_TOO_LARGE and the codec's errors (CODEC_FIELD_RANGE, CODEC_FIELD_LENGTH).
 */
export function writeMetadata(init: MetadataInit): Uint8Array {
  const { version, layout, patches = [], elrange, sharedObject, ...fields } = init;
  const dirCount = hasExtend(version) ? 4 : hasElrange(version) ? 3 : 2;
  const parts: Uint8Array[] = [];
  let size = METADATA.offsets.dirs + 8 * dirCount;
  const append = (part: Uint8Array): number => {
    const at = size;
    parts.push(part);
    size += part.length;
    return at;
  };
  const contents = new Map<Uint8Array, number>();
  const table = layout.map((row) => {
    if ('group' in row) return LAYOUT_GROUP.encode(row.group);
    if (row.content === undefined) return LAYOUT_ENTRY.encode(row.entry);
    const content_offset = contents.get(row.content) ?? append(row.content);
    contents.set(row.content, content_offset);
    return LAYOUT_ENTRY.encode({ ...row.entry, content_offset, content_size: row.content.length });
  });
  const dirs = Array.from({ length: 4 }, () => ({ offset: 0, size: 0 }));
  const directory = (index: number, rows: readonly Uint8Array[]): void => {
    if (rows.length > 0) dirs[index] = { offset: append(concat(rows)), size: rows.length * rows[0].length };
  };
  directory(DIR_LAYOUT, table);
  const entries = patches.map(({ dst, data }) =>
    PATCH_ENTRY.encode({ dst, src: append(data), size: data.length }),
  );
  directory(DIR_PATCH, entries);
  if (elrange !== undefined && hasElrange(version))
    directory(DIR_ELRANGE, [ELRANGE_CONFIG_ENTRY.encode(elrange)]);
  if (sharedObject !== undefined && hasExtend(version)) {
    const offset = append(SHARED_OBJECT_ENTRY.encode(sharedObject));
    const entry = { entry_id: EXTEND_ENTRY_ID_SHARED_OBJECT, size: SHARED_OBJECT_ENTRY.size, offset };
    directory(DIR_EXTEND, [EXTEND_ENTRY.encode(entry)]);
  }
  if (size > MAX_METADATA_BYTES)
    throw new NsgxError(
      'IMAGE_TOO_LARGE',
      `metadata_t would have ${size} bytes, more than ${MAX_METADATA_BYTES}`,
    );
  const header = METADATA.encode({
    ...fields,
    magic_num: METADATA_MAGIC,
    version: (BigInt(version.major) << 32n) | BigInt(version.minor),
    size,
    dirs,
  });
  return concat([header.subarray(0, METADATA.offsets.dirs + 8 * dirCount), ...parts]);
}

/** The contents of the section `.note.sgxmeta`: one note that holds the blocks, its name not padded. */
export function writeMetadataSection(blocks: readonly Uint8Array[]): Uint8Array {
  const name = new TextEncoder().encode(`${METADATA_NOTE}\0`);
  const head = new Uint8Array(12);
  writeU32(head, 0, name.length);
  writeU32(
    head,
    4,
    blocks.reduce((sum, block) => sum + block.length, 0),
  );
  writeU32(head, 8, 1);
  return concat([head, name, ...blocks]);
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
