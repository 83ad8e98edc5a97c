/** What a security processor in hardware gives for 64 bytes of report data. */
import { MSG_REPORT_RSP, NsgxError, parseAttestationReport } from '@nestedsgx/arch';
import { MachineError } from '../../errors.js';

/** A report with the certificates that the host provides for it. */
export interface HardwareReport {
  /** 1184 bytes. */
  readonly report: Uint8Array;
  /** The host's table of GUIDs and certificates (GHCB specification, MSG_REPORT_REQ); empty without one. */
  readonly certificateTable: Uint8Array;
}

const REPORT_BYTES = 1184;

/**
 * Checks that a report is one, and the one asked for: a driver, a paravisor or another process that mixes up
 * requests is seen here. Its signature is left to the verifier.
 *
 * Throws HARDWARE_PSP_REPORT.
 */
export function checkReport(bytes: Uint8Array, reportData: Uint8Array, vmpl: number | undefined): Uint8Array {
  const refuse = (why: string, cause?: unknown): never => {
    throw new MachineError('HARDWARE_PSP_REPORT', `the security processor's report ${why}`, { cause });
  };
  if (bytes.length < REPORT_BYTES || bytes.subarray(REPORT_BYTES).some((byte) => byte !== 0))
    refuse(`has ${bytes.length} bytes instead of ${REPORT_BYTES}`);
  const report = bytes.slice(0, REPORT_BYTES);
  try {
    const fields = parseAttestationReport(report);
    if (fields.REPORT_DATA.some((byte, i) => byte !== reportData[i])) refuse('carries other report data');
    if (vmpl !== undefined && fields.VMPL !== vmpl) refuse(`is for VMPL ${fields.VMPL}, not ${vmpl}`);
  } catch (error) {
    if (!(error instanceof NsgxError) || error instanceof MachineError) throw error;
    refuse(`cannot be read: ${error.message}`, error);
  }
  return report;
}

/** The report inside a MSG_REPORT_RSP. Throws HARDWARE_PSP_REFUSED for an error status. */
export function reportOfResponse(response: Uint8Array): Uint8Array {
  const answer = MSG_REPORT_RSP.decode(response);
  if (answer.STATUS !== 0)
    throw new MachineError(
      'HARDWARE_PSP_REFUSED',
      `MSG_REPORT_REQ was answered with status 0x${answer.STATUS.toString(16)}`,
    );
  return answer.REPORT;
}

/** Report data as requests carry them: 64 bytes, zero padded. Throws HARDWARE_PSP_REFUSED for more. */
export function paddedReportData(reportData: Uint8Array): Uint8Array {
  if (reportData.length > 64)
    throw new MachineError(
      'HARDWARE_PSP_REFUSED',
      `a report carries 64 bytes of report data, not ${reportData.length}`,
    );
  const padded = new Uint8Array(64);
  padded.set(reportData);
  return padded;
}
