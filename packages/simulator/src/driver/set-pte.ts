/** SET_PTE: the guest's page table is changed, and the mapping of a page in all threads with it. */
import { setPte } from '@nestedsgx/monitor';
import { AT, BASES, frameGpa, PAGE } from '../layout.js';
import { PT } from '../model/model.js';
import { OK, type Outcome, REFUSED } from '../model/outcome.js';
import { monitorText, outcomeText, sameOutcome } from './compare.js';
import type { Simulation } from './simulation.js';
import type { Step } from './steps.js';
import { OWNER } from './world.js';

/** Executes the step on both sides; what differs, or null. */
export function setPteStep(sim: Simulation, s: Step): string | null {
  const { model: m, world: w } = sim;
  const enclave = sim.enclaveOf(s);
  const linaddr = (enclave?.base ?? BASES[0]) + s.page * PAGE;
  const view = new DataView(w.machine.ram.buffer, AT.RDINFO, 8);
  view.setBigUint64(0, BigInt(linaddr + (s.flags & 7)), true);
  const entry = enclave === null ? null : m.pageAt(enclave, linaddr);
  const expected: Outcome = entry === null ? REFUSED : OK;
  if (entry !== null && entry.type !== PT.SECS) entry.pte = s.flags & 7;
  const operands = { secs: frameGpa(s.secs), list: AT.RDINFO, count: 1 };
  const execute = () => setPte(w.state, OWNER, operands).outcome;
  const registers = [operands.secs, operands.list, operands.count] as const;
  const outcome = sim.hook === null ? execute() : sim.hook('SET_PTE', execute, w.state, registers);
  sim.coverage.note('SET_PTE', outcome);
  sim.coverage.calls++;
  if (sameOutcome(expected, outcome)) return null;
  return `SET_PTE: model ${outcomeText(expected)}, monitor ${monitorText(outcome)}`;
}
