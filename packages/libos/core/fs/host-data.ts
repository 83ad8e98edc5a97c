/** Bytes of the host's files: pieces at positions, by the thread's channel, until all of a call is done. */
import { EFAULT, EINVAL, EIO } from '../errno';
import { answered, request } from '../net/host';
import { copyIn } from '../shim';
import { current } from '../task/thread';
import { scratch } from '../user';
import { OpenFile } from './open-file';

const OP_PREAD: u64 = 61;
const OP_PWRITE: u64 = 62;
/** The data of a channel (native/include/channel.h). */
const PIECE: u64 = 131072;

/** How many bytes were moved, once it is over. */
function over(): i64 {
  const done = current.done;
  current.done = 0;
  return done;
}

/**
 * Moves the bytes of a list of vectors, or `count` bytes at `user` without one. Answers are not more than was asked for (the
 * native half sees to it); a short one ends the call, as the end of the file does.
 */
export function transfer(file: OpenFile, write: bool, user: u64, count: u64, list: bool, at: u64): i64 {
  const op = write ? OP_PWRITE : OP_PREAD;
  if (answered(op)) {
    store<u64>(current.request, 0);
    const moved = current.waitResult;
    if (moved < 0) return current.done > 0 ? over() : moved;
    current.done += moved;
    if (<u64>moved < current.wanted) return over();
  }
  let base = user;
  let length = count;
  let skip = current.done;
  if (list) {
    let i: u64 = 0;
    for (; i < count; i++) {
      if (!copyIn(scratch, user + i * 16, 16)) return current.done > 0 ? over() : EFAULT;
      base = load<u64>(scratch);
      length = load<u64>(scratch, 8);
      if (<i64>length < 0) return current.done > 0 ? over() : EINVAL;
      if (skip < length) break;
      skip -= length;
    }
    if (i === count) return over();
  } else if (skip >= length) return over();
  const piece = min(length - skip, PIECE);
  current.wanted = piece;
  current.touched = true;
  return request(op, file.hostFd, base + skip, piece, at + current.done, 0, 0);
}

/** A piece into the core's own memory, of as many bytes as `piece` says: how many came, PENDING, or an errno. */
export function fetchPiece(file: OpenFile, to: usize, piece: u64, at: u64): i64 {
  if (answered(OP_PREAD)) {
    store<u64>(current.request, 0);
    return current.waitResult;
  }
  current.touched = true;
  return request(OP_PREAD, file.hostFd, to, min(piece, PIECE), at, 1, 0);
}
