/** Values of the program's memory. Everything is copied once and then used. */
import { EFAULT, ENAMETOOLONG, ENOENT } from './errno';
import { copyIn, copyOut } from './shim';

const PATH_MAX = 4096;

/** For structures on their way in or out; nothing stays in it between two calls of functions here. */
export const scratch: usize = memory.data(8192, 16);

/** Why the latest function here failed; 0 when it did not. */
export let failure: i64 = 0;

export function loadU64(user: u64): u64 {
  failure = copyIn(scratch, user, 8) ? 0 : EFAULT;
  return failure === 0 ? load<u64>(scratch) : 0;
}

export function storeU64(user: u64, value: u64): i64 {
  store<u64>(scratch, value);
  return copyOut(user, scratch, 8) ? 0 : EFAULT;
}

export function storeU32(user: u64, value: u32): i64 {
  store<u32>(scratch, value);
  return copyOut(user, scratch, 4) ? 0 : EFAULT;
}

/** A zero-terminated path as a string of bytes. Sets `failure`: EFAULT, ENAMETOOLONG, ENOENT for an empty one. */
export function loadPath(user: u64, emptyAllowed: bool = false): string {
  let length = 0;
  failure = 0;
  // Page by page, as a string may end just before memory that is not there.
  while (length < PATH_MAX) {
    const at = user + length;
    let part = <i32>(4096 - (at & 4095));
    if (part > PATH_MAX - length) part = PATH_MAX - length;
    if (!copyIn(scratch + length, at, part)) {
      failure = EFAULT;
      return '';
    }
    const end = length + part;
    while (length < end && load<u8>(scratch + length) !== 0) length++;
    if (length < end) break;
  }
  if (length >= PATH_MAX) failure = ENAMETOOLONG;
  else if (length === 0 && !emptyAllowed) failure = ENOENT;
  return failure === 0 ? bytesToString(scratch, length) : '';
}

/** One character for each byte, so that names of any bytes stay what they are. */
export function bytesToString(at: usize, length: i32): string {
  const text = changetype<string>(__new(<usize>length << 1, idof<string>()));
  for (let i = 0; i < length; i++) store<u16>(changetype<usize>(text) + (<usize>i << 1), load<u8>(at + i));
  return text;
}

/** The bytes of such a string at `to`, with a zero behind them; returns their number without it. */
export function stringToBytes(text: string, to: usize): i32 {
  const length = text.length;
  for (let i = 0; i < length; i++) store<u8>(to + i, <u8>text.charCodeAt(i));
  store<u8>(to + length, 0);
  return length;
}
