/**
 * The ioctls of dynamic memory with the checks, order and errno values of Linux's driver
 * (arch/x86/kernel/cpu/sgx/ioctl.c of Linux 6.x as documentation).
 */
import { ENCLS, PT_REG, PT_TCS, PT_TRIM, SGX_ERROR } from '@nestedsgx/arch';
import { checkRange } from './add-pages.js';
import type { SgxEnclaveFile } from './enclave-file.js';
import { type ErrnoName, SgxIoctlError } from './errors.js';
import { removeRuns } from './page-removal.js';

const PAGE = 4096;
const RWX = 7;
const TYPE_MASK = 0xff;
const VECTOR_PF = 14;
/** Pages between two ETRACKs: threads are interrupted once for all of them. */
const TRACK_EVERY = 512;
/** Pages whose frames are given back at once. */
const REMOVE_EVERY = 16;

/** What these operations tell in their argument: the leaf's error code, and the bytes done. */
interface RangeResult {
  offset: number;
  length: number;
  /** Out: SGX error code of the leaf that failed; 0 in. */
  result?: number;
  /** Out: bytes done; 0 in. */
  count?: number;
}

/** Argument of `restrictPermissions`: SECINFO's R, W, X in `permissions`. */
export interface RestrictPermissions extends RangeResult {
  permissions: number;
}

/** Argument of `modifyTypes`: PT_TCS or PT_TRIM. */
export interface ModifyTypes extends RangeResult {
  pageType: number;
}

/** Argument of `removePages`. */
export type RemovePages = Omit<RangeResult, 'result'>;

/** SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS; see `SgxEnclaveFile.restrictPermissions`. */
export function restrictPermissions(file: SgxEnclaveFile, args: RestrictPermissions): number {
  const { permissions } = args;
  ready(file);
  checkRange(args.offset, args.length, file.size);
  if ((permissions & ~RWX) !== 0)
    throw fail('EINVAL', `permissions 0x${permissions.toString(16)} do not exist`);
  if ((permissions & 2) !== 0 && (permissions & 1) === 0)
    throw fail('EINVAL', 'a writable page must be readable');
  checkOutputs(args.result, args.count);
  return walk(file, args, (offset, flags, most) => {
    if (flags >>> 8 !== PT_REG)
      throw fail('EINVAL', `the page at offset 0x${offset.toString(16)} is not regular`);
    return restrict(file, offset, most, permissions);
  });
}

/** EMODPR of the pages from one on that need not be brought in; returns how many. */
function restrict(file: SgxEnclaveFile, offset: number, most: number, permissions: number): number {
  const { pages, device } = file;
  let count = 1;
  for (let at = offset + PAGE; count < most; count++, at += PAGE)
    if (pages.frame(at) === 0 || pages.aged(at) || pages.flags(at) >>> 8 !== PT_REG) break;
  const outcome = device.supply.calls.restrict(file.secs, file.base + offset, count, permissions);
  if (outcome.done === 0)
    throw file.leafFailed('EFAULT', `EMODPR of the page at offset 0x${offset.toString(16)} failed`, outcome);
  device.supply.changes++;
  return outcome.done;
}

/** SGX_IOC_ENCLAVE_MODIFY_TYPES; see `SgxEnclaveFile.modifyTypes`. */
export function modifyTypes(file: SgxEnclaveFile, args: ModifyTypes): number {
  const { pageType } = args;
  ready(file);
  checkRange(args.offset, args.length, file.size);
  if ((pageType & ~TYPE_MASK) !== 0)
    throw fail('EINVAL', `page type 0x${pageType.toString(16)} does not exist`);
  checkOutputs(args.result, args.count);
  if (pageType !== PT_TCS && pageType !== PT_TRIM)
    throw fail('EINVAL', `pages cannot be given the type ${pageType}`);
  return walk(file, args, (offset, flags) => {
    const from = flags >>> 8;
    if (from !== PT_REG && !(from === PT_TCS && pageType === PT_TRIM))
      throw fail('EINVAL', `the page at offset 0x${offset.toString(16)} has type ${from}`);
    if (pageType === PT_TCS && (flags & 3) !== 3)
      throw fail('EPERM', `the page at offset 0x${offset.toString(16)} is not readable and writable`);
    modify(file, ENCLS.EMODT, 'EMODT', pageType << 8, offset);
    file.pages.setFlags(offset, pageType << 8);
    return 1;
  });
}

