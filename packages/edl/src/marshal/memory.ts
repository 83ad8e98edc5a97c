/** The untrusted memory that calls are marshalled in, as the marshaller sees it. */
import { edlError } from '../errors.js';

/** Memory that enclave and host share. What `alloc` gave lives until the call is over; its owner frees it. */
export interface UntrustedMemory {
  /** Takes `length` bytes (at least 1) at a multiple of `align`; their contents may be anything. */
  alloc(length: number, align: number): bigint;
  /** The bytes at an address, valid as long as they are. @throws when they are not all in untrusted memory */
  view(address: bigint, length: number): Uint8Array;
  /** A part of the memory that is one piece, if there is one: small calls are laid out there. */
  readonly flat?: FlatMemory;
}

/** Untrusted memory in one piece: offsets instead of addresses, and no view for each of its parts. */
export interface FlatMemory {
  /** Address of the first byte. */
  readonly address: number;
  /** The same. */
  readonly origin: bigint;
  readonly bytes: Uint8Array;
  /** The same bytes. */
  readonly data: DataView;
  /** As `alloc`, giving an offset; −1 when there is no room in the piece. */
  place(length: number, align: number): number;
}

/** Longest text that is looked for a terminating zero, in bytes. */
export const MAX_TEXT = 64 * 2 ** 20;
/** Largest buffer. */
export const MAX_BUFFER = 2 ** 32;

/** A copy of memory whose address the enclave gave. @throws EDL_MEMORY */
export function copyFrom(
  memory: UntrustedMemory,
  address: bigint,
  length: number,
  what: string,
): Uint8Array<ArrayBuffer> {
  return new Uint8Array(viewOf(memory, address, length, what));
}

export function viewOf(memory: UntrustedMemory, address: bigint, length: number, what: string): Uint8Array {
  if (length === 0) return new Uint8Array(0);
  try {
    return memory.view(address, length);
  } catch (cause) {
    throw edlError(
      'EDL_MEMORY',
      `${what} at 0x${address.toString(16)}, ${length} bytes, is not in untrusted memory`,
      'Check that the enclave was built with this EDL file.',
      cause,
    );
  }
}

/** A copy of the text at an address without its zero of `unit` bytes. Goes by pages: text may end where memory does. */
export function copyText(memory: UntrustedMemory, address: bigint, unit: 1 | 4, what: string): Uint8Array {
  if (unit === 4 && address % 4n !== 0n) throw edlError('EDL_MEMORY', `${what} is not aligned`);
  const parts: Uint8Array[] = [];
  let total = 0;
  for (let at = address; ; ) {
    const part = copyFrom(memory, at, 4096 - Number(at % 4096n), what);
    const end = textEnd(part, unit);
    parts.push(part.subarray(0, end));
    total += end;
    if (end < part.length) break;
    if (total > MAX_TEXT) throw edlError('EDL_MEMORY', `${what} has no end within ${MAX_TEXT} bytes`);
    at += BigInt(part.length);
  }
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** Where the zero of `unit` bytes is; the length when there is none. */
export function textEnd(bytes: Uint8Array, unit: 1 | 4): number {
  if (unit === 1) {
    const end = bytes.indexOf(0);
    return end < 0 ? bytes.length : end;
  }
  for (let i = 0; i + 4 <= bytes.length; i += 4)
    if ((bytes[i] | bytes[i + 1] | bytes[i + 2] | bytes[i + 3]) === 0) return i;
  return bytes.length;
}
