/** ENCLU[EGETKEY]. Source: Intel SDM Vol. 3D, "EGETKEY—Retrieves a Cryptographic Key", Operation. */
import {
  KEYNAME_EINITTOKEN,
  KEYNAME_PROVISION,
  KEYNAME_PROVISION_SEAL,
  KEYNAME_REPORT,
  KEYNAME_SEAL,
  KEYREQUEST,
  SECS,
} from '@nestedsgx/arch';
import { wipe } from '../keys/cmac.js';
import {
  einittokenKeyData,
  provisionKeyData,
  provisionSealKeyData,
  reportKeyData,
  sealKeyData,
  secsTarget,
} from '../keys/derivation.js';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { cpuSvnWithin } from '../state/platform.js';
import { allZero, type MonitorState } from '../state/state.js';
import { type OperandFault, refusedOperand } from './operand.js';

/** EGETKEY's checks, in the manual's order. */
export const EGETKEY_CHECKS = checkList('EGETKEY', [
  ['keyrequest-placed', '#GP(0)', 'KEYREQUEST (RBX) is 512-byte aligned and in the ELRANGE'],
  ['keyrequest-valid', '#PF', 'RBX is EPC and EPCM(RBX).VALID = 1'],
  ['keyrequest-not-blocked', '#PF', 'EPCM(RBX).BLOCKED = 0'],
  ['keyrequest-page', '#PF', 'EPCM(RBX) is a settled, readable PT_REG page of this enclave'],
  ['output-placed', '#GP(0)', 'OUTPUTDATA (RCX) is 16-byte aligned and in the ELRANGE'],
  ['output-valid', '#PF', 'RCX is EPC and EPCM(RCX).VALID = 1'],
  ['output-not-blocked', '#PF', 'EPCM(RCX).BLOCKED = 0'],
  ['output-page', '#PF', 'EPCM(RCX) is a settled, writable PT_REG page of this enclave'],
  ['reserved-zero', '#GP(0)', 'reserved bytes of KEYREQUEST and reserved bits of KEYPOLICY are 0'],
  ['kss-enabled', '#GP(0)', 'KSS policy bits and CONFIGSVN are used with ATTRIBUTES.KSS only'],
  ['provision-attribute', 'SGX_INVALID_ATTRIBUTE', 'provisioning keys: ATTRIBUTES.PROVISIONKEY'],
  ['einittoken-attribute', 'SGX_INVALID_ATTRIBUTE', 'EINIT token key: ATTRIBUTES.EINITTOKEN_KEY'],
  ['cpusvn', 'SGX_INVALID_CPUSVN', 'KEYREQUEST.CPUSVN is not beyond the CPU'],
  ['isvsvn', 'SGX_INVALID_ISVSVN', 'KEYREQUEST.ISVSVN is not beyond the enclave'],
  ['configsvn', 'SGX_INVALID_ISVSVN', 'KEYREQUEST.CONFIGSVN is not beyond the enclave'],
  ['keyname', 'SGX_INVALID_KEYNAME', 'KEYNAME is one the manual lists'],
] as const);

const SUFFIX = Object.freeze({
  'not-epc': 'valid',
  invalid: 'valid',
  blocked: 'not-blocked',
  parameters: 'page',
} as const satisfies Record<OperandFault, string>);

const K = KEYREQUEST.offsets;
const PROVISIONKEY = 0x10;
const EINITTOKEN_KEY = 0x20;
const u16 = (b: Uint8Array, at: number) => b[at] | (b[at + 1] << 8);

/** RBX = KEYREQUEST, RCX = OUTPUTDATA, both linear addresses of the enclave. The key goes to memory only. */
export function egetkey(s: MonitorState, enclave: EnclaveRecord, rbx: number, rcx: number): LeafOutcome {
  const C = EGETKEY_CHECKS;
  const from = { name: 'keyrequest', at: rbx, alignment: 512, write: false } as const;
  const to = { name: 'output', at: rcx, alignment: 16, write: true } as const;
  const bad = refusedOperand(C, SUFFIX, s, enclave, from) ?? refusedOperand(C, SUFFIX, s, enclave, to);
  if (bad !== null) return bad;
  const request = enclave.memory.read(rbx - enclave.base, KEYREQUEST.size);
  const policy = u16(request, K.KEYPOLICY);
  const reserved = allZero(request, K.ISVSVN + 2, K.CPUSVN) && allZero(request, K.CONFIGSVN + 2);
  if (!reserved || (policy & ~0x3f) !== 0) return trip(C, 'reserved-zero');
  if (!enclave.kss && ((policy & 0x3c) !== 0 || u16(request, K.CONFIGSVN) > 0)) return trip(C, 'kss-enabled');
  const name = u16(request, K.KEYNAME);
  const refused = checkKey(s, enclave, request, name);
  if (refused !== null) return refused;
  const data = derivationData(s, enclave, request, name);
  const key = s.keys.derive(name, data);
  enclave.memory.write(rcx - enclave.base, key);
  wipe(key);
  wipe(data);
  return DONE;
}

function checkKey(
  s: MonitorState,
  enclave: EnclaveRecord,
  request: Uint8Array,
  name: number,
): LeafOutcome | null {
  const C = EGETKEY_CHECKS;
  const attributes = enclave.secs[SECS.offsets.ATTRIBUTES];
  switch (name) {
    case KEYNAME_REPORT:
      return null;
    case KEYNAME_SEAL:
      break;
    case KEYNAME_EINITTOKEN:
      if ((attributes & EINITTOKEN_KEY) === 0) return trip(C, 'einittoken-attribute');
      break;
    case KEYNAME_PROVISION:
    case KEYNAME_PROVISION_SEAL:
      if ((attributes & PROVISIONKEY) === 0) return trip(C, 'provision-attribute');
      break;
    default:
      return trip(C, 'keyname');
  }
  if (!cpuSvnWithin(s.platform, request, K.CPUSVN)) return trip(C, 'cpusvn');
  if (u16(request, K.ISVSVN) > u16(enclave.secs, SECS.offsets.ISVSVN)) return trip(C, 'isvsvn');
  const usesConfig = name === KEYNAME_SEAL || name === KEYNAME_PROVISION_SEAL;
  if (usesConfig && u16(request, K.CONFIGSVN) > u16(enclave.secs, SECS.offsets.CONFIGSVN))
    return trip(C, 'configsvn');
  return null;
}

function derivationData(
  s: MonitorState,
  enclave: EnclaveRecord,
  request: Uint8Array,
  name: number,
): Uint8Array {
  const { ownerEpoch } = s.keys;
  switch (name) {
    case KEYNAME_SEAL:
      return sealKeyData(enclave, request, ownerEpoch);
    case KEYNAME_REPORT:
      return reportKeyData(secsTarget(enclave.secs), s.platform.cpuSvn, ownerEpoch, request, K.KEYID);
    case KEYNAME_EINITTOKEN:
      return einittokenKeyData(enclave, request, ownerEpoch);
    case KEYNAME_PROVISION:
      return provisionKeyData(enclave, request);
    default:
      return provisionSealKeyData(enclave, request);
  }
}
