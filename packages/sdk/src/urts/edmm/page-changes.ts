/**
 * Answers the OCALLs by which the trusted runtime changes its pages, with the ioctls of the driver.
 * Source: Intel SGX SDK for Linux, psw/urts/linux/urts_emm.cpp, psw/enclave_common/sgx_enclave_common.cpp.
 */
import { type GuestMemory, type SgxEnclaveFile, SgxIoctlError } from '@nestedsgx/guest';
import { EDMM_REQUEST_SIZE, type PageRequest, readPageRequest } from './requests.js';

/** What the enclave finds in `retval`. Source: sgx_enclave_common.h, enclave_error_t. */
const ENCLAVE_ERROR = Object.freeze({
  SUCCESS: 0,
  NOT_AUTHORIZED: 6,
  INVALID_PARAMETER: 9,
  OUT_OF_MEMORY: 10,
  UNEXPECTED: 0x1001,
});

const OF_ERRNO: Readonly<Record<string, number>> = {
  ENOMEM: ENCLAVE_ERROR.OUT_OF_MEMORY,
  EINVAL: ENCLAVE_ERROR.INVALID_PARAMETER,
  EACCES: ENCLAVE_ERROR.NOT_AUTHORIZED,
};

/** Bytes added at once for an enclave that accepts a whole range; what is beyond comes by page faults. */
const POPULATE_MOST = 4 * 2 ** 20;

/** The driver as far as it is used here. */
export type PageDriver = Pick<
  SgxEnclaveFile,
  'base' | 'size' | 'populate' | 'restrictPermissions' | 'modifyTypes' | 'removePages'
>;

/** Answers OCALL `index` with its structure at `address`; gives why the change was refused, or null. */
export type PageChanges = (index: number, address: number) => Error | null;

/**
 * The answers for one enclave. The enclave finds a number in the structure, as Intel's untrusted runtime tells it.
 * @throws GUEST_MEMORY_BAD_SIZE, OCALL_UNKNOWN when there is no structure to tell it in
 */
export function pageChanges(driver: PageDriver, memory: Pick<GuestMemory, 'viewAt'>): PageChanges {
  return (index, address) => {
    const bytes = memory.viewAt(address, EDMM_REQUEST_SIZE);
    const tell = (result: number) =>
      new DataView(bytes.buffer, bytes.byteOffset, 4).setInt32(0, result, true);
    try {
      apply(driver, readPageRequest(index, bytes, driver));
    } catch (error) {
      if ((error as { code?: unknown }).code === 'OCALL_UNKNOWN') throw error;
      tell(resultOf(error));
      return error as Error;
    }
    tell(ENCLAVE_ERROR.SUCCESS);
    return null;
  };
}

function resultOf(error: unknown): number {
  if (error instanceof SgxIoctlError) return OF_ERRNO[error.errno] ?? ENCLAVE_ERROR.UNEXPECTED;
  const malformed = (error as { code?: unknown }).code === 'MESSAGE_MALFORMED';
  return malformed ? ENCLAVE_ERROR.INVALID_PARAMETER : ENCLAVE_ERROR.UNEXPECTED;
}

function apply(driver: PageDriver, request: PageRequest): void {
  const { offset, length } = request;
  switch (request.what) {
    case 'room':
      if (request.now) driver.populate(offset, Math.min(length, POPULATE_MOST));
      break;
    case 'restrict':
      inPieces(request, (piece) =>
        driver.restrictPermissions({ ...piece, permissions: request.permissions }),
      );
      break;
    case 'type':
      inPieces(request, (piece) => driver.modifyTypes({ ...piece, pageType: request.pageType }));
      break;
    case 'remove':
      inPieces(request, (piece) => driver.removePages(piece));
  }
}

interface Piece {
  readonly offset: number;
  readonly length: number;
}

/** An ioctl may stop where a page is in its way for a moment: it goes on from there as long as it gets on. */
function inPieces({ offset, length }: Piece, run: (piece: Piece) => number): void {
  for (let done = 0; done < length; ) {
    try {
      done += run({ offset: offset + done, length: length - done });
    } catch (error) {
      const count = error instanceof SgxIoctlError ? (error.count ?? 0) : 0;
      if (count === 0) throw error;
      done += count;
    }
  }
}
