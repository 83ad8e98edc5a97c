/** How a leaf ends, as the manual tells it. */
import { SGX_ERROR } from '@nestedsgx/arch';

/** A result in RAX with flags, a fault, or the platform's refusal of somebody else's frame. */
export interface Outcome {
  readonly kind: 'rax' | 'gp' | 'pf' | 'refused';
  readonly rax: number;
  readonly zf: boolean;
  readonly cf: boolean;
  /** Faulting address of a #PF. */
  readonly address: number;
  /** RBX after EDBGRD. */
  readonly value: bigint | null;
}

const NOTHING = { rax: 0, zf: false, cf: false, address: 0, value: null };

/** RAX = 0, flags clear. */
export const OK: Outcome = Object.freeze({ kind: 'rax', ...NOTHING });
/** #GP(0). */
export const GP: Outcome = Object.freeze({ kind: 'gp', ...NOTHING });
/** The platform does not take the request (a frame of another connection, no room). */
export const REFUSED: Outcome = Object.freeze({ kind: 'refused', ...NOTHING });

/** #PF at `address`. */
export function pf(address: number): Outcome {
  return { kind: 'pf', ...NOTHING, address };
}

/** RAX = 0 and a value in RBX. */
export function value(rbx: bigint): Outcome {
  return { kind: 'rax', ...NOTHING, value: rbx };
}

/** A code in RAX with ZF. */
export function failed(name: keyof typeof SGX_ERROR): Outcome {
  return { kind: 'rax', ...NOTHING, rax: SGX_ERROR[name], zf: true };
}

/** A code in RAX with CF: information, not failure. */
export function informed(name: keyof typeof SGX_ERROR): Outcome {
  return { kind: 'rax', ...NOTHING, rax: SGX_ERROR[name], cf: true };
}
