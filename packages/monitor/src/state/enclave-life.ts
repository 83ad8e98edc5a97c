/** What happens to an enclave as a whole: ranges for the processor, admission of threads, the end. */
import { ATTRIBUTES_AEX_NOTIFY, ATTRIBUTES_DEBUG, PT_REG, readU32, readU64, TCS } from '@nestedsgx/arch';
import { enterableFrames } from '../enclu/eenter.js';
import type { PageRange, ProcessorStart, ThreadStart } from '../ports.js';
import { available } from './available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from './enclave.js';

import { EPCM_R, EPCM_W, EPCM_X } from './epcm.js';
import { effectiveRights } from './mapping.js';
import { xsaveSize } from './platform.js';
import { type MonitorState, u64ToNumber } from './state.js';

export { loseEnclave };

const PAGE = 4096;

/** The effective mapping of every regular page, merged into runs of equal permission; noted as present in the EPCM. */
export function effectiveRanges(s: MonitorState, enclave: EnclaveRecord): PageRange[] {
  const out: PageRange[] = [];
  let last: PageRange | null = null;
  let lastRights = 0;
  enclave.pages.forEach((page, frame) => {
    if (s.epcm.type(frame) !== PT_REG) return;
    const rights = effectiveRights(s, frame);
    s.epcm.setMapped(frame, rights);
    const offset = page * PAGE;
    if (last !== null && last.offset + last.length === offset && lastRights === rights) {
      last.length += PAGE;
      return;
    }
    last = {
      offset,
      length: PAGE,
      r: (rights & EPCM_R) !== 0,
      w: (rights & EPCM_W) !== 0,
      x: (rights & EPCM_X) !== 0,
    };
    lastRights = rights;
    out.push(last);
  });
  return out;
}

/** What the processor must know of a TCS; `nssa` is limited to the SSA frames that EENTER would accept. */
export function threadStart(s: MonitorState, enclave: EnclaveRecord, index: number): ThreadStart {
  const { offset } = enclave.tcs[index];
  const tcs = enclave.memory.read(offset, 72);
  const o = TCS.offsets;
  return {
    tcsOffset: offset,
    ossa: offsetOrZero(tcs, o.OSSA),
    nssa: enterableFrames(s, enclave, index, tcs),
    oentry: offsetOrZero(tcs, o.OENTRY),
    ofsbase: offsetOrZero(tcs, o.OFSBASE),
    ogsbase: offsetOrZero(tcs, o.OGSBASE),
    debugOptIn: (readU32(tcs, o.FLAGS) & 1) !== 0,
    aexNotify: (readU32(tcs, o.FLAGS) & 2) !== 0,
  };
}

/** An offset that is no address belongs to a thread that is not admitted; the processor gets 0. */
function offsetOrZero(tcs: Uint8Array, at: number): number {
  const value = u64ToNumber(tcs, at);
  return Number.isFinite(value) ? value : 0;
}

/**
 * Pages whose removal can change who may enter: TCS pages, and of the SSA frames they name those that EENTER looks
 * at. SSAFRAMESIZE is the guest's to choose and may span any number of pages between.
 */
export function admissionPages(
  s: MonitorState,
  enclave: EnclaveRecord,
  threads: readonly ThreadStart[],
): Set<number> {
  const pages = new Set<number>();
  const frameBytes = enclave.ssaFrameBytes;
  const saved = xsaveSize(s.platform, enclave.xfrm);
  for (const { tcsOffset, ossa, nssa } of threads) {
    pages.add(tcsOffset / PAGE);
    for (let i = 0; i < nssa; i++) {
      const frame = ossa + i * frameBytes;
      for (let at = frame; at < frame + saved; at += PAGE) pages.add(at / PAGE);
      pages.add((frame + frameBytes) / PAGE - 1);
    }
  }
  return pages;
}

/** Everything for {@link EnclaveProcessor.start}. The enclave has gates. */
export function processorStart(s: MonitorState, enclave: EnclaveRecord): ProcessorStart {
  return {
    enclaveId: enclave.id,
    base: enclave.base,
    size: enclave.size,
    memory: enclave.memory,
    ranges: effectiveRanges(s, enclave),
    threads: enclave.tcs.map((_, i) => threadStart(s, enclave, i)),
    ssaFrameBytes: enclave.ssaFrameBytes,
    xfrm: readU64(enclave.secs, 56),
    miscselect: enclave.miscselect,
    debug: (enclave.flags & ATTRIBUTES_DEBUG) !== 0n,
    aexNotify: (enclave.flags & ATTRIBUTES_AEX_NOTIFY) !== 0n,
    gates: enclave.gates ?? { gpa: 0, count: 0 },
  };
}

/** Sets `admitted` of every thread to what EENTER's checks of SECS, TCS and SSA say now. */
export function refreshAdmission(s: MonitorState, enclave: EnclaveRecord): void {
  const running = enclave.running;
  if (running === null || running.lost !== null) return;
  for (let i = 0; i < enclave.tcs.length; i++) {
    const { offset, frame } = enclave.tcs[i];
    const present = enclave.pages.get(offset / PAGE) === frame;
    running.setAdmitted(i, present && enterableFrames(s, enclave, i, enclave.memory.read(offset, 72)) > 0);
  }
}

/** EREMOVE of a SECS without children: the processor stops, memory is given back, the entry is invalid. */
export function destroyEnclave(s: MonitorState, enclave: EnclaveRecord): void {
  enclave.running?.stop();
  enclave.running = null;
  enclave.memory.close();
  enclave.measurement.release?.();
  enclave.secs.fill(0);
  s.enclaves.delete(enclave.secsFrame);
  s.epcm.clear(enclave.secsFrame);
}

/** Removes an enclave with all its pages (its owner is gone): stopped first, then scrubbed as a whole. */
export function removeWhole(s: MonitorState, enclave: EnclaveRecord): void {
  loseEnclave(enclave, 'its owner is gone', LOST_REASON.DETACHED);
  enclave.pages.forEach((_, frame) => {
    s.epcm.clear(frame);
  });
  // Closing gives the memory back in any case.
  available(() => enclave.memory.discard(0, enclave.size), s.failures);
  destroyEnclave(s, enclave);
}
