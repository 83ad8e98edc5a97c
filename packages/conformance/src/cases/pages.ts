/** Pages that are added at run time, as several cases need them. */
import { ENCLU, PT_REG, SECINFO_PENDING, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { AT } from '../probe/image.js';
import type { Probe, Result } from '../probe/probe.js';
import { succeeded } from './expect.js';

/** SECINFO.FLAGS with which a page that EAUG gave is accepted. */
export const AUGMENTED = SECINFO_R | SECINFO_W | SECINFO_PENDING | (PT_REG << 8);

/** EACCEPT of the page at `offset` with SECINFO.FLAGS `flags`. The SECINFO lies at the start of the data pages. */
export function accept(p: Probe, offset: number, flags: number): Result {
  return p.enclu(ENCLU.EACCEPT, p.secinfo(flags), p.at(offset));
}

/** A page at AT.FREE that the enclave has accepted. EACCEPT's own fault makes the driver add it. */
export function freshPage(p: Probe, offset: number = AT.FREE): number {
  succeeded(accept(p, offset, AUGMENTED));
  return offset;
}
