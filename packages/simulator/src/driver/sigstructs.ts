/** SIGSTRUCTs and EINITTOKENs of every kind that EINIT tells apart, signed once for each process and kept. */
import { type KeyObject, sign } from 'node:crypto';
import {
  EINITTOKEN,
  KEYNAME_EINITTOKEN,
  mrsigner,
  type SigstructFields,
  type SigstructSigner,
  signSigstruct,
} from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { nodeHash } from '@nestedsgx/arch/node';
import { cmac, launchKeyData, type MonitorState } from '@nestedsgx/monitor';
import type { Oracle } from '../model/model.js';
import { digestOfTag } from './measurement.js';

/** Kinds of SIGSTRUCT; the first is right for every enclave. */
export const SIGSTRUCT_KINDS = [
  'right',
  'wrong-hash',
  'attributes',
  'miscselect',
  'header',
  'signature',
  'family',
  'other-signer',
  'reserved',
] as const;

/** Kinds of EINITTOKEN; the first is none. */
export const TOKEN_KINDS = [
  'none',
  'right',
  'debug-launcher',
  'reserved',
  'cpusvn',
  'mac',
  'other-enclave',
  'other-attributes',
] as const;

interface Signer extends SigstructSigner {
  readonly mrsigner: Uint8Array;
}

let signers: Signer[] | undefined;

/** Two signers; keys are made once for each process and decide nothing that is compared. */
export function simSigners(): readonly Signer[] {
  signers ??= [makeSigner(), makeSigner()];
  return signers;
}

function makeSigner(): Signer {
  const privateKey = freshKey({ rsaBits: 3072, exponent: 3 });
  const n = privateKey.export({ format: 'jwk' }).n!;
  const littleEndian = new Uint8Array(Buffer.from(n, 'base64url')).reverse();
  return {
    modulus: BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`),
    sign: (data) => signWith(privateKey, data),
    mrsigner: mrsigner(nodeHash, littleEndian),
  };
}

function signWith(key: KeyObject, data: Uint8Array): Uint8Array {
  return new Uint8Array(sign('sha256', data, key));
}

const cache = new Map<string, { bytes: Uint8Array; facts: Oracle['sigstruct'] }>();

/** The SIGSTRUCT of a kind for enclaves with this measurement tag, and what is true of it. */
export function sigstructOf(kind: number, tag: number): { bytes: Uint8Array; facts: Oracle['sigstruct'] } {
  const key = `${kind}:${tag}`;
  let made = cache.get(key);
  if (made === undefined) {
    made = makeSigstruct(SIGSTRUCT_KINDS[kind], tag);
    cache.set(key, made);
  }
  return made;
}

function makeSigstruct(kind: (typeof SIGSTRUCT_KINDS)[number], tag: number) {
  const signer = kind === 'other-signer' ? 1 : 0;
  const hash = kind === 'wrong-hash' ? (tag + 1) & 7 : tag;
  const facts: Oracle['sigstruct'] = {
    fieldsRight: kind !== 'header' && kind !== 'reserved',
    signatureRight: kind !== 'signature',
    signer,
    hash,
    familyIdUsed: kind === 'family',
    // DEBUG is required, which half of the enclaves do not have.
    attributes: kind === 'attributes' ? 2 : 0,
    attributeMask: kind === 'attributes' ? 2 : 0,
    miscselect: kind === 'miscselect' ? 1 : 0,
    miscMask: kind === 'miscselect' ? 1 : 0,
    isvSvn: 3,
  };
  const fields: SigstructFields = {
    ENCLAVEHASH: digestOfTag(hash),
    ATTRIBUTES: { FLAGS: BigInt(facts.attributes), XFRM: 3n },
    ATTRIBUTEMASK: { FLAGS: BigInt(facts.attributeMask), XFRM: 3n },
    MISCSELECT: facts.miscselect,
    MISCMASK: facts.miscMask,
    ISVSVN: facts.isvSvn,
    ISVPRODID: 7,
    ...(facts.familyIdUsed ? { ISVFAMILYID: new Uint8Array(16).fill(9) } : {}),
  };
  const bytes = signSigstruct(fields, simSigners()[signer]);
  if (kind === 'header') bytes[0] ^= 1;
  if (kind === 'reserved') bytes[100] = 1;
  if (kind === 'signature') bytes[600] ^= 1;
  return { bytes, facts };
}

const T = EINITTOKEN.offsets;

/** The EINITTOKEN of a kind for one enclave. */
export function tokenOf(
  s: MonitorState,
  kind: number,
  enclave: { tag: number; flags: number; xfrm: number; signer: number },
): { bytes: Uint8Array; facts: Oracle['token'] } {
  const name = TOKEN_KINDS[kind];
  const facts: Oracle['token'] = {
    valid: name !== 'none',
    debugLauncher: name === 'debug-launcher',
    reservedZero: name !== 'reserved',
    cpuSvnRight: name !== 'cpusvn',
    macRight: name !== 'mac',
    hash: name === 'other-enclave' ? enclave.tag + 1 : enclave.tag,
    signer: enclave.signer,
    attributes: name === 'other-attributes' ? enclave.flags ^ 0x80 : enclave.flags,
  };
  if (!facts.valid) return { bytes: new Uint8Array(EINITTOKEN.size), facts };
  const signer = simSigners()[enclave.signer].mrsigner;
  const bytes = EINITTOKEN.encode({
    VALID: 1,
    ATTRIBUTES: { FLAGS: BigInt(facts.attributes >>> 0), XFRM: BigInt(enclave.xfrm) },
    MRENCLAVE: digestOfTag(facts.hash),
    MRSIGNER: signer,
    CPUSVNLE: new Uint8Array(16).fill(facts.cpuSvnRight ? 0 : 0xff),
    MASKEDATTRIBUTESLE: { FLAGS: facts.debugLauncher ? 2n : 0n, XFRM: 0n },
  });
  if (!facts.reservedZero) bytes[8] = 1;
  const key = s.keys.derive(
    KEYNAME_EINITTOKEN,
    launchKeyData(
      {
        attributes: bytes.subarray(T.MASKEDATTRIBUTESLE, T.MASKEDATTRIBUTESLE + 16),
        miscselect: 0,
        cpuSvn: bytes.subarray(T.CPUSVNLE, T.CPUSVNLE + 16),
        isvSvn: 0,
        isvProdId: 0,
        mrsigner: s.platform.launchKeyHash ?? signer,
        keyId: bytes.subarray(T.KEYID, T.KEYID + 32),
      },
      s.keys.ownerEpoch,
    ),
  );
  bytes.set(cmac(key, bytes.subarray(0, 192)), T.MAC);
  if (!facts.macRight) bytes[T.MAC] ^= 1;
  return { bytes, facts };
}
