/** mmap(2) and munmap(2). */
import { EACCES, EBADF, EEXIST, EFAULT, EINVAL, ENODEV, ENOMEM } from '../errno';
import { transfer } from '../fs/host-data';
import { look } from '../fs/hostfs';
import { DEVICE_NONE, DEVICE_ZERO, Inode } from '../fs/inode';
import { mappedFiles } from '../fs/mapped';
import { fileOf, O_ACCMODE, O_RDWR } from '../fs/open-file';
import { PENDING } from '../request';
import { executable, unwant, zero, zeroLazily } from '../shim';
import { current } from '../task/thread';
import { enforce, GUARD } from './enforce';
import { isMappedAgain, mapFile, unmapFiles } from './files';
import { imageOf } from './images';
import { arenaBytes, high, low, place } from './places';
import { jit } from './protect';
import { freed, later, onItsWay } from './return';
import { contest, cut, insert, othersHave, overlaps, own, PAGE, Region, strangersHave, up } from './space';
import { clear, drop, isMeasured, putCode } from './take';

const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;
const MAP_SHARED: u32 = 1;
const MAP_TYPE: u32 = 3;
const MAP_FIXED: u32 = 0x10;
const MAP_ANONYMOUS: u32 = 0x20;
const MAP_NORESERVE: u32 = 0x4000;
const MAP_FIXED_NOREPLACE: u32 = 0x100000;

