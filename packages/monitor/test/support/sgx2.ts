/** The leaves of SGX2 in a {@link World}: operands at fixed places, as a guest and an enclave would put them. */
import { PT_TRIM, SECINFO, secinfoBytes } from '@nestedsgx/arch';
import { eaug } from '../../src/encls/eaug.js';
import { emodpr } from '../../src/encls/emodpr.js';
import { emodt } from '../../src/encls/emodt.js';
import { eaccept } from '../../src/enclu/eaccept.js';
import { eacceptcopy } from '../../src/enclu/eacceptcopy.js';
import { emodpe } from '../../src/enclu/emodpe.js';
import type { LeafOutcome } from '../../src/index.js';
import { beginTracking } from '../../src/state/tracking.js';
import { AT, BASE, gpaOf, must, type World } from './world.js';

/** Where an enclave puts its SECINFO: in its data page. */
export const SECINFO_AT = BASE + 0x4f00;
/** What EACCEPT says of a page that EAUG made. */
export const NEW_PAGE = 0x20b;
/** What EACCEPT says of a trimmed page, and of one that becomes a TCS. */
export const TRIMMED = 0x410;
export const NEW_TCS = 0x110;

/** EAUG of `frame` at a linear address. */
export function augment(w: World, frame: number, linaddr: number, secs = 0): LeafOutcome {
  w.pageinfo(linaddr, 0, 0, gpaOf(secs));
  return eaug(w.s, w.owner, AT.PAGEINFO, gpaOf(frame));
}

/** EMODPR of a frame to the rights in `flags`. */
export function restrict(w: World, frame: number, flags: number): LeafOutcome {
  w.secinfo(flags);
  return emodpr(w.s, w.owner, AT.SECINFO, gpaOf(frame));
}

/** EMODT of a frame to the type in `flags`. */
export function modifyType(w: World, frame: number, flags = PT_TRIM << 8): LeafOutcome {
  w.secinfo(flags);
  return emodt(w.s, w.owner, AT.SECINFO, gpaOf(frame));
}

/** A tracking cycle, as ETRACK begins one. */
export function track(w: World, secs = 0): void {
  if (!beginTracking(w.enclave(secs))) throw new Error('the last tracking cycle is not over');
}

/** Writes a SECINFO into the enclave. */
export function putSecinfo(w: World, flags: number, at: number = SECINFO_AT): void {
  w.enclave().memory.write(at - BASE, secinfoBytes(flags).subarray(0, SECINFO.size));
}

/** EACCEPT of the page at a linear address. */
export function accept(w: World, linaddr: number, flags = NEW_PAGE, rbx: number = SECINFO_AT): LeafOutcome {
  putSecinfo(w, flags);
  return eaccept(w.s, w.enclave(), rbx, linaddr);
}

/** EMODPE of the page at a linear address. */
export function extend(w: World, linaddr: number, flags: number, rbx: number = SECINFO_AT): LeafOutcome {
  putSecinfo(w, flags);
  return emodpe(w.s, w.enclave(), rbx, linaddr);
}

/** EACCEPTCOPY of a page into a pending one. */
export function acceptCopy(
  w: World,
  linaddr: number,
  source: number,
  flags = 0x203,
  rbx: number = SECINFO_AT,
): LeafOutcome {
  putSecinfo(w, flags);
  return eacceptcopy(w.s, w.enclave(), rbx, linaddr, source);
}

/** A page that was augmented and accepted, at a linear address. */
export function grown(w: World, frame: number, linaddr: number): void {
  must(augment(w, frame, linaddr));
  must(accept(w, linaddr));
}
