/** How sequences begin: with nothing, with an enclave that is being built, or with one that runs and does something. */
import { SOURCE, SOURCES } from '../layout.js';
import type { Random } from '../random.js';
import { SECS_GOOD } from './sources.js';
import { type Step, step } from './steps.js';

/** How a sequence begins. */
type Start = 'empty' | 'built' | 'running';

/** The kind of SECS whose SSA frames have two pages. */
const WIDE_FRAMES = 7;
/** The kind with KSS and a CONFIGSVN. */
const KSS = 2;
const RW = 0x203;
/** SECINFO.FLAGS of a TCS. */
export const TCS_FLAGS = 0x100;

/**
 * The first steps of a sequence: none; or an enclave with a thread (page 1), its SSA frames (pages 2 and 3), data (4, 5) and
 * code (6), not initialized; or that one running, with a version array. `pinned`: the platform pins a signer.
 */
export function beginning(r: Random, pinned: boolean): Step[] {
  const start = r.pick<Start>(['empty', 'built', 'running', 'running', 'running', 'running']);
  if (start === 'empty') return [];
  const kind = pinned ? r.pick([1, 4]) : r.oneIn(3) ? r.below(SECS_GOOD) : 1;
  const pages = [
    step('EADD', { frame: 1, page: 1, flags: TCS_FLAGS, source: SOURCE.TCS }),
    step('EADD', { frame: 2, page: 2, flags: RW }),
    step('EADD', { frame: 3, page: 3, flags: RW }),
    step('EADD', { frame: 4, page: 4, flags: RW, source: SOURCE.PATTERN }),
    step('EADD', { frame: 5, page: 5, flags: r.pick([0x201, RW]) }),
    step('EADD', { frame: 6, page: 6, flags: r.pick([0x205, 0x207]), source: SOURCE.PATTERN }),
  ];
  if (r.oneIn(2)) {
    const source = r.oneIn(2) ? SOURCE.TCS + r.below(SOURCES - SOURCE.TCS) : SOURCE.TCS_ONE;
    pages.push(step('EADD', { frame: 7, page: 7, flags: TCS_FLAGS, source }));
  }
  const out = [step('ECREATE', { frame: 0, source: kind, page: r.below(2) }), ...pages];
  out.push(step('GATES', { slot: 1 }), step('AUTHORIZE'));
  if (start === 'running') {
    out.push(step('EINIT'), step('EENTER', { page: 1 }), step('EPA', { frame: 8 }));
    if (r.oneIn(3)) out.push(step('EAUG', { frame: 9, page: 8 }));
  }
  if (start === 'running') out.push(...scenario(r, kind));
  return out;
}

/** How it goes on once a thread is inside. */
function scenario(r: Random, kind: number): Step[] {
  const nested = [step('AEX', { page: 1 }), step('EENTER', { page: 1 })];
  if (kind === WIDE_FRAMES) {
    // The page of GPRSGX of the frame below.
    const back = r.pick([
      [step('EDECCSSA', { page: 1 })],
      [step('AEX', { page: 1 }), step('ERESUME', { page: 1 })],
      [step('EEXIT', { page: 1 }), step('ERESUME', { page: 1 })],
    ]);
    return r.oneIn(2) ? [...nested, step('EBLOCK', { frame: r.pick([2, 3]) }), ...back] : nested;
  }
  if (kind === KSS && r.oneIn(3)) {
    const requests = [5, 6].map((beyond) =>
      step('EGETKEY', { source: 4, page: 4, flags: 4 | (beyond << 4) }),
    );
    return requests;
  }
  switch (r.below(6)) {
    case 0:
      return nested;
    case 1:
      return growth(r);
    case 2:
    case 3:
      return paging(r);
    default:
      return [];
  }
}

/** A page is added, accepted, filled, and made a TCS, which the thread accepts: a thread more (page 12). */
function growth(r: Random): Step[] {
  const spoil = step('STORE', { page: 12, slot: r.pick([1, 3, 5, 9, 100]), source: r.pick([1, 2, 4, 255]) });
  return [
    step('EAUG', { frame: 12, page: 12 }),
    step('EACCEPT', { source: 4, page: 12, flags: 0x20b }),
    step('STORE', { page: 12 }),
    ...(r.oneIn(3) ? [spoil] : []),
    step('EMODT', { frame: 12, flags: 0x100 }),
    step('ETRACK'),
    step('AEX', { page: 1 }),
    step('ERESUME', { page: 1 }),
    step('EACCEPT', { source: 4, page: 12, flags: 0x110 }),
  ];
}

/** Some pages are evicted. */
function paging(r: Random): Step[] {
  const frames = r.pick([
    [5, 6],
    [4, 5, 6],
    [1, 5],
  ]);
  const leave = frames.includes(1) ? step('EEXIT', { page: 1 }) : step('AEX', { page: 1 });
  return [
    ...frames.map((frame) => step('EBLOCK', { frame })),
    leave,
    step('ETRACK'),
    ...frames.map((frame, i) => step('EWB', { frame, va: 8, slot: i, source: i })),
    step(r.oneIn(2) ? 'ERESUME' : 'EENTER', { page: 1 }),
  ];
}
