/** How often each operation comes, and what comes after the processor was told to refuse. */
import type { Op } from './steps.js';

/** Operations with their weights. */
export type Weights = readonly (readonly [Op, number])[];

/** While no enclave is initialized. */
export const BUILDING: Weights = [
  ['ECREATE', 10],
  ['EADD', 30],
  ['EEXTEND', 12],
  ['EINIT', 8],
  ['GATES', 4],
  ['AUTHORIZE', 2],
  ['EREMOVE', 8],
  ['EPA', 4],
  ['EBLOCK', 4],
  ['ETRACK', 2],
  ['ETRACKC', 2],
  ['EWB', 4],
  ['ELDU', 3],
  ['ERDINFO', 3],
  ['EDBGRD', 3],
  ['EDBGWR', 2],
  ['EENTER', 2],
  ['EAUG', 1],
  ['EMODPR', 1],
  ['EMODT', 1],
  ['SET_PTE', 1],
  ['TAMPER', 1],
  ['REFUSE', 1],
  ['EUPDATESVN', 1],
];
/** While one is. */
export const RUNNING: Weights = [
  ['ECREATE', 2],
  ['EADD', 2],
  ['EEXTEND', 1],
  ['EINIT', 1],
  ['EREMOVE', 7],
  ['EPA', 4],
  ['EBLOCK', 14],
  ['ETRACK', 8],
  ['ETRACKC', 4],
  ['EWB', 12],
  ['ELDB', 3],
  ['ELDU', 6],
  ['ELDBC', 2],
  ['ELDUC', 3],
  ['EAUG', 12],
  ['EMODPR', 8],
  ['EMODT', 10],
  ['ERDINFO', 4],
  ['EDBGRD', 4],
  ['EDBGWR', 3],
  ['EREPORT', 2],
  ['EGETKEY', 4],
  ['EACCEPT', 20],
  ['EACCEPT_RANGE', 8],
  ['EMODPE', 6],
  ['EACCEPTCOPY', 8],
  ['EENTER', 14],
  ['ERESUME', 5],
  ['EEXIT', 5],
  ['AEX', 6],
  ['EDECCSSA', 4],
  ['SET_PTE', 5],
  ['STORE', 4],
  ['TAMPER', 2],
  ['REFUSE', 2],
  ['EUPDATESVN', 1],
  ['EVERIFYREPORT2', 1],
];
/** The leaves that load. */
export const LOADS: readonly Op[] = ['ELDB', 'ELDU', 'ELDBC', 'ELDUC'];
/** What is tried after the processor was told to refuse: by what it refuses. */
export const AFTER_REFUSE: readonly (readonly Op[])[] = [['ECREATE'], ['EINIT'], ['EADD', 'EAUG', ...LOADS]];
