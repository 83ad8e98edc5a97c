/** The consistency of EPCM, enclaves and owners, checked as a whole. For tests and for `doctor`; costs one pass over the EPC. */
import { PT_REG, PT_SECS, PT_TCS, PT_TRIM, PT_VA } from '@nestedsgx/arch';
import { invariant } from './errors.js';
import type { EnclaveRecord } from './state/enclave.js';
import {
  EPCM_BLOCKED,
  EPCM_MODIFIED,
  EPCM_PENDING,
  EPCM_PR,
  EPCM_R,
  EPCM_RWX,
  EPCM_W,
  NO_FRAME,
} from './state/epcm.js';
import { runningRights } from './state/mapping.js';
import type { FrameOwner, MonitorState } from './state/state.js';

/** Throws MonitorInvariantError naming the first thing that does not fit. */
export function checkInvariants(s: MonitorState, owners: Iterable<FrameOwner>): void {
  const { epcm, frames } = s;
  const byId = new Map([...owners].map((o) => [o.id, o]));
  let valid = 0;
  const children = new Map<number, number>();
  const arrays: number[] = [];
  for (let frame = 0; frame < frames.limit; frame++) {
    if (!epcm.valid(frame)) {
      invariant(
        epcm.bits(frame) === 0 && epcm.secs(frame) === NO_FRAME,
        `invalid frame ${frame} keeps state`,
      );
      continue;
    }
    valid++;
    const type = epcm.type(frame);
    const bits = epcm.bits(frame);
    if (type === PT_SECS || type === PT_VA) {
      invariant(
        (bits & EPCM_RWX) === 0 && epcm.secs(frame) === NO_FRAME,
        `frame ${frame} of type ${type} has rights`,
      );
      invariant(type === PT_VA || s.enclaves.has(frame), `SECS frame ${frame} has no enclave`);
      invariant(
        s.versions.has(frame) === (type === PT_VA),
        `frame ${frame} of type ${type} and its versions`,
      );
      if (type === PT_VA) arrays.push(frame);
      continue;
    }
    invariant(type === PT_REG || type === PT_TCS || type === PT_TRIM, `frame ${frame} has type ${type}`);
    invariant(type === PT_REG || (bits & EPCM_RWX) === 0, `frame ${frame} of type ${type} has rights`);
    checkPageState(s, frame, bits, type);
    invariant((bits & EPCM_W) === 0 || (bits & EPCM_R) !== 0, `frame ${frame} has W without R`);
    const enclave = s.enclaves.get(epcm.secs(frame));
    invariant(enclave !== undefined, `frame ${frame} belongs to no enclave`);
    const offset = epcm.address(frame) - enclave.base;
    invariant(
      offset >= 0 && offset < enclave.size && offset % 4096 === 0,
      `frame ${frame} lies outside the ELRANGE`,
    );
    invariant(
      enclave.pages.get(offset / 4096) === frame,
      `enclave ${enclave.id} does not know frame ${frame}`,
    );
    children.set(enclave.secsFrame, (children.get(enclave.secsFrame) ?? 0) + 1);
  }
  invariant(valid === epcm.validCount, `${valid} frames are valid, ${epcm.validCount} counted`);
  invariant(
    s.versions.count === arrays.length,
    `${s.versions.count} version arrays, ${arrays.length} frames`,
  );
  for (const [id, { enclave, chain }] of s.evictedEnclaves) {
    const last = chain.at(-1);
    invariant(enclave.id === id && enclave.secsFrame === NO_FRAME, `enclave ${id} is evicted and has a SECS`);
    invariant(enclave.children === 0, `enclave ${id} is evicted and has pages`);
    invariant(byId.has(enclave.owner), `enclave ${id} belongs to nobody`);
    const holders = arrays.filter((frame) => last !== undefined && s.versions.holds(frame, last));
    invariant(holders.length === 1, `the version of enclave ${id} lies in ${holders.length} version arrays`);
  }
  for (const [secsFrame, enclave] of s.enclaves) {
    invariant(enclave.secsFrame === secsFrame, `enclave ${enclave.id} is filed under frame ${secsFrame}`);
    invariant(epcm.valid(secsFrame) && epcm.type(secsFrame) === PT_SECS, `enclave ${enclave.id} has no SECS`);
    const found = children.get(secsFrame) ?? 0;
    invariant(
      found === enclave.children,
      `enclave ${enclave.id} has ${found} pages and counts ${enclave.children}`,
    );
    invariant(enclave.running === null || enclave.initialized, `enclave ${enclave.id} runs uninitialized`);
    checkSlots(s, enclave);
    const owner = byId.get(enclave.owner);
    invariant(owner !== undefined, `enclave ${enclave.id} belongs to nobody`);
    enclave.pages.forEach((_, frame) => {
      invariant(
        frames.resolve(owner, frames.gpa(frame)) === frame,
        `frame ${frame} is not its enclave's owner's`,
      );
    });
  }
}

/** PENDING, MODIFIED and PR fit the type, and nobody can do more to the page than its entry says. */
function checkPageState(s: MonitorState, frame: number, bits: number, type: number): void {
  const state = bits & (EPCM_PENDING | EPCM_MODIFIED | EPCM_PR);
  const allowed =
    type === PT_REG
      ? state === 0 ||
        state === EPCM_PR ||
        (state === EPCM_PENDING && (bits & EPCM_RWX) === (EPCM_R | EPCM_W))
      : state === 0 || state === EPCM_MODIFIED;
  invariant(allowed, `frame ${frame} of type ${type} is in state 0x${state.toString(16)}`);
  const enclave = s.enclaves.get(s.epcm.secs(frame));
  if (enclave === undefined || enclave.running === null || enclave.running.lost !== null) return;
  if ((bits & EPCM_BLOCKED) !== 0) return;
  const more = s.epcm.mapped(frame) & ~runningRights(s, enclave, frame);
  invariant(more === 0, `frame ${frame} is mapped with rights 0x${more.toString(16)} that it has not`);
}

/** Thread slots and TCS pages know each other; up to EINIT without holes. */
function checkSlots(s: MonitorState, enclave: EnclaveRecord): void {
  let taken = 0;
  enclave.tcs.forEach((tcs, slot) => {
    invariant(tcs !== null || enclave.initialized, `enclave ${enclave.id} has a hole at slot ${slot}`);
    if (tcs === null) return;
    taken++;
    invariant(enclave.slotByFrame.get(tcs.frame) === slot, `slot ${slot} and frame ${tcs.frame} disagree`);
    const type = s.epcm.type(tcs.frame);
    const still = s.epcm.valid(tcs.frame) && (type === PT_TCS || type === PT_TRIM);
    invariant(still, `slot ${slot} of enclave ${enclave.id} has frame ${tcs.frame}, which is no TCS`);
    invariant(enclave.pages.get(tcs.offset / 4096) === tcs.frame, `slot ${slot} has a page that moved`);
  });
  invariant(taken === enclave.slotByFrame.size, `enclave ${enclave.id} counts its threads wrongly`);
  const most = enclave.initialized ? (enclave.gates?.count ?? 0) : s.platform.maxThreads;
  invariant(enclave.tcs.length <= most, `enclave ${enclave.id} has more slots than gates`);
}
