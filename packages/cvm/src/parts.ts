import { createHash } from 'node:crypto';
import { fstatSync, readSync } from 'node:fs';
import { NsgxError } from '@nestedsgx/arch';

/** Descriptors the launcher hands over; the numbers are fixed (docs/ARCHITECTURE.md, "Launch"). */
export const LAUNCH_FDS = Object.freeze({
  control: 3,
  bundle: 4,
  koffi: 5,
  library: 6,
  runner: 7,
  configuration: 8,
  listener: 9,
  tracer: 10,
});

/** One measured part of the monitor. */
export interface Part {
  name: string;
  bytes: Uint8Array;
}

/** What the launch measured, for `info` and for evidence. Digests in lower-case hex. */
export interface MeasuredLaunch {
  launchDigest: string;
  /** SHA-256 of the software root's SubjectPublicKeyInfo, by which verifiers accept it. */
  rootFingerprint: string;
  components: { name: string; sha384: string }[];
}

const PART_LIMIT = 256 * 2 ** 20;

/** Reads a whole descriptor from offset 0 without moving its position. */
export function readDescriptor(fd: number, name: string): Uint8Array {
  const size = fstatSync(fd).size;
  if (size > PART_LIMIT)
    throw new NsgxError(
      'CVM_CONFIGURATION_INVALID',
      `part ${name} has ${size} bytes; the limit is ${PART_LIMIT}`,
    );
  const bytes = new Uint8Array(size);
  let at = 0;
  while (at < size) {
    const got = readSync(fd, bytes, at, size - at, at);
    if (got === 0)
      throw new NsgxError('CVM_CONFIGURATION_INVALID', `part ${name} ended after ${at} of ${size} bytes`);
    at += got;
  }
  return bytes;
}

export function sha384Hex(bytes: Uint8Array): string {
  return createHash('sha384').update(bytes).digest('hex');
}
