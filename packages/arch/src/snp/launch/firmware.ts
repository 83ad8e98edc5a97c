/**
 * Guest firmware images as SNP hypervisors load them: the table of GUIDed entries before the reset vector
 * (edk2, OvmfPkg/ResetVector) and the SEV metadata that names the pages to prepare.
 */
import { NsgxError } from '../../errors.js';

/** Kinds of metadata sections (edk2, OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm). */
export const FIRMWARE_SECTION = Object.freeze({
  SNP_SEC_MEM: 1,
  SNP_SECRETS: 2,
  CPUID: 3,
  SVSM_CAA: 4,
  SNP_KERNEL_HASHES: 0x10,
} as const);

/** A range that the hypervisor prepares before launch. */
export interface FirmwareSection {
  readonly type: number;
  readonly gpa: number;
  readonly size: number;
}

/** A parsed image. */
export interface Firmware {
  readonly bytes: Uint8Array;
  /** The entries of the table, by GUID in lower case, without their headers. */
  readonly table: ReadonlyMap<string, Uint8Array>;
  readonly sections: readonly FirmwareSection[];
}

const FOOTER_GUID = '96b582de-1fb2-45f7-baea-a366c55a082d';
const HASH_TABLE_GUID = '7255371f-3a3b-4b04-927b-1da6efa8d454';
const RESET_BLOCK_GUID = '00f771de-1a7e-4fcb-890e-68c77e2fb44e';
const METADATA_GUID = 'dc886566-984a-4798-a75e-5585a7bf67cc';
const SVSM_INFO_GUID = 'a789a612-0597-4c4b-a49f-cbb1fe9d1ddd';

const PAGE = 4096;
const MAX_BYTES = 64 * 1024 * 1024;
const ENTRY_HEADER = 18;
/** The table ends this many bytes before the end of the image: the reset vector is behind it. */
const TABLE_END = 32;
const METADATA_SIGNATURE = 0x56455341; // "ASEV"
const METADATA_HEADER = 16;
const SECTION_BYTES = 12;
const MAX_SECTIONS = 64;
/** Largest section: no firmware prepares more, and each page costs a hash. */
const MAX_SECTION_BYTES = 256 * 1024 * 1024;

function refuse(reason: string): never {
  throw new NsgxError('SNP_FIRMWARE', `the firmware image ${reason}`, {
    advice: 'Give the file that the hypervisor loads: a build of OVMF for AMD SEV, or of an SVSM.',
  });
}

/** A GUID of a binary structure (first three parts little endian) as text. */
export function guidText(b: Uint8Array, at = 0): string {
  const hex = Array.from(b.subarray(at, at + 16), (byte) => byte.toString(16).padStart(2, '0'));
  const order = [3, 2, 1, 0, -1, 5, 4, -1, 7, 6, -1, 8, 9, -1, 10, 11, 12, 13, 14, 15];
  return order.map((i) => (i < 0 ? '-' : hex[i])).join('');
}

/** The inverse of {@link guidText}. */
export function guidBytes(text: string): Uint8Array {
  const digits = text.replaceAll('-', '');
  const b = Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
  b.subarray(0, 4).reverse();
  b.subarray(4, 6).reverse();
  b.subarray(6, 8).reverse();
  return b;
}

function readTable(bytes: Uint8Array): Map<string, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const table = new Map<string, Uint8Array>();
  const footer = bytes.length - TABLE_END - ENTRY_HEADER;
  if (guidText(bytes, footer + 2) !== FOOTER_GUID) return table;
  const size = view.getUint16(footer, true);
  const start = footer + ENTRY_HEADER - size;
  if (size < ENTRY_HEADER || start < 0) refuse(`has a table of ${size} bytes at its end`);
  let end = footer;
  while (end - start >= ENTRY_HEADER) {
    const length = view.getUint16(end - ENTRY_HEADER, true);
    if (length < ENTRY_HEADER || length > end - start)
      refuse(`has a table entry of ${length} bytes, ${end - start} are left of the table`);
    const guid = guidText(bytes, end - ENTRY_HEADER + 2);
    if (table.has(guid)) refuse(`has two table entries ${guid}`);
    table.set(guid, bytes.slice(end - length, end - ENTRY_HEADER));
    end -= length;
  }
  if (end !== start) refuse(`has ${end - start} stray bytes in its table`);
  return table;
}

function readSections(bytes: Uint8Array, entry: Uint8Array | undefined): FirmwareSection[] {
  if (entry === undefined) return [];
  const start = bytes.length - u32(entry, 'the place of the metadata');
  if (start < 0 || start + METADATA_HEADER > bytes.length) refuse('has metadata outside of itself');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(start, true) !== METADATA_SIGNATURE) refuse('has metadata without their signature');
  const version = view.getUint32(start + 8, true);
  if (version !== 1) refuse(`has metadata of version ${version}; 1 is known`);
  const count = view.getUint32(start + 12, true);
  const size = view.getUint32(start + 4, true);
  if (count > MAX_SECTIONS || size < METADATA_HEADER + count * SECTION_BYTES || start + size > bytes.length)
    refuse(`has ${count} metadata sections in ${size} bytes`);
  return Array.from({ length: count }, (_, i) => {
    const at = start + METADATA_HEADER + i * SECTION_BYTES;
    const section = {
      gpa: view.getUint32(at, true),
      size: view.getUint32(at + 4, true),
      type: view.getUint32(at + 8, true),
    };
    if (section.gpa % PAGE !== 0 || section.size % PAGE !== 0 || section.size > MAX_SECTION_BYTES)
      refuse(`has a metadata section at 0x${section.gpa.toString(16)} of ${section.size} bytes`);
    return section;
  });
}

function u32(entry: Uint8Array | undefined, what: string): number {
  if (entry === undefined || entry.length < 4) return refuse(`does not say ${what}`);
  return new DataView(entry.buffer, entry.byteOffset, 4).getUint32(0, true);
}

/**
 * Parses an image: whole pages, at most 64 MiB. An image without the table parses too; what needs an entry
 * asks for it.
 *
 * Throws SNP_FIRMWARE.
 */
export function parseFirmware(bytes: Uint8Array): Firmware {
  if (bytes.length === 0 || bytes.length % PAGE !== 0 || bytes.length > MAX_BYTES)
    refuse(`has ${bytes.length} bytes; whole pages of 4096, 64 MiB at most, are needed`);
  const table = readTable(bytes);
  return { bytes, table, sections: readSections(bytes, table.get(METADATA_GUID)) };
}

/** Where vCPUs after the first one start. Throws SNP_FIRMWARE. */
export function resetAddress(firmware: Firmware): number {
  return u32(firmware.table.get(RESET_BLOCK_GUID), 'where further vCPUs start (SEV-ES reset block)');
}

/** Guest-physical address of the table of kernel hashes; 0 when the firmware takes none. */
export function hashTableAddress(firmware: Firmware): number {
  const entry = firmware.table.get(HASH_TABLE_GUID);
  return entry === undefined ? 0 : u32(entry, 'where the kernel hashes go');
}

/** Where an SVSM starts, counted from its first byte. Throws SNP_FIRMWARE. */
export function svsmEntry(firmware: Firmware): number {
  return u32(firmware.table.get(SVSM_INFO_GUID), 'where it starts (SVSM information)');
}
