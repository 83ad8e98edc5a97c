/** The quoting service, for programs that ask for evidence of their enclave (core/fs/attestation.ts). */
import { quote, quotingTarget } from '@nestedsgx/sdk';

const NONE = new Uint8Array(0);

/** The OCALL handler (interface.ts): TARGETINFO for an empty report, else its quote; nothing when there is none. */
export function attestationHandlers(connection: Parameters<typeof quote>[0]) {
  return {
    host_attest(report: Uint8Array): Uint8Array {
      try {
        return report.length === 0 ? quotingTarget(connection) : quote(connection, report);
      } catch {
        // The program gets EACCES, and a note says so.
        return NONE;
      }
    },
  };
}
