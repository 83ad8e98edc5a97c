/** Options that are the library OS's own (include/uapi/asm-generic/socket.h): times to wait, and what a socket is. */
import { EDOM, EFAULT, EINVAL } from '../errno';
import { copyIn } from '../shim';
import { scratch } from '../user';
import { Socket } from './socket';

export const SOL_SOCKET: u32 = 1;
export const SO_REUSEADDR: u32 = 2;
export const SO_TYPE: u32 = 3;
export const SO_ERROR: u32 = 4;
export const SO_SNDBUF: u32 = 7;
export const SO_RCVBUF: u32 = 8;
export const SO_PASSCRED: u32 = 16;
export const SO_PEERCRED: u32 = 17;
const SO_RCVTIMEO: u32 = 20;
const SO_SNDTIMEO: u32 = 21;
export const SO_ACCEPTCONN: u32 = 30;
const SO_PROTOCOL: u32 = 38;
const SO_DOMAIN: u32 = 39;
const SO_RCVTIMEO_NEW: u32 = 66;
const SO_SNDTIMEO_NEW: u32 = 67;
const NANO: u64 = 1_000_000_000;

/** An option that is not this module's. */
export const NOT_HERE: i64 = i64.MIN_VALUE + 1;

function isTimeout(name: u32): bool {
  return name === SO_RCVTIMEO || name === SO_SNDTIMEO || name === SO_RCVTIMEO_NEW || name === SO_SNDTIMEO_NEW;
}

export function setCommon(socket: Socket, level: u32, name: u32, user: u64, length: u32): i64 {
  if (level !== SOL_SOCKET || !isTimeout(name)) return NOT_HERE;
  if (length < 16) return EINVAL;
  if (!copyIn(scratch, user, 16)) return EFAULT;
  const seconds = load<i64>(scratch);
  const micros = load<u64>(scratch, 8);
  if (micros >= 1_000_000) return EDOM;
  const time = seconds < 0 ? 1 : <u64>seconds > 1_000_000_000 ? 0 : <u64>seconds * NANO + micros * 1000;
  if (name === SO_RCVTIMEO || name === SO_RCVTIMEO_NEW) socket.receiveTimeout = time;
  else socket.sendTimeout = time;
  return 0;
}

/** Puts a number at `scratch`. */
export function number(value: u32): i64 {
  store<u32>(scratch, value);
  return 4;
}

export function getCommon(socket: Socket, level: u32, name: u32): i64 {
  if (level !== SOL_SOCKET) return NOT_HERE;
  if (isTimeout(name)) {
    const time = name === SO_RCVTIMEO || name === SO_RCVTIMEO_NEW ? socket.receiveTimeout : socket.sendTimeout;
    store<u64>(scratch, time / NANO);
    store<u64>(scratch, (time % NANO) / 1000, 8);
    return 16;
  }
  if (name === SO_TYPE) return number(socket.type);
  if (name === SO_DOMAIN) return number(socket.domain);
  return name === SO_PROTOCOL ? number(socket.protocol) : NOT_HERE;
}
