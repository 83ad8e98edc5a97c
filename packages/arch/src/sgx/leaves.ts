/** Leaf numbers and exception vectors. Source: Intel SDM Vol. 3D, "SGX Instruction References"; Vol. 3A, ch. 6. */

/** ENCLS leaf numbers (EAX). */
export const ENCLS = Object.freeze({
  ECREATE: 0x00,
  EADD: 0x01,
  EINIT: 0x02,
  EREMOVE: 0x03,
  EDBGRD: 0x04,
  EDBGWR: 0x05,
  EEXTEND: 0x06,
  ELDB: 0x07,
  ELDU: 0x08,
  EBLOCK: 0x09,
  EPA: 0x0a,
  EWB: 0x0b,
  ETRACK: 0x0c,
  EAUG: 0x0d,
  EMODPR: 0x0e,
  EMODT: 0x0f,
  ERDINFO: 0x10,
  ETRACKC: 0x11,
  ELDBC: 0x12,
  ELDUC: 0x13,
  EUPDATESVN: 0x18,
} as const);

/** ENCLU leaf numbers (EAX). */
export const ENCLU = Object.freeze({
  EREPORT: 0x00,
  EGETKEY: 0x01,
  EENTER: 0x02,
  ERESUME: 0x03,
  EEXIT: 0x04,
  EACCEPT: 0x05,
  EMODPE: 0x06,
  EACCEPTCOPY: 0x07,
  EVERIFYREPORT2: 0x08,
  EDECCSSA: 0x09,
  /** This machine's own, where the manual has none: EACCEPT of a range. */
  EACCEPT_RANGE: 0x80,
} as const);

/** Exception vectors. SDM Vol. 3A, "Protected-Mode Exceptions and Interrupts". */
export const VECTOR = Object.freeze({
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
  VE: 20,
  CP: 21,
  HV: 28,
  VC: 29,
  SX: 30,
} as const);

/** Page fault error code bits. SDM Vol. 3A, "Page-Fault Exception (#PF)". */
export const PFEC = Object.freeze({ P: 1, W: 2, U: 4, RSVD: 8, I: 16, PK: 32, SS: 64, SGX: 0x8000 } as const);
