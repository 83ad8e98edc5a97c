import { writeFileSync } from 'node:fs';
import { nodeHash } from '@nestedsgx/arch/node';
import { attachSignature, checkSigningData, type SigningRequest, signingDate } from '@nestedsgx/image';
import { loadPublicModulus, loadSigningKey } from '@nestedsgx/image/node';
import { hex, readLimited } from '../files.js';
import { askPassphrase } from '../passphrase.js';
import { type Terminal, UsageError } from '../terminal.js';

const KEY_LIMIT = 64 * 1024;

/** Options of `nsgx sign`. */
export interface SignCommandOptions {
  key?: string;
  config?: string;
  out?: string;
  printDigest?: boolean;
  signature?: string;
  publicKey?: string;
  unsigned?: string;
  date?: string;
  resign?: boolean;
  ignoreRelError?: boolean;
  ignoreInitSecError?: boolean;
}

/** The date to sign with: the one given, or that of the first step's file; undefined is today. */
export function dateOf(options: SignCommandOptions): string | undefined {
  return options.unsigned === undefined ? options.date : signingDate(unsignedFile(options.unsigned));
}

/** First step: prints the request and writes the bytes to sign where --out says. */
export function printRequest(
  terminal: Terminal,
  { mrenclave, digest, data }: SigningRequest,
  options: SignCommandOptions,
): void {
  if (options.out !== undefined) writeFileSync(options.out, data);
  terminal.answer(
    {
      mrenclave: hex(mrenclave),
      digest: hex(digest),
      data: hex(data),
      ...(options.out && { out: options.out }),
    },
    [
      `mrenclave  ${hex(mrenclave)}`,
      `digest     ${hex(digest)}`,
      ...(options.out === undefined ? [] : [`to sign    ${options.out}`]),
      'Sign it with RSA PKCS#1 v1.5 and SHA-256, then give the result with --signature and the public key with --public-key.',
    ],
  );
}

/** The SIGSTRUCT for a request, by the key at hand or with the signature that was made elsewhere. */
export function sigstructFor(request: SigningRequest, options: SignCommandOptions): Uint8Array {
  if (options.signature !== undefined) {
    const path = options.publicKey ?? options.key;
    if (path === undefined) throw new UsageError('give the public key with --public-key');
    if (options.unsigned !== undefined) checkSigningData(unsignedFile(options.unsigned), request);
    const modulus = loadPublicModulus(readLimited(path, KEY_LIMIT, 'public key'));
    const signature = readLimited(options.signature, KEY_LIMIT, 'signature');
    return attachSignature(nodeHash, request.unsigned, modulus, signature);
  }
  const pem = readLimited(options.key!, KEY_LIMIT, 'key');
  try {
    const key = loadSigningKey(pem, askPassphrase);
    return attachSignature(nodeHash, request.unsigned, key.modulus, key.sign(request.data));
  } finally {
    pem.fill(0);
  }
}

/** Throws UsageError when there is nothing to sign with; before the enclave is measured. */
export function needKey(options: SignCommandOptions): void {
  if (!options.printDigest && options.key === undefined && options.signature === undefined)
    throw new UsageError('give the signing key with --key, or ask with --print-digest');
}

function unsignedFile(path: string): Uint8Array {
  return readLimited(path, KEY_LIMIT, 'file of the first step');
}
