/** MSG_REPORT_REQ: builds and signs an ATTESTATION_REPORT (SEV-SNP Firmware ABI). */
import { sign } from 'node:crypto';
import {
  ATTESTATION_REPORT,
  encodeTcbVersion,
  GUEST_MSG_STATUS,
  MSG_REPORT_REQ,
  MSG_REPORT_RSP,
  SNP_REPORT_SIGNED_BYTES,
  SNP_SIGNATURE_ALGO_ECDSA_P384_SHA384,
} from '@nestedsgx/arch';
import { CHIP_CPUID, CHIP_PRODUCT, type Chip } from './chip.js';
import { FIRMWARE, type GuestContext } from './launch.js';
import { fixedToLittleEndian } from './signature.js';

/** Version of the reports this firmware makes. */
export const REPORT_VERSION = 3;
const AUTHOR_KEY_EN = 1;

/**
 * Answers a report request that came under VMPCK `vmpck`. STATUS is INVALID_PARAMETERS when a reserved byte is
 * set or the VMPL is not one the key may speak for (its own or a less privileged one), INVALID_KEY_SELECTION
 * when the VLEK is asked for, which is never installed.
 */
export function answerReportRequest(
  chip: Chip,
  guest: GuestContext,
  vmpck: number,
  payload: Uint8Array,
): Uint8Array {
  const request = MSG_REPORT_REQ.decode(payload);
  if (MSG_REPORT_REQ.firstReservedNonZero(payload) !== -1 || request.VMPL > 3 || request.VMPL < vmpck) {
    return MSG_REPORT_RSP.encode({ STATUS: GUEST_MSG_STATUS.INVALID_PARAMETERS });
  }
  if (request.KEY_SEL > 2) return MSG_REPORT_RSP.encode({ STATUS: GUEST_MSG_STATUS.INVALID_PARAMETERS });
  if (request.KEY_SEL === 2) return MSG_REPORT_RSP.encode({ STATUS: GUEST_MSG_STATUS.INVALID_KEY_SELECTION });
  const report = buildReport(chip, guest, request.VMPL, request.REPORT_DATA);
  return MSG_REPORT_RSP.encode({
    STATUS: GUEST_MSG_STATUS.SUCCESS,
    REPORT_SIZE: ATTESTATION_REPORT.size,
    REPORT: report,
  });
}

function buildReport(chip: Chip, guest: GuestContext, vmpl: number, reportData: Uint8Array): Uint8Array {
  const tcb = encodeTcbVersion(chip.tcb, CHIP_PRODUCT);
  const report = ATTESTATION_REPORT.encode({
    VERSION: REPORT_VERSION,
    GUEST_SVN: guest.guestSvn,
    POLICY: guest.policy,
    FAMILY_ID: guest.idBlock?.FAMILY_ID,
    IMAGE_ID: guest.idBlock?.IMAGE_ID,
    VMPL: vmpl,
    SIGNATURE_ALGO: SNP_SIGNATURE_ALGO_ECDSA_P384_SHA384,
    CURRENT_TCB: tcb,
    PLATFORM_INFO: 0n,
    FLAGS: guest.authorKeyDigest === undefined ? 0 : AUTHOR_KEY_EN,
    REPORT_DATA: reportData,
    MEASUREMENT: guest.measurement,
    HOST_DATA: guest.hostData,
    ID_KEY_DIGEST: guest.idKeyDigest,
    AUTHOR_KEY_DIGEST: guest.authorKeyDigest,
    REPORT_ID: guest.reportId,
    REPORT_ID_MA: new Uint8Array(32).fill(0xff),
    REPORTED_TCB: tcb,
    CPUID_FAM_ID: CHIP_CPUID.family,
    CPUID_MOD_ID: CHIP_CPUID.model,
    CPUID_STEP: CHIP_CPUID.stepping,
    CHIP_ID: chip.id,
    COMMITTED_TCB: tcb,
    CURRENT_BUILD: FIRMWARE.build,
    CURRENT_MINOR: FIRMWARE.minor,
    CURRENT_MAJOR: FIRMWARE.major,
    COMMITTED_BUILD: FIRMWARE.build,
    COMMITTED_MINOR: FIRMWARE.minor,
    COMMITTED_MAJOR: FIRMWARE.major,
    LAUNCH_TCB: tcb,
  });
  const signature = sign('sha384', report.subarray(0, SNP_REPORT_SIGNED_BYTES), {
    key: chip.vcekKey,
    dsaEncoding: 'ieee-p1363',
  });
  ATTESTATION_REPORT.patch(
    {
      SIGNATURE: {
        R: fixedToLittleEndian(signature.subarray(0, 48)),
        S: fixedToLittleEndian(signature.subarray(48)),
      },
    },
    report,
  );
  return report;
}
