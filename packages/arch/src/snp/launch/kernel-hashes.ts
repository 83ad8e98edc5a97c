/**
 * The table of SHA-256 hashes with which a hypervisor that boots a kernel directly lets the firmware check
 * kernel, initrd and command line (QEMU, target/i386/sev.c; edk2, OvmfPkg/AmdSev/BlobVerifierLibSevHashes).
 */
import { NsgxError } from '../../errors.js';
import type { HashProvider } from '../../hash/provider.js';
import { guidBytes } from './firmware.js';

/** SHA-256 of each part, 32 bytes. */
export interface KernelHashes {
  readonly kernel: Uint8Array;
  /** Of the empty string when there is no initrd. */
  readonly initrd: Uint8Array;
  /** Of the command line with its terminating zero. */
  readonly cmdline: Uint8Array;
}

const TABLE_GUID = '9438d606-4f22-4cc9-b479-a793d411fd21';
const ENTRY_GUIDS = [
  ['cmdline', '97d02dd8-bd20-4c94-aa78-e7714d36ab2a'],
  ['initrd', '44baf731-3a2f-4bd7-9af1-41e29169781d'],
  ['kernel', '4de79437-abd2-427f-b835-d5b172d2045b'],
] as const;
const HEADER = 18;
const ENTRY = HEADER + 32;
const TABLE = HEADER + ENTRY_GUIDS.length * ENTRY;
/** QEMU pads the table to 16 bytes. */
const PADDED = (TABLE + 15) & ~15;

/** SHA-256 of a command line as the table wants it: with a terminating zero, also when it is empty. */
export function hashCommandLine(hash: HashProvider, text: string): Uint8Array {
  return hash
    .sha256()
    .update(new TextEncoder().encode(`${text}\0`))
    .digest();
}

/** The page of 4096 bytes that holds the table at `offset`. Throws SNP_LAUNCH_OPTION. */
export function kernelHashesPage(hashes: KernelHashes, offset: number): Uint8Array {
  if (offset + PADDED > 4096)
    throw new NsgxError('SNP_LAUNCH_OPTION', `a table of kernel hashes does not fit at offset ${offset}`);
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  page.set(guidBytes(TABLE_GUID), offset);
  view.setUint16(offset + 16, TABLE, true);
  ENTRY_GUIDS.forEach(([part, guid], i) => {
    const at = offset + HEADER + i * ENTRY;
    if (hashes[part].length !== 32)
      throw new NsgxError('SNP_LAUNCH_OPTION', `the SHA-256 of the ${part} has ${hashes[part].length} bytes`);
    page.set(guidBytes(guid), at);
    view.setUint16(at + 16, ENTRY, true);
    page.set(hashes[part], at + HEADER);
  });
  return page;
}
