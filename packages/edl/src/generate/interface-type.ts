/** An interface as generated TypeScript gives it: the description, and the types of its calls. */
import type { EdlDescription } from '../layout/describe.js';

/** `Ecalls` and `Ocalls` are interfaces with a method for each call; `types` is never set, it only carries them. */
export interface EdlInterface<Ecalls, Ocalls> {
  readonly description: EdlDescription;
  readonly types?: { readonly ecalls: Ecalls; readonly ocalls: Ocalls };
}

/** What an OCALL with `out` parameters or errno answers; what `out` does not name is taken from the arguments. */
export interface OcallAnswer<Value, Out> {
  readonly value?: Value;
  readonly out?: Partial<Out>;
  /** For OCALLs with propagate_errno: errno inside of the enclave afterwards; 0 unless given. */
  readonly errno?: number;
}
