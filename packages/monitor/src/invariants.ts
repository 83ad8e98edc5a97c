/** The consistency of EPCM, enclaves and owners, checked as a whole. For tests and for `doctor`; costs one pass over the EPC. */
import { PT_REG, PT_SECS, PT_TCS, PT_VA } from '@nestedsgx/arch';
import { invariant } from './errors.js';
import { EPCM_R, EPCM_RWX, EPCM_W, NO_FRAME } from './state/epcm.js';
import type { FrameOwner, MonitorState } from './state/state.js';

/** Throws MonitorInvariantError naming the first thing that does not fit. */
export function checkInvariants(s: MonitorState, owners: Iterable<FrameOwner>): void {
  const { epcm, frames } = s;
  const byId = new Map([...owners].map((o) => [o.id, o]));
  let valid = 0;
  const children = new Map<number, number>();
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
      continue;
    }
    invariant(type === PT_REG || type === PT_TCS, `frame ${frame} has type ${type}`);
    invariant(type !== PT_TCS || (bits & EPCM_RWX) === 0, `TCS frame ${frame} has rights`);
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
  for (const [secsFrame, enclave] of s.enclaves) {
    invariant(enclave.secsFrame === secsFrame, `enclave ${enclave.id} is filed under frame ${secsFrame}`);
    invariant(epcm.valid(secsFrame) && epcm.type(secsFrame) === PT_SECS, `enclave ${enclave.id} has no SECS`);
    const found = children.get(secsFrame) ?? 0;
    invariant(
      found === enclave.children,
      `enclave ${enclave.id} has ${found} pages and counts ${enclave.children}`,
    );
    invariant(enclave.running === null || enclave.initialized, `enclave ${enclave.id} runs uninitialized`);
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
