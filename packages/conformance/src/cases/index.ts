/** Every case, in the order of the manual. */
import type { ConformanceCase } from '../case.js';
import { BUILD_CASES } from './build.js';
import { EACCEPT_CASES } from './eaccept.js';
import { EACCEPTCOPY_CASES } from './eacceptcopy.js';
import { EDECCSSA_CASES } from './edeccssa.js';
import { EGETKEY_CASES } from './egetkey.js';
import { PERMISSION_CASES } from './emodpe.js';
import { TYPE_CASES } from './emodt.js';
import { ENTRY_CASES } from './entry.js';
import { EREPORT_CASES } from './ereport.js';
import { EXCEPTION_CASES } from './exceptions.js';

/** All cases. */
export const ALL_CASES: readonly ConformanceCase[] = Object.freeze([
  ...BUILD_CASES,
  ...ENTRY_CASES,
  ...EXCEPTION_CASES,
  ...EREPORT_CASES,
  ...EGETKEY_CASES,
  ...EACCEPT_CASES,
  ...PERMISSION_CASES,
  ...EACCEPTCOPY_CASES,
  ...TYPE_CASES,
  ...EDECCSSA_CASES,
]);
