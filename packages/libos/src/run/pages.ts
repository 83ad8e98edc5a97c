/** The host's steps of changes of pages, around the enclave's EACCEPT: memory that goes back, protections that are taken. */

const TRIM = 0;
const REMOVE = 1;
/** And the permissions that are left, as SECINFO has them. */
const RESTRICT = 8;

/** What it needs of an enclave. */
export interface Trimmed {
  trimPages(offset: number, length: number): void;
  removePages(offset: number, length: number): void;
  restrictPages(offset: number, length: number, permissions: number): void;
}

/** The OCALL handler (interface.ts): 0, or −1 when the pages stay as they are. */
export function pageHandlers(enclave: () => Trimmed) {
  return {
    host_pages(operation: number, offset: bigint, length: bigint): bigint {
      try {
        const range = [Number(offset), Number(length)] as const;
        if (operation === TRIM) enclave().trimPages(...range);
        else if (operation === REMOVE) enclave().removePages(...range);
        else enclave().restrictPages(...range, operation - RESTRICT);
        return 0n;
      } catch {
        return -1n;
      }
    },
  };
}
