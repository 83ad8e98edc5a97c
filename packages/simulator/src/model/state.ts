/**
 * The state that the manual describes: EPCM entries, enclaves, threads. Objects and booleans, nothing packed.
 * Source: Intel SDM Vol. 3D, "Enclave Access Control and Data Structures".
 */

/** One EPCM entry with the page behind it. */
export interface Entry {
  valid: boolean;
  /** PT_SECS 0, PT_TCS 1, PT_REG 2, PT_VA 3, PT_TRIM 4. */
  type: number;
  r: boolean;
  w: boolean;
  x: boolean;
  pending: boolean;
  modified: boolean;
  pr: boolean;
  blocked: boolean;
  /** ENCLAVESECS (of a SECS: itself); null for a version array. */
  enclave: Enclave | null;
  /** ENCLAVEADDRESS. */
  address: number;
  /** The page of PT_REG, PT_TCS, PT_TRIM. */
  content: Uint8Array | null;
  /** The slots of PT_VA: what was evicted under each; nothing where one was never used. */
  slots: (Sealed | null | undefined)[] | null;
  /** EBLOCK, EMODPR or EMODT happened, and no ETRACK since. */
  stale: boolean;
  /** Entries into the enclave that were under way at that ETRACK. */
  waitFor: readonly number[];
  /** What the guest's page table allows: R 1, W 2, X 4. */
  pte: number;
  /** PT_TCS: the entry that its thread is inside with; 0 when the TCS is not busy. */
  inside: number;
  /** PT_TCS: every SSA frame could be used when its thread entered last. */
  wholeAtEntry: boolean;
}

/** One enclave, from ECREATE on. */
export interface Enclave {
  eid: number;
  /** Frame of the SECS; −1 while it is evicted. */
  frame: number;
  base: number;
  size: number;
  flags: number;
  xfrm: number;
  miscselect: number;
  ssaFrameSize: number;
  initialized: boolean;
  /** SECS.CONFIGSVN and SECS.ISVSVN. */
  configSvn: number;
  isvSvn: number;
  /** Running hash that stands for the measurement. */
  measurement: number;
  gates: number;
  provisionAuthorized: boolean;
  /** Entries under way at the last ETRACK. */
  cycle: readonly number[];
  /** Addresses where a TCS is or was. */
  tcsAddresses: Set<number>;
}

/** What EWB wrote, and what ELD must find again. */
export interface Sealed {
  /** Where the page was written to. */
  gpa: number;
  type: number;
  /** EID in the MAC header: 0 for SECS and version arrays. */
  eid: number;
  address: number;
  /** PCMD.SECINFO and the reserved bytes as they were written. */
  pcmd: Uint8Array;
  cipher: Uint8Array;
  r: boolean;
  w: boolean;
  x: boolean;
  pending: boolean;
  modified: boolean;
  pr: boolean;
  content: Uint8Array | null;
  slots: (Sealed | null | undefined)[] | null;
  enclave: Enclave | null;
}

/** An entry with VALID = 0. */
export function freeEntry(): Entry {
  return {
    valid: false,
    type: 0,
    r: false,
    w: false,
    x: false,
    pending: false,
    modified: false,
    pr: false,
    blocked: false,
    enclave: null,
    address: 0,
    content: null,
    slots: null,
    stale: false,
    waitFor: [],
    pte: 7,
    inside: 0,
    wholeAtEntry: true,
  };
}

/** VALID := 0. */
export function clear(entry: Entry): void {
  Object.assign(entry, freeEntry());
}
