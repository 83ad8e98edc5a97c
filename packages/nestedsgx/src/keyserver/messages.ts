/** The messages between an enclave and a key server; the enclave's end is packages/libos/native/src/provision.c. */
import { createHash } from 'node:crypto';

/** What the eighth byte of a message says. */
export const HELLO = 1;
export const CHALLENGE = 2;
export const EVIDENCE = 3;
export const KEY = 4;
export const REFUSED = 5;

const MAGIC = Buffer.from('NSGXKS1', 'latin1');
/** Bytes before what a message says, of a point (X and Y), of a challenge. */
export const HEAD = 8;
export const POINT = 64;
export const NONCE = 32;
export const MAX_NAME = 64;
/** Largest message to a server, and largest answer. */
export const MAX_REQUEST = 16_384;
export const MAX_ANSWER = 1024;
const MAX_REASON = 512;

/** The second half of report data that ask for a key. */
const PURPOSE = Buffer.alloc(32);
PURPOSE.write('NestedSGX key request v1', 'latin1');
/** What the key's encryption is derived for. */
export const ANSWER_LABEL = 'NestedSGX key answer v1';

/** A message of a kind. */
export function message(type: number, ...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([MAGIC, Buffer.of(type), ...parts]);
}

/** The kind of a message; 0 for what is none. */
export function typeOf(bytes: Uint8Array): number {
  return bytes.length >= HEAD && MAGIC.equals(bytes.subarray(0, MAGIC.length)) ? bytes[HEAD - 1]! : 0;
}

/** A refusal with its reason. */
export function refusal(reason: string): Buffer {
  return message(REFUSED, Buffer.from(reason, 'utf8').subarray(0, MAX_REASON));
}

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Everything that was said so far: HELLO, CHALLENGE, EVIDENCE and KEY, each as far as it counts. */
export function transcript(...parts: readonly [Uint8Array, Uint8Array, Uint8Array, Uint8Array]): Buffer {
  return sha256(...parts.map((part) => sha256(part)));
}

/** The report data with which an enclave asks, for its point. */
export function reportDataFor(hello: Uint8Array, challenge: Uint8Array, evidence: Uint8Array): Buffer {
  const asked = evidence.subarray(0, HEAD + POINT);
  return Buffer.concat([transcript(hello, challenge, asked, new Uint8Array(0)), PURPOSE]);
}
