/** What an enclave's thread stores before an ENCLU leaf: SECINFO, TARGETINFO, KEYREQUEST. */
import type { EnclaveRecord } from '@nestedsgx/monitor';
import type { Enclave } from '../model/state.js';
import { IN_PAGE } from './operands.js';
import type { Simulation } from './simulation.js';
import { type Step, TWISTS } from './steps.js';

const secinfo = new Uint8Array(64);
const request = new Uint8Array(512);

/** Kinds of KEYREQUEST beside KEYNAME (bits 3:0 of the step's flags; the kind is in bits 7:4). */
export const REQUEST_KINDS = 8;

/** Stores the operands of the step in the page that `source` names. */
export function storeOperands(sim: Simulation, enclave: Enclave, record: EnclaveRecord, s: Step): void {
  const reserved = TWISTS[s.twist] === 'secinfo-reserved';
  if (s.op === 'EREPORT') {
    request.fill(0);
    if (reserved) request[200] = 1;
    sim.store(enclave, record, s.source, IN_PAGE.REQUEST, request);
  } else if (s.op === 'EGETKEY') {
    keyRequest(s.flags & 0xf, (s.flags >> 4) % REQUEST_KINDS);
    sim.store(enclave, record, s.source, IN_PAGE.REQUEST, request);
  } else {
    secinfo.fill(0);
    secinfo[0] = s.flags & 0xff;
    secinfo[1] = (s.flags >> 8) & 0xff;
    if (reserved) secinfo[9] = 1;
    sim.store(enclave, record, s.source, IN_PAGE.SECINFO, secinfo);
  }
}

function keyRequest(name: number, kind: number): void {
  request.fill(0);
  request[0] = name;
  switch (kind) {
    case 1:
      request[2] = 0x40;
      break;
    case 2:
      request[2] = 4;
      break;
    case 3:
      request[8] = 2;
      break;
    case 4:
      request[4] = 9;
      break;
    case 5:
      request[76] = 1;
      break;
    case 6:
      request[76] = 9;
      break;
    case 7:
      request[100] = 1;
      break;
    default:
      break;
  }
}
