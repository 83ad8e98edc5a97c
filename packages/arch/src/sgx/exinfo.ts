/** EXINFO of the SSA's MISC region. Source: Intel SDM Vol. 3D, "EXINFO Structure". */
import { u32, u64 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** EXINFO (16 bytes): MADDR is the faulting address of #PF (0 for #GP), ERRCD the exception's error code. */
export const EXINFO = struct('EXINFO', 16, { MADDR: at(0, u64), ERRCD: at(8, u32) });
/** Decoded {@link EXINFO}. */
export type Exinfo = StructValue<typeof EXINFO>;
