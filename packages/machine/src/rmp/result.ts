/** Result codes in EAX of the RMP instructions (AMD APM vol. 3, the instructions' tables). */
import { RMP_RESULT as COMMON } from '@nestedsgx/arch';

/** The codes of RMPADJUST, PVALIDATE and RMPUPDATE, and FAIL_BADADDR of PSMASH. */
export const RMP_RESULT = Object.freeze({ ...COMMON, FAIL_BADADDR: 7 } as const);

/** A value of {@link RMP_RESULT}. */
export type RmpResult = (typeof RMP_RESULT)[keyof typeof RMP_RESULT];
