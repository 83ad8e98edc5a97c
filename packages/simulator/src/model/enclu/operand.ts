/** The checks of an ENCLU memory operand that every leaf repeats. */
import { PAGE } from '../../layout.js';
import { type Model, PT } from '../model.js';
import type { Enclave, Entry } from '../state.js';

/** "Is within CR_ELRANGE". */
export function inElrange(enclave: Enclave, address: number): boolean {
  return address >= enclave.base && address < enclave.base + enclave.size;
}

/** The EPC page behind a linear address, or null where there is none. */
export function pageOf(m: Model, enclave: Enclave, address: number): Entry | null {
  return m.pageAt(enclave, address - (address % PAGE));
}

/** VALID, not BLOCKED, PENDING or MODIFIED, PT_REG, of this enclave (which {@link pageOf} gave). */
export function settled(entry: Entry): boolean {
  return entry.valid && !entry.blocked && !entry.pending && !entry.modified && entry.type === PT.REG;
}