export function sysMmap(hint: u64, given: u64, prot: u64, flags64: u64, fd: u64, offset: u64): i64 {
  const flags = <u32>flags64;
  const protection = <u32>prot & 7;
  const length = up(given);
  const type = flags & MAP_TYPE;
  if (given === 0 || type === 0 || (offset & (PAGE - 1)) !== 0) return EINVAL;
  if (length === 0 || length > high) return ENOMEM;
  const fixed = (flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0;
  if (fixed && (hint & (PAGE - 1)) !== 0) return EINVAL;
  // Places are memory here. Of a C library's arenas, 64 MiB for every thread, a few would leave none for stacks, and it does without.
  const reserves = (flags & (MAP_NORESERVE | MAP_ANONYMOUS)) === (MAP_NORESERVE | MAP_ANONYMOUS) && protection === 0;
  if (reserves && !fixed && !jit && length >= arenaBytes() / 16) return ENOMEM;

  if (current.filling !== 0) return filled(fill(fd, current.filling, current.fillingBytes, length, offset), length, protection);
  let inode: Inode | null = null;
  if ((flags & MAP_ANONYMOUS) === 0) {
    const file = fileOf(fd);
    if (file === null) return EBADF;
    if (!file.readable) return EACCES;
    inode = file.inode;
    if (inode.device === DEVICE_ZERO) inode = null;
    else if (!inode.isFile || inode.device !== DEVICE_NONE || file.pipe !== null) return ENODEV;
    if (inode !== null && type === MAP_SHARED) {
      const writes = (protection & 2) !== 0;
      if (writes && (file.flags & O_ACCMODE) !== O_RDWR) return EACCES;
      if (inode.digests === 0 && inode.outside === null && inode.made === 0 && !inode.readOnly)
        return fixed || (protection & PROT_EXEC) !== 0 ? ENODEV : mapFile(inode, offset, length, protection);
      if (writes) return ENODEV;
    }
  }
  const inImage = fixed ? imageOf(hint, length) : null;
  if (inImage !== null) {
    // The loader maps what the image builder has put there; zero pages behind the data are asked for as such.
    if (inode === inImage) return hint;
    return inode === null && zero(hint, length) ? <i64>hint : EACCES;
  }
  if (inode !== null && inode.imageAt !== 0 && !inode.imageTaken && !fixed && offset === 0 && type !== MAP_SHARED)
    if (length <= up(inode.imageSize)) {
      inode.imageTaken = true;
      own().images.push(inode);
      return inode.imageAt;
    }
  const code = inode !== null && type !== MAP_SHARED && isMeasured(inode);
  if ((protection & PROT_EXEC) !== 0 && !code && !(jit && inode === null)) return EACCES;
  let bytes: u64 = 0;
  if (inode !== null && inode.outside !== null) {
    const waiting = look(inode, fileOf(fd)!.hostFd);
    if (waiting !== 0) return waiting;
  }
  if (inode !== null && offset < inode.size) {
    bytes = inode.size - offset < length ? inode.size - offset : length;
    const waiting = inode.need(offset, bytes);
    if (waiting !== 0) return waiting;
  }

  // The first mapping of a binary, as loaders make it, spans all of it: room for what its calls jump to is taken behind.
  let behind: u64 = 0;
  if (code && !fixed && offset === 0 && length === <u64>inode!.codePages * PAGE) {
    behind = up(inode!.codeBytes);
    const waiting = inode!.need(inode!.size, inode!.codeBytes);
    if (waiting !== 0) return waiting;
  }

  let at = hint;
  let copied = false;
  const space = own();
  if (fixed) {
    if (hint < low || hint > high || length > high - hint) return ENOMEM;
    if (onItsWay(hint, length)) return later();
    if ((flags & MAP_FIXED_NOREPLACE) !== 0 && overlaps(hint, hint + length, space)) return EEXIST;
    if (strangersHave(hint, hint + length, space)) return ENOMEM;
    copied = othersHave(hint, hint + length, space);
    if (copied && type === MAP_SHARED) return ENOMEM;
    cut(hint, hint + length, space);
    if (copied) contest(hint, hint + length);
  } else {
    at = place(length + behind);
    if (at === 0) return ENOMEM;
    if (behind > 0 && !putCode(at + length, behind, inode!, space)) return ENOMEM;
  }
  const clean = protection !== 0 || inode !== null;
  const sealed = (protection & PROT_WRITE) === 0;
  // Pages that come when they are used come as they are to be.
  if (clean && !(bytes > 0 ? zero(at, length) : sealed ? zeroLazily(at, length) : clear(at, length))) return ENOMEM;
  if (!clean) unwant(at, length);
  if (bytes > 0 && inode!.outside !== null) {
    insert(new Region(at, at + length, protection, true, false, false, copied), space);
    return filled(fill(fd, at, bytes, length, offset), length, protection);
  }
  if (bytes > 0 && !inode!.copyOut(at, offset, bytes)) return EFAULT;
  const runs = (protection & PROT_EXEC) !== 0;
  if (runs && !executable(at, length)) return ENOMEM;
  const shared = inode === null && type === MAP_SHARED;
  insert(new Region(at, at + length, protection, clean, runs, shared, copied), space);
  if (space.group !== null) space.group!.protects = true;
  // Loaders put the segments of a binary, with their own protections, over its first mapping.
  if (!sealed || shared || (code && !fixed)) return at;
  // A reservation is not protected as a whole; guards are, and what is left of one when the rest gets access.
  if (!clean && length > GUARD) return at;
  return enforce(at, length, protection, at, true);
}

/** A mapping that has its bytes gets its protection. */
function filled(result: i64, length: u64, protection: u32): i64 {
  return result > 0 && (protection & PROT_WRITE) === 0 ? enforce(result, length, protection, result, true) : result;
}

/** Brings the bytes of a file of the host to a mapping that is there: its address, PENDING, or an errno and no mapping. */
function fill(fd: u64, at: u64, bytes: u64, length: u64, offset: u64): i64 {
  const file = fileOf(fd);
  const got: i64 = file === null || file.hostFd < 0 ? EBADF : transfer(file, false, at, bytes, false, offset);
  if (got === PENDING) {
    current.filling = at;
    current.fillingBytes = bytes;
    return PENDING;
  }
  current.filling = 0;
  if (got >= 0) return at;
  cut(at, at + length, own());
  return got;
}

export function sysMunmap(at: u64, given: u64): i64 {
  const length = up(given);
  if ((at & (PAGE - 1)) !== 0 || length === 0 || at + length < at) return EINVAL;
  if (imageOf(at, length) !== null) return 0;
  if (onItsWay(at, length)) return later();
  if (mappedFiles.length > 0 && isMappedAgain(at, length)) return 0;
  const gone = drop(cut(at, at + length, own()), own());
  if (mappedFiles.length > 0) unmapFiles();
  return freed(gone);
}
