/** ENCLS[EREMOVE]. Source: Intel SDM Vol. 3D, "EREMOVE—Remove a page from the EPC", Operation. */
import { PT_SECS, PT_TRIM, PT_VA } from '@nestedsgx/arch';
import { invariant } from '../errors.js';
import { checkList, DONE, type LeafOutcome, PF_ACCESS, trip } from '../leaf/checks.js';
import { removeVersionArray } from '../paging/evicted-enclaves.js';
import { available } from '../state/available.js';
import { type EnclaveRecord, LOST_REASON } from '../state/enclave.js';
import { destroyEnclave, loseEnclave } from '../state/enclave-life.js';
import { EPCM_MODIFIED } from '../state/epcm.js';
import { FOREIGN, NOT_EPC } from '../state/frames.js';
import type { FrameOwner, MonitorState } from '../state/state.js';
import { admissionFollows, unbindTcs } from '../state/threads.js';

/** EREMOVE's checks, in the manual's order. */
export const EREMOVE_CHECKS = checkList('EREMOVE', [
  ['page-aligned', '#GP(0)', 'RCX is 4096-byte aligned'],
  ['page-in-epc', '#PF', 'RCX resolves to an EPC page'],
  ['page-owned', 'REFUSED', 'the EPC frame belongs to the caller', 'deviation'],
  ['no-children', 'SGX_CHILD_PRESENT', 'PT_SECS: no EPC page is associated with the SECS'],
  [
    'not-active',
    'SGX_ENCLAVE_ACT',
    'no thread is active in the enclave, unless the page is PT_TRIM and accepted',
  ],
] as const);

/** RCX = EPC page. */
export function eremove(s: MonitorState, owner: FrameOwner, _rbx: number, rcx: number): LeafOutcome {
  const C = EREMOVE_CHECKS;
  if (rcx % 4096 !== 0) return trip(C, 'page-aligned');
  const frame = s.frames.resolve(owner, rcx);
  if (frame === NOT_EPC) return trip(C, 'page-in-epc', rcx, PF_ACCESS);
  if (frame === FOREIGN) return trip(C, 'page-owned');
  if (!s.epcm.valid(frame)) return DONE;
  const type = s.epcm.type(frame);
  if (type === PT_VA) {
    removeVersionArray(s, frame);
    return DONE;
  }
  if (type === PT_SECS) {
    const enclave = s.enclaves.get(frame);
    invariant(enclave !== undefined, `valid SECS frame ${frame} has no enclave`);
    if (enclave.children !== 0) return trip(C, 'no-children');
    destroyEnclave(s, enclave);
    return DONE;
  }
  const enclave = s.enclaves.get(s.epcm.secs(frame));
  invariant(enclave !== undefined, `frame ${frame} has no enclave`);
  if (trimmed(s, frame)) {
    removePage(s, enclave, frame);
    return DONE;
  }
  if (!quiesce(enclave)) return trip(C, 'not-active');
  removePage(s, enclave, frame);
  release(enclave);
  return DONE;
}

/** True for a page that its enclave gave up (PT_TRIM, accepted): it may go while threads are inside. */
export function trimmed(s: MonitorState, frame: number): boolean {
  return s.epcm.type(frame) === PT_TRIM && (s.epcm.bits(frame) & EPCM_MODIFIED) === 0;
}

/** Stops entries and tells whether nobody is inside. When false, entries are allowed again. */
export function quiesce(enclave: EnclaveRecord): boolean {
  const running = enclave.running;
  if (running === null || running.lost !== null) return true;
  running.freeze();
  if (!running.anyInside()) return true;
  running.unfreeze();
  return false;
}

/** Allows entries again after {@link quiesce}. */
export function release(enclave: EnclaveRecord): void {
  if (enclave.running !== null && enclave.running.lost === null) enclave.running.unfreeze();
}

/** Takes one page of a quiescent enclave, or a trimmed one: EPCM entry invalid, unmapped, scrubbed; admission follows. */
export function removePage(s: MonitorState, enclave: EnclaveRecord, frame: number): void {
  const offset = unlinkPage(s, enclave, frame);
  dropPages(s, enclave, offset, 4096);
  admissionFollows(s, enclave, offset);
}

/** The EPCM half of {@link removePage}; returns the page's offset, which the caller unmaps and scrubs. */
export function unlinkPage(s: MonitorState, enclave: EnclaveRecord, frame: number): number {
  const offset = s.epcm.address(frame) - enclave.base;
  unbindTcs(enclave, frame);
  s.epcm.clear(frame);
  enclave.pages.delete(offset / 4096);
  return offset;
}

/**
 * Scrubs and unmaps. An enclave whose pages cannot be taken away must not run on. The contents go first: they must go
 * even where pages cannot be unmapped, and the processor need not keep them for later.
 */
export function dropPages(s: MonitorState, enclave: EnclaveRecord, offset: number, length: number): void {
  const scrubbed = available(() => enclave.memory.discard(offset, length), s.failures);
  const unmapped = available(() => {
    if (enclave.running !== null && enclave.running.lost === null)
      enclave.running.unmap(offset, length, scrubbed);
  }, s.failures);
  if (!scrubbed || !unmapped) loseEnclave(enclave, 'a page could not be taken away', LOST_REASON.RUNNER);
}
