/** What happens to an enclave as a whole: what the processor starts with, and the end. Threads: threads.ts. */
import { ATTRIBUTES_AEX_NOTIFY, ATTRIBUTES_DEBUG, PT_REG, readU64 } from '@nestedsgx/arch';
import type { PageRange, ProcessorStart } from '../ports.js';
import { available } from './available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from './enclave.js';
import { EPCM_R, EPCM_W, EPCM_X } from './epcm.js';
import { effectiveRights } from './mapping.js';
import type { MonitorState } from './state.js';
import { startThreads } from './threads.js';

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

/** Everything for {@link EnclaveProcessor.start}. The enclave has gates. */
export function processorStart(s: MonitorState, enclave: EnclaveRecord): ProcessorStart {
  return {
    enclaveId: enclave.id,
    base: enclave.base,
    size: enclave.size,
    memory: enclave.memory,
    ranges: effectiveRanges(s, enclave),
    threads: startThreads(s, enclave),
    ssaFrameBytes: enclave.ssaFrameBytes,
    xfrm: readU64(enclave.secs, 56),
    miscselect: enclave.miscselect,
    debug: (enclave.flags & ATTRIBUTES_DEBUG) !== 0n,
    aexNotify: (enclave.flags & ATTRIBUTES_AEX_NOTIFY) !== 0n,
    gates: enclave.gates ?? { gpa: 0, count: 0 },
  };
}

/** EREMOVE of a SECS without children: the processor stops, memory is given back, the entry is invalid. */
export function destroyEnclave(s: MonitorState, enclave: EnclaveRecord): void {
  s.enclaves.delete(enclave.secsFrame);
  s.epcm.clear(enclave.secsFrame);
  endEnclave(enclave);
}

/** Stops the processor and gives back everything that belongs to an enclave without pages. */
export function endEnclave(enclave: EnclaveRecord): void {
  enclave.running?.stop();
  enclave.running = null;
  enclave.memory.close();
  enclave.measurement.release?.();
  enclave.secs.fill(0);
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
