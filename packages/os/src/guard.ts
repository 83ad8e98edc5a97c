import { check, checkInteger } from './errors.js';
import { native } from './native.js';

let installed = false;

/**
 * Copies memory and survives a page that cannot be touched (SIGBUS, SIGSEGV): false means that the copy stopped
 * part of the way. Either side is an address or a byte array; a byte array must be at least `length` long. Faults
 * elsewhere go to the handlers that were there before.
 */
export function guardedCopy(
  destination: number | Uint8Array,
  source: number | Uint8Array,
  length: number,
): boolean {
  const n = native();
  if (!installed) {
    check(n.guardInstall(), 'sigaction');
    installed = true;
  }
  checkInteger(length, 'length');
  if (length === 0) return true;
  if (typeof destination !== 'number') {
    checkInteger(length, 'length', 0, destination.byteLength);
    return (
      n.guardedRead(destination, typeof source === 'number' ? source : n.addressOf(source), length) === 0
    );
  }
  if (typeof source !== 'number') {
    checkInteger(length, 'length', 0, source.byteLength);
    return n.guardedWrite(destination, source, length) === 0;
  }
  return n.guardedCopy(destination, source, length) === 0;
}
