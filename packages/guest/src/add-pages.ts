/** The checks of SGX_IOC_ENCLAVE_ADD_PAGES, in the order of Linux's driver. */
import { PT_REG, PT_TCS } from '@nestedsgx/arch';
import { type ErrnoName, SgxIoctlError } from './errors.js';
import type { GuestBlock } from './memory.js';

const PAGE = 4096;

/** Flag of `addPages`: EEXTEND every 256-byte chunk of the pages. */
export const SGX_PAGE_MEASURE = 1;

/** Argument of `addPages`; `offset` and `length` in bytes, `secinfo` the 64-byte structure. */
export interface AddPages {
  /** Page contents: bytes of this process, or a page-aligned block of guest RAM (then nothing is copied). */
  src: Uint8Array | GuestBlock;
  offset: number;
  length: number;
  secinfo: Uint8Array;
  flags: number;
}

/** What Linux checks of offset and length of every operation on a range. @throws SgxIoctlError EINVAL */
export function checkRange(offset: number, length: number, size: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || offset % PAGE !== 0)
    throw fail('EINVAL', `offset ${offset} is not page aligned`);
  if (!Number.isSafeInteger(length) || length <= 0 || length % PAGE !== 0)
    throw fail('EINVAL', `length ${length} is not a positive number of whole pages`);
  if (offset + length > size)
    throw fail('EINVAL', `pages ${offset}+${length} end beyond the enclave's ${size} bytes`);
}

/** @throws SgxIoctlError EINVAL, EFAULT */
export function checkAddPages(args: AddPages, size: number): void {
  const { offset, length, secinfo, flags } = args;
  if ((flags & ~SGX_PAGE_MEASURE) !== 0) throw fail('EINVAL', `unknown flags 0x${flags.toString(16)}`);
  checkRange(offset, length, size);
  const sourceLength = args.src.length;
  if (sourceLength < length) throw fail('EFAULT', `the source has ${sourceLength} of ${length} bytes`);
  if (!(args.src instanceof Uint8Array) && args.src.gpa % PAGE !== 0)
    throw fail('EINVAL', 'the source is not page aligned');
  checkSecinfo(secinfo);
}

/** Type REG or TCS, W needs R, TCS without permissions, reserved bits zero. */
function checkSecinfo(secinfo: Uint8Array): void {
  if (secinfo.length !== 64) throw fail('EFAULT', `a SECINFO has 64 bytes, not ${secinfo.length}`);
  const low = new DataView(secinfo.buffer, secinfo.byteOffset).getUint32(0, true);
  const permissions = low & 7;
  const type = (low >>> 8) & 0xff;
  if (type !== PT_REG && type !== PT_TCS) throw fail('EINVAL', `page type ${type} cannot be added`);
  if ((permissions & 2) !== 0 && (permissions & 1) === 0)
    throw fail('EINVAL', 'a writable page must be readable');
  if (type === PT_TCS && permissions !== 0) throw fail('EINVAL', 'a TCS has no permissions');
  if ((low & ~0xff07) !== 0 || secinfo.subarray(4).some((byte) => byte !== 0))
    throw fail('EINVAL', 'reserved bits of SECINFO are set');
}

function fail(errno: ErrnoName, message: string): SgxIoctlError {
  return new SgxIoctlError(errno, message);
}
