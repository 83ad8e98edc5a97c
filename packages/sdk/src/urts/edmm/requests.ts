/**
 * What the trusted runtime asks its host to do with pages, read once from untrusted memory and checked: every field is the
 * enclave's. Source: Intel SGX SDK for Linux, common/inc/internal/rts.h (edmm_ocall_t), sdk/trts/ema_rt.c (the structures),
 * psw/enclave_common/sgx_enclave_common.cpp (enclave_alloc, enclave_modify: which changes there are), sgx_mm.h (flags).
 */
import { PT_REG, PT_TCS, PT_TRIM } from '@nestedsgx/arch';
import { sdkError } from '../../errors.js';

/** OCALL numbers that the trusted runtime uses by itself. Those from −2 to −5 belong to releases before EDMM of version 3. */
export const EDMM_OCALL = Object.freeze({ ALLOC: -6, MODIFY: -7 } as const);

/** Bytes of both structures: {retval s32, –, addr u64, size u64, u32, u32}. */
export const EDMM_REQUEST_SIZE = 32;

const PAGE = 4096;
const TWO_32 = 2 ** 32;
/** SGX_EMA_COMMIT_NOW: the enclave accepts all pages as soon as the OCALL has returned. */
const COMMIT_NOW = 0x2;
const PROT_MASK = 7;
const TYPE_SHIFT = 8;
const TYPE_MASK = 0xff;

/** A change of pages; offsets from BASEADDR and lengths in bytes, whole pages of the ELRANGE. */
export type PageRequest = { readonly offset: number; readonly length: number } & (
  | {
      /** Make room: the pages come by EAUG. `now`: all of them are accepted next. */
      readonly what: 'room';
      readonly now: boolean;
    }
  | { readonly what: 'restrict'; readonly permissions: number }
  | { readonly what: 'type'; readonly pageType: number }
  /** Pages that were trimmed and accepted go. */
  | { readonly what: 'remove' }
  /** Only the host's own page table would change. */
  | { readonly what: 'nothing' }
);

/** The ELRANGE of the enclave that asks. */
export interface RequestRange {
  readonly base: number;
  readonly size: number;
}

/**
 * Reads the structure of OCALL `index`. `bytes` is shared with the enclave: it is copied first.
 * @throws MESSAGE_MALFORMED, OCALL_UNKNOWN
 */
export function readPageRequest(index: number, bytes: Uint8Array, range: RequestRange): PageRequest {
  const copy = bytes.slice(0, EDMM_REQUEST_SIZE);
  const view = new DataView(copy.buffer, copy.byteOffset, EDMM_REQUEST_SIZE);
  const address = view.getUint32(8, true) + view.getUint32(12, true) * TWO_32;
  const length = view.getUint32(16, true) + view.getUint32(20, true) * TWO_32;
  const first = view.getUint32(24, true);
  const second = view.getUint32(28, true);
  if (index !== EDMM_OCALL.ALLOC && index !== EDMM_OCALL.MODIFY)
    throw sdkError(
      'OCALL_UNKNOWN',
      `the enclave asked for OCALL ${index} of early dynamic memory, which no current host answers`,
      'build the enclave with release 2.16 of the SDK or a later one',
    );
  const where = { offset: address - range.base, length };
  check(address, length, range);
  return index === EDMM_OCALL.ALLOC
    ? { ...where, what: 'room', now: (second & COMMIT_NOW) !== 0 }
    : { ...where, ...change(first, second) };
}

/** Every sum stays exact: an address below 2^48 cannot be rounded. */
function check(address: number, length: number, { base, size }: RequestRange): void {
  if (address % PAGE !== 0 || length % PAGE !== 0)
    throw malformed(
      `the range 0x${address.toString(16)}+0x${length.toString(16)} is not made of whole pages`,
    );
  if (length === 0 || address < base || address > base + size || length > base + size - address)
    throw malformed(
      `the range 0x${address.toString(16)}+0x${length.toString(16)} does not lie in the enclave at 0x${base.toString(16)}`,
    );
}

type Change = { what: 'restrict'; permissions: number } | { what: 'type'; pageType: number } | Bare;
type Bare = { what: 'remove' } | { what: 'nothing' };

/** What a change of properties from `from` to `to` takes: permissions and type never change together. */
function change(from: number, to: number): Change {
  const [typeFrom, typeTo] = [from, to].map((flags) => (flags >>> TYPE_SHIFT) & TYPE_MASK);
  const [protFrom, protTo] = [from & PROT_MASK, to & PROT_MASK];
  const bad = () => malformed(`pages cannot change from 0x${from.toString(16)} to 0x${to.toString(16)}`);
  if (typeFrom === PT_TRIM && typeTo === PT_TRIM) return { what: 'remove' };
  if (typeFrom === PT_TRIM || (protFrom !== protTo && typeFrom !== typeTo)) throw bad();
  if (typeTo === PT_TRIM) return { what: 'type', pageType: PT_TRIM };
  if (typeTo === PT_TCS && typeFrom === PT_REG) return { what: 'type', pageType: PT_TCS };
  if (typeFrom !== typeTo || typeTo === PT_TCS) throw bad();
  if (protFrom === protTo) return { what: 'nothing' };
  if (typeTo !== PT_REG) throw bad();
  return { what: 'restrict', permissions: protTo };
}

function malformed(message: string): Error {
  return sdkError(
    'MESSAGE_MALFORMED',
    `the enclave asked for a change of its memory that cannot be: ${message}`,
    'build the enclave with an unmodified trusted runtime',
  );
}
