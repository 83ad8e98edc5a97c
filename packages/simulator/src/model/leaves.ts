/** The model's leaves by number. */
import { eadd } from './encls/eadd.js';
import { eaug } from './encls/eaug.js';
import { eblock } from './encls/eblock.js';
import { ecreate } from './encls/ecreate.js';
import { edbgrd } from './encls/edbgrd.js';
import { edbgwr } from './encls/edbgwr.js';
import { eextend } from './encls/eextend.js';
import { einit } from './encls/einit.js';
import { eld } from './encls/eld.js';
import { emodpr } from './encls/emodpr.js';
import { emodt } from './encls/emodt.js';
import { epa } from './encls/epa.js';
import { erdinfo } from './encls/erdinfo.js';
import { eremove } from './encls/eremove.js';
import { etrack } from './encls/etrack.js';
import { etrackc } from './encls/etrackc.js';
import { eupdatesvn } from './encls/eupdatesvn.js';
import { ewb } from './encls/ewb.js';
import { eaccept } from './enclu/eaccept.js';
import { eacceptRange } from './enclu/eaccept-range.js';
import { eacceptcopy } from './enclu/eacceptcopy.js';
import { egetkey } from './enclu/egetkey.js';
import { emodpe } from './enclu/emodpe.js';
import { ereport } from './enclu/ereport.js';
import type { Model } from './model.js';
import { GP, type Outcome } from './outcome.js';
import type { Enclave } from './state.js';

/** An ENCLS leaf of the model. */
export type ModelEncls = (m: Model, rbx: number, rcx: number, rdx: number) => Outcome;
/** An ENCLU leaf of the model, executed by a thread of `enclave`. */
export type ModelEnclu = (m: Model, enclave: Enclave, rbx: number, rcx: number, rdx: number) => Outcome;

/** ENCLS by name. */
export const MODEL_ENCLS = {
  ECREATE: ecreate,
  EADD: eadd,
  EINIT: einit,
  EREMOVE: (m, _rbx, rcx) => eremove(m, rcx),
  EDBGRD: (m, _rbx, rcx) => edbgrd(m, rcx),
  EDBGWR: edbgwr,
  EEXTEND: eextend,
  ELDB: (m, rbx, rcx, rdx) => eld(m, true, rbx, rcx, rdx),
  ELDU: (m, rbx, rcx, rdx) => eld(m, false, rbx, rcx, rdx),
  EBLOCK: (m, _rbx, rcx) => eblock(m, rcx),
  EPA: epa,
  EWB: ewb,
  ETRACK: (m, _rbx, rcx) => etrack(m, rcx),
  EAUG: eaug,
  EMODPR: emodpr,
  EMODT: emodt,
  ERDINFO: erdinfo,
  ETRACKC: (m, _rbx, rcx) => etrackc(m, rcx),
  ELDBC: (m, rbx, rcx, rdx) => eld(m, true, rbx, rcx, rdx),
  EUPDATESVN: (m) => eupdatesvn(m),
  ELDUC: (m, rbx, rcx, rdx) => eld(m, false, rbx, rcx, rdx),
} as const satisfies Record<string, ModelEncls>;

/** ENCLU by name. */
export const MODEL_ENCLU = {
  EREPORT: ereport,
  EGETKEY: egetkey,
  EACCEPT: eaccept,
  EACCEPT_RANGE: eacceptRange,
  EMODPE: emodpe,
  EACCEPTCOPY: eacceptcopy,
  // CPUID does not enumerate it: there are no TD reports on this platform.
  EVERIFYREPORT2: () => GP,
} as const satisfies Record<string, ModelEnclu>;

export type EnclsName = keyof typeof MODEL_ENCLS;
export type EncluName = keyof typeof MODEL_ENCLU;
