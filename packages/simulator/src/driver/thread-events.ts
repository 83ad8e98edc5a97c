/** EENTER, ERESUME, EEXIT, AEX and EDECCSSA: the processor decides from what the monitor told it. */
import { checkDecrement, checkEnter, checkResume, type EnclaveRecord } from '@nestedsgx/monitor';
import { PAGE } from '../layout.js';
import {
  aex,
  checkEnterModel,
  checkResumeModel,
  cssa,
  edeccssa,
  eenter,
  eexit,
  eresume,
  undoEntry,
  wholeSsa,
} from '../model/enclu/eenter.js';
import { PT } from '../model/model.js';
import { GP, OK, type Outcome } from '../model/outcome.js';
import type { Enclave, Entry } from '../model/state.js';
import { monitorText, outcomeText, sameOutcome } from './compare.js';
import type { Simulation } from './simulation.js';
import type { Step } from './steps.js';
import { memoryOf, runningOf } from './world.js';

const OPS = new Set(['EENTER', 'ERESUME', 'EEXIT', 'AEX', 'EDECCSSA']);

/** Executes the step if it is one of a thread; what differs is left in `threadDifference`. */
export function threadEvent(sim: Simulation, s: Step): boolean {
  if (!OPS.has(s.op)) return false;
  sim.threadDifference = null;
  const enclave = sim.enclaveOf(s);
  const record = enclave === null ? undefined : sim.world.enclave(enclave.frame);
  if (enclave === null || record === undefined) return true;
  const address = enclave.base + s.page * PAGE;
  const tcs = sim.model.pageAt(enclave, address);
  sim.threadDifference =
    s.op === 'EENTER' || s.op === 'ERESUME'
      ? enter(sim, enclave, record, address, s.op === 'ERESUME')
      : leave(sim, s, enclave, record, tcs);
  return true;
}

function enter(
  sim: Simulation,
  enclave: Enclave,
  record: EnclaveRecord,
  address: number,
  resume: boolean,
): string | null {
  const { model: m } = sim;
  const tcs = m.pageAt(enclave, address);
  const checked = tcs === null ? null : checkDifference(sim, enclave, record, tcs, resume);
  if (checked !== null) return checked;
  const before = tcs?.type === PT.TCS ? cssa(tcs) : 0;
  const wholeBefore = tcs?.wholeAtEntry ?? true;
  let expected: Outcome = resume ? eresume(m, enclave, address) : eenter(m, enclave, address);
  // Deviation: a thread needs a gate.
  if (expected === OK && enclave.gates === 0) {
    tcs!.inside = 0;
    expected = GP;
  }
  const running = runningOf(record);
  const entered = running === null ? false : running.enter(running.slotOf(address - enclave.base), resume);
  sim.coverage.calls++;
  if (entered === (expected === OK)) return null;
  if (expected === OK && m.p.wholeSsaNeeded && !(wholeBefore && wholeSsa(m, enclave, tcs!))) {
    undoEntry(tcs!, before, wholeBefore);
    return null;
  }
  return `${resume ? 'ERESUME' : 'EENTER'}: model ${outcomeText(expected)}, the processor ${entered ? 'lets it in' : 'refuses'}`;
}

/** The monitor's own form of the checks, for the SSA frame that the thread would use. */
function checkDifference(
  sim: Simulation,
  enclave: Enclave,
  record: EnclaveRecord,
  tcs: Entry,
  resume: boolean,
): string | null {
  const { model: m, world: w } = sim;
  const frame = m.frames.indexOf(tcs);
  const n = tcs.type === PT.TCS ? cssa(tcs) : 0;
  const offset = tcs.address - enclave.base;
  const bytes = memoryOf(record).read(offset, 72);
  const name = resume ? 'ERESUME' : 'EENTER';
  const execute = () => (resume ? checkResume : checkEnter)(w.state, record, { offset, frame }, n, bytes);
  const actual = sim.hook === null ? execute() : sim.hook(name, execute, w.state, [tcs.address, 0, 0]);
  sim.coverage.note(name, actual);
  const expected = (resume ? checkResumeModel : checkEnterModel)(m, enclave, tcs.address, n);
  if (sameOutcome(expected, actual)) return null;
  return `the check of ${name}: model ${outcomeText(expected)}, monitor ${monitorText(actual)}`;
}

function leave(
  sim: Simulation,
  s: Step,
  enclave: Enclave,
  record: EnclaveRecord,
  tcs: Entry | null,
): string | null {
  const running = runningOf(record);
  if (tcs === null || tcs.inside === 0 || running === null) return null;
  const slot = running.slotOf(tcs.address - enclave.base);
  if (slot < 0) return `the TCS at 0x${tcs.address.toString(16)} lost its thread while it was inside`;
  sim.coverage.calls++;
  if (s.op === 'EEXIT') {
    eexit(tcs);
    running.leave(slot);
  } else if (s.op === 'AEX') {
    aex(tcs);
    running.interrupt(slot);
  } else {
    const bytes = memoryOf(record).read(tcs.address - enclave.base, 72);
    const actual = checkDecrement(sim.world.state, record, cssa(tcs), bytes);
    sim.coverage.note('EDECCSSA', actual);
    const expected = edeccssa(sim.model, enclave, tcs);
    if (!sameOutcome(expected, actual))
      return `the check of EDECCSSA: model ${outcomeText(expected)}, monitor ${monitorText(actual)}`;
    if (expected === OK) running.threads[slot].cssa--;
  }
  return null;
}
