/** Memory that a program gives back: the host's two steps around the enclave's EACCEPT. */

/** What it needs of an enclave. */
export interface Trimmed {
  trimPages(offset: number, length: number): void;
  removePages(offset: number, length: number): void;
}

/** The OCALL handler (native/interface.json): 0, or −1 when the pages stay. */
export function pageHandlers(enclave: () => Trimmed) {
  return {
    host_pages(remove: number, offset: bigint, length: bigint): bigint {
      try {
        if (remove === 0) enclave().trimPages(Number(offset), Number(length));
        else enclave().removePages(Number(offset), Number(length));
        return 0n;
      } catch {
        return -1n;
      }
    },
  };
}