/** SGX_IOC_ENCLAVE_REMOVE_PAGES; see `SgxEnclaveFile.removePages`. */
export function removePages(file: SgxEnclaveFile, args: RemovePages): number {
  ready(file);
  checkRange(args.offset, args.length, file.size);
  checkOutputs(0, args.count);
  let done = 0;
  let frames: number[] = [];
  let trouble: SgxIoctlError | null = null;
  try {
    for (; done < args.length; done += PAGE) {
      const offset = args.offset + done;
      const flags = loaded(file, offset);
      if (flags >>> 8 !== PT_TRIM)
        throw fail('EPERM', `the page at offset 0x${offset.toString(16)} has not been trimmed`);
      // EMODPR of a trimmed page changes nothing: it faults once the enclave has accepted the new type.
      const gpa = file.pages.frame(offset);
      const outcome = file.device.supply.calls.modify(ENCLS.EMODPR, 'EMODPR', RWX, gpa);
      if (outcome.fault?.vector !== VECTOR_PF)
        throw fail('EPERM', `the enclave has not accepted the removal of offset 0x${offset.toString(16)}`);
      frames.push(gpa);
      file.pages.remove(offset);
      file.device.supply.list?.remove(gpa);
      if (frames.length === REMOVE_EVERY) {
        give(file, frames);
        frames = [];
      }
    }
  } catch (error) {
    if (!(error instanceof SgxIoctlError)) throw error;
    trouble = error;
  } finally {
    give(file, frames);
    args.count = done;
  }
  if (trouble === null) return done;
  trouble.count = done;
  throw trouble;
}

function give(file: SgxEnclaveFile, frames: number[]): void {
  for (const { gpa, count } of removeRuns(file, frames)) file.device.supply.give(gpa, count);
  file.device.supply.changes++;
}

function ready(file: SgxEnclaveFile): void {
  if (!file.edmm) throw fail('ENODEV', 'dynamic memory is switched off for this device');
  if (!file.initialised) throw fail('EINVAL', 'the enclave is not initialised');
  if (file.stopped !== null) throw file.stopped;
  file.device.supply.settle();
}

function checkOutputs(result = 0, count = 0): void {
  if (result !== 0 || count !== 0) throw fail('EINVAL', 'result and count are outputs and must be 0');
}

/** Serves pages in order, some at once, with one tracking cycle for up to 512; tells result and count in `args`. */
function walk(
  file: SgxEnclaveFile,
  args: RangeResult,
  serve: (offset: number, flags: number, most: number) => number,
): number {
  let done = 0;
  let tracked = 0;
  let trouble: SgxIoctlError | null = null;
  try {
    while (done < args.length) {
      const most = Math.min(args.length - done, tracked + TRACK_EVERY * PAGE - done) / PAGE;
      done += serve(args.offset + done, loaded(file, args.offset + done), most) * PAGE;
      if (done - tracked === TRACK_EVERY * PAGE) {
        track(file);
        tracked = done;
      }
    }
  } catch (error) {
    if (!(error instanceof SgxIoctlError)) throw error;
    trouble = error;
  }
  if (done > tracked) track(file);
  args.count = done;
  args.result = trouble?.sgxCode ?? 0;
  if (trouble === null) return done;
  trouble.count = done;
  throw trouble;
}

/** Flags of a page that is in the EPC now. @throws SgxIoctlError EFAULT when the enclave has no such page */
function loaded(file: SgxEnclaveFile, offset: number): number {
  if (!file.pages.has(offset)) throw fail('EFAULT', `there is no page at offset 0x${offset.toString(16)}`);
  file.faults.bringIn(offset);
  return file.pages.flags(offset);
}

function modify(file: SgxEnclaveFile, leaf: number, what: string, flags: number, offset: number): void {
  const { supply } = file.device;
  for (let tries = 0; ; tries++) {
    const outcome = supply.calls.modify(leaf, what, flags, file.pages.frame(offset));
    if (outcome.fault === undefined && outcome.code === 0) break;
    if (outcome.code === SGX_ERROR.SGX_EPC_PAGE_CONFLICT && tries < 100) continue;
    throw file.leafFailed('EFAULT', `${what} of the page at offset 0x${offset.toString(16)} failed`, outcome);
  }
  supply.changes++;
}

/** ETRACK, and interrupts for whoever is inside, so that no thread uses an old translation. */
function track(file: SgxEnclaveFile): void {
  const { supply } = file.device;
  for (let tries = 0; ; tries++) {
    const outcome = supply.calls.track(file.secs);
    if (outcome.fault === undefined && outcome.code === 0) break;
    if (tries >= 20) throw file.leafFailed('EFAULT', 'ETRACK failed', outcome);
    file.threads.kickOut(file.secs, tries > 0);
  }
  supply.counters.kicks += file.threads.insideCount;
  file.threads.kickOut(file.secs);
}

function fail(errno: ErrnoName, message: string): SgxIoctlError {
  return new SgxIoctlError(errno, message);
}
