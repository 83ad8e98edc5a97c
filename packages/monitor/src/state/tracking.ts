/**
 * Tracking of threads that may still use old translations. An enclave counts epochs from 1; a thread belongs to the
 * epoch in which it entered. Source: Intel SDM Vol. 3D, "ETRACK—Activates EBLOCK Checks" and "Track an Enclave".
 */
import type { EnclaveRecord } from './enclave.js';
import type { Epcm } from './epcm.js';

/** True while a thread is inside that entered before `epoch` of the enclave began. */
function insideBefore(enclave: EnclaveRecord, epoch: number): boolean {
  const { running } = enclave;
  // The processor counts from 0 at its start; the enclave's epochs go on from where they were then.
  return running !== null && running.lost === null && running.anyInside(epoch - enclave.epochAtStart);
}

/** Notes that translations of the page are stale from now on. */
export function stampPage(epcm: Epcm, enclave: EnclaveRecord, frame: number): void {
  epcm.setStamp(frame, enclave.epoch);
}

/** True when a tracking cycle began after the page's stamp and no thread of before is inside. */
export function pageTracked(epcm: Epcm, enclave: EnclaveRecord, frame: number): boolean {
  return stampTracked(enclave, epcm.stamp(frame));
}

/** As {@link pageTracked} for every page with this stamp. */
export function stampTracked(enclave: EnclaveRecord, stamp: number): boolean {
  return enclave.epoch > stamp && !insideBefore(enclave, stamp + 1);
}

/** Begins a tracking cycle; false (nothing changed) while threads of before the last one are inside. */
export function beginTracking(enclave: EnclaveRecord): boolean {
  if (insideBefore(enclave, enclave.epoch)) return false;
  enclave.epoch++;
  if (enclave.running !== null && enclave.running.lost === null) enclave.running.bumpEpoch();
  return true;
}
