/** What a guest or a thread does without a leaf: stores, tampering with swapped pages, binding gates. */
import { AT, GATES } from '../layout.js';
import type { Simulation } from './simulation.js';
import { TCS_HEAD } from './sources.js';
import type { Step } from './steps.js';

/** Kinds of TAMPER; `slot` says which byte, or which other page is copied. */
export const TAMPER_KINDS = 8;
const REFUSALS = ['memory', 'start', 'write'] as const;

/** Executes the step. */
export function guestEvent(sim: Simulation, s: Step): void {
  switch (s.op) {
    case 'STORE':
      storeEvent(sim, s);
      break;
    case 'TAMPER':
      tamper(sim, s);
      break;
    case 'REFUSE': {
      const what = REFUSALS[s.source % REFUSALS.length];
      sim.model.refuse = what;
      sim.world.processor.refuse = what;
      break;
    }
    case 'GATES': {
      const enclave = sim.enclaveOf(s);
      if (enclave === null || enclave.initialized) return;
      const count = s.slot === 0 ? 0 : GATES;
      enclave.gates = count;
      sim.world.enclave(enclave.frame)!.gates = count === 0 ? null : { gpa: AT.GATES, count };
      break;
    }
    case 'AUTHORIZE': {
      const enclave = sim.enclaveOf(s);
      if (enclave === null || enclave.initialized) return;
      enclave.provisionAuthorized = true;
      sim.world.enclave(enclave.frame)!.provisionAuthorized = true;
      break;
    }
    default:
      break;
  }
}

/** A thread writes to a page: eight bytes, or (quadword 0, value 0) the head of a good TCS. */
function storeEvent(sim: Simulation, s: Step): void {
  const enclave = sim.enclaveOf(s);
  const record = enclave === null ? undefined : sim.world.enclave(enclave.frame);
  if (enclave === null || record === undefined || !enclave.initialized) return;
  if (s.slot === 0 && s.source === 0) {
    const page = sim.writable(enclave, s.page);
    if (page === null) return;
    sim.store(enclave, record, s.page, 0, new Uint8Array(4096));
    sim.store(enclave, record, s.page, 0, TCS_HEAD);
    return;
  }
  sim.store(enclave, record, s.page, s.slot * 8, new Uint8Array(8).fill(s.source));
}

function tamper(sim: Simulation, s: Step): void {
  const { page, pcmd } = sim.swap(s.source);
  switch (s.flags) {
    case 0:
      page[s.slot] ^= 1;
      break;
    case 1:
      pcmd[0] ^= 2;
      break;
    case 2:
      pcmd[112] ^= 0x80;
      break;
    case 3:
      pcmd[80] ^= 1;
      break;
    case 4:
      // ENCLAVEID is a handle for software: nothing depends on it.
      pcmd[64] ^= 1;
      break;
    case 5:
      pcmd[1] = s.slot % 6;
      break;
    case 6:
      page.set(sim.swap(s.slot).page);
      break;
    default:
      page.set(sim.swap(s.slot).page);
      pcmd.set(sim.swap(s.slot).pcmd);
      break;
  }
}
