/** ENCLU[EREPORT]. Source: Intel SDM Vol. 3D, "EREPORT—Create a Cryptographic Report of the Enclave", Operation. */
import { REPORT, REPORT_BODY, SECS, TARGETINFO } from '@nestedsgx/arch';
import { reportKeyData } from '../keys/derivation.js';
import { checkList, DONE, type LeafOutcome, trip } from '../leaf/checks.js';
import type { EnclaveRecord } from '../state/enclave.js';
import { allZero, type MonitorState } from '../state/state.js';
import { type OperandFault, refusedOperand } from './operand.js';

/** EREPORT's checks, in the manual's order. */
export const EREPORT_CHECKS = checkList('EREPORT', [
  ['targetinfo-placed', '#GP(0)', 'TARGETINFO (RBX) is 512-byte aligned and in the ELRANGE'],
  ['targetinfo-in-epc', '#PF', 'RBX resolves within the EPC'],
  ['targetinfo-valid', '#PF', 'EPCM(RBX).VALID = 1'],
  ['targetinfo-not-blocked', '#PF', 'EPCM(RBX).BLOCKED = 0'],
  ['targetinfo-page', '#PF', 'EPCM(RBX) is a settled, readable PT_REG page of this enclave'],
  ['targetinfo-reserved-zero', '#GP(0)', 'reserved bytes of TARGETINFO are 0'],
  ['reportdata-placed', '#GP(0)', 'REPORTDATA (RCX) is 128-byte aligned and in the ELRANGE'],
  ['reportdata-in-epc', '#PF', 'RCX resolves within the EPC'],
  ['reportdata-valid', '#PF', 'EPCM(RCX).VALID = 1'],
  ['reportdata-not-blocked', '#PF', 'EPCM(RCX).BLOCKED = 0'],
  ['reportdata-page', '#PF', 'EPCM(RCX) is a settled, readable PT_REG page of this enclave'],
  ['output-placed', '#GP(0)', 'OUTPUTDATA (RDX) is 512-byte aligned and in the ELRANGE'],
  ['output-in-epc', '#PF', 'RDX resolves within the EPC'],
  ['output-valid', '#PF', 'EPCM(RDX).VALID = 1'],
  ['output-not-blocked', '#PF', 'EPCM(RDX).BLOCKED = 0'],
  ['output-page', '#PF', 'EPCM(RDX) is a settled, writable PT_REG page of this enclave'],
] as const);

const SUFFIX = Object.freeze({
  'not-epc': 'in-epc',
  invalid: 'valid',
  blocked: 'not-blocked',
  parameters: 'page',
} as const satisfies Record<OperandFault, string>);

const T = TARGETINFO.offsets;
const S = SECS.offsets;
const R = REPORT.offsets;

/** RBX = TARGETINFO, RCX = REPORTDATA, RDX = OUTPUTDATA, all linear addresses of the enclave. */
export function ereport(
  s: MonitorState,
  enclave: EnclaveRecord,
  rbx: number,
  rcx: number,
  rdx: number,
): LeafOutcome {
  const C = EREPORT_CHECKS;
  const target = { name: 'targetinfo', at: rbx, alignment: 512, write: false } as const;
  const data = { name: 'reportdata', at: rcx, alignment: 128, write: false } as const;
  const output = { name: 'output', at: rdx, alignment: 512, write: true } as const;
  const badTarget = refusedOperand(C, SUFFIX, s, enclave, target);
  if (badTarget !== null) return badTarget;
  const targetinfo = enclave.memory.read(rbx - enclave.base, TARGETINFO.size);
  // Reserved: byte 49 and what follows CONFIGID; CET_ATTRIBUTES is not offered and must be 0 as well.
  const reserved = allZero(targetinfo, 48, 50) && allZero(targetinfo, 56, 64) && allZero(targetinfo, 128);
  if (!reserved) return trip(C, 'targetinfo-reserved-zero');
  const bad = refusedOperand(C, SUFFIX, s, enclave, data) ?? refusedOperand(C, SUFFIX, s, enclave, output);
  if (bad !== null) return bad;
  const report = makeReport(s, enclave, enclave.memory.read(rcx - enclave.base, 64));
  sealReport(s, report, targetinfo);
  enclave.memory.write(rdx - enclave.base, report);
  return DONE;
}

/** REPORT of an enclave without its MAC; KEYID is the launch's. */
function makeReport(s: MonitorState, enclave: EnclaveRecord, reportData: Uint8Array): Uint8Array {
  const { secs } = enclave;
  const report = new Uint8Array(REPORT.size);
  report.set(s.platform.cpuSvn, R.CPUSVN);
  report.set(secs.subarray(S.MISCSELECT, S.MISCSELECT + 4), R.MISCSELECT);
  report.set(enclave.isvExtProdId, R.ISVEXTPRODID);
  report.set(secs.subarray(S.ATTRIBUTES, S.ATTRIBUTES + 16), R.ATTRIBUTES);
  report.set(secs.subarray(S.MRENCLAVE, S.MRENCLAVE + 32), R.MRENCLAVE);
  report.set(secs.subarray(S.MRSIGNER, S.MRSIGNER + 32), R.MRSIGNER);
  // CONFIGID, ISVPRODID, ISVSVN and CONFIGSVN are adjacent in both structures.
  report.set(secs.subarray(S.CONFIGID, S.CONFIGSVN + 2), R.CONFIGID);
  report.set(enclave.isvFamilyId, R.ISVFAMILYID);
  report.set(reportData, R.REPORTDATA);
  report.set(s.keys.reportKeyId, R.KEYID);
  return report;
}

/** Fills MAC for the enclave that `targetinfo` describes. */
export function sealReport(s: MonitorState, report: Uint8Array, targetinfo: Uint8Array): void {
  report.set(reportMac(s, report, targetinfo), R.MAC);
}

/** The MAC that `report` must carry for the target, under the KEYID in it. */
export function reportMac(s: MonitorState, report: Uint8Array, targetinfo: Uint8Array): Uint8Array {
  const data = reportKeyData(
    {
      bytes: targetinfo,
      attributesAt: T.ATTRIBUTES,
      miscselectAt: T.MISCSELECT,
      mrenclaveAt: T.MEASUREMENT,
      configSvnAt: T.CONFIGSVN,
      configIdAt: T.CONFIGID,
    },
    s.platform.cpuSvn,
    s.keys.ownerEpoch,
    report,
    R.KEYID,
  );
  return s.keys.reportMacKey(data).tag(report.subarray(0, REPORT_BODY.size));
}
