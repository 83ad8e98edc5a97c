/**
 * The quoting enclave inside the monitor: an ECDSA P-256 attestation key made at launch and bound to an SNP
 * report at VMPL0, and quotes (Intel Quote v3) that carry that report as certification data.
 */
import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import {
  ATT_KEY_TYPE_ECDSA_P256,
  ATTRIBUTES_INIT,
  ATTRIBUTES_MODE64BIT,
  CERTIFICATION_DATA_NESTED,
  encodeNestedCertificationData,
  encodeQuote3,
  type HashProvider,
  REPORT,
  REPORT_BODY,
  TARGETINFO,
} from '@nestedsgx/arch';
import { freshKey } from '@nestedsgx/arch/fresh-key';
import { reportMac } from '../enclu/ereport.js';
import { MonitorError } from '../errors.js';
import { tagsEqual, wipe } from '../keys/cmac.js';
import type { ReportPort } from '../ports.js';
import type { MonitorState } from '../state/state.js';

/** What the SNP report's REPORT_DATA hashes before the key's SubjectPublicKeyInfo; ends in a zero byte. */
export const KEY_BINDING_LABEL = 'nestedsgx/attestation-key/v1\0';
/** Hashed to the quoting enclave's MRENCLAVE and to its vendor id. */
const QE_LABEL = 'nestedsgx/quoting-enclave/v1\0';
const VENDOR_LABEL = 'nestedsgx/qe-vendor/v1\0';
const QE_SVN = 1;

/** Makes quotes. One for each launch; the key never leaves it. */
export class QuotingEnclave {
  readonly #key: KeyObject;
  /** x ‖ y, big endian. */
  readonly #point: Uint8Array;
  readonly #certificationData: Uint8Array;
  readonly #targetInfo: Uint8Array;
  readonly #vendorId: Uint8Array;
  /** The SNP report that binds the key (1184 bytes). */
  readonly snpReport: Uint8Array;

  /**
   * Makes the key and has it bound. `certificates` are the SNP report's chain in DER, leaf first. Throws
   * MONITOR_QUOTING when the PSP refuses or the chain cannot be encoded.
   */
  constructor(hash: HashProvider, channel: ReportPort, certificates: readonly Uint8Array[]) {
    this.#key = freshKey({ curve: 'P-256' });
    const spki = createPublicKey(this.#key).export({ format: 'der', type: 'spki' });
    this.#point = new Uint8Array(spki.subarray(spki.length - 64));
    const reportData = hash.sha512().update(ascii(KEY_BINDING_LABEL)).update(new Uint8Array(spki)).digest();
    try {
      this.snpReport = channel.report(reportData, 0);
      this.#certificationData = encodeNestedCertificationData({ report: this.snpReport, certificates });
    } catch (cause) {
      throw new MonitorError('MONITOR_QUOTING', 'the attestation key could not be bound to an SNP report', {
        cause,
      });
    }
    this.#vendorId = hash.sha256().update(ascii(VENDOR_LABEL)).digest().subarray(0, 16);
    this.#targetInfo = TARGETINFO.encode({
      MEASUREMENT: hash.sha256().update(ascii(QE_LABEL)).digest(),
      ATTRIBUTES: { FLAGS: ATTRIBUTES_INIT | ATTRIBUTES_MODE64BIT, XFRM: 3n },
    });
  }

  /** TARGETINFO (512 bytes) for reports that are to be quoted. */
  targetInfo(): Uint8Array {
    return this.#targetInfo.slice();
  }

  /** A quote of `report` (432 bytes), or null when its MAC is not one for this quoting enclave. */
  quote(s: MonitorState, report: Uint8Array): Uint8Array | null {
    const body = report.slice(0, REPORT_BODY.size);
    const mac = reportMac(s, report, this.#targetInfo);
    const genuine = tagsEqual(mac, report.subarray(REPORT.offsets.MAC, REPORT.size));
    wipe(mac);
    if (!genuine) return null;
    const parts = {
      header: {
        VERSION: 3,
        ATT_KEY_TYPE: ATT_KEY_TYPE_ECDSA_P256,
        ATT_KEY_DATA_0: 0,
        QE_SVN,
        PCE_SVN: 0,
        QE_VENDOR_ID: this.#vendorId,
        USER_DATA: new Uint8Array(20),
      },
      reportBody: body,
      signature: new Uint8Array(64),
      attestationKey: this.#point,
      qeReport: new Uint8Array(REPORT_BODY.size),
      qeReportSignature: new Uint8Array(64),
      qeAuthData: new Uint8Array(0),
      certificationDataType: CERTIFICATION_DATA_NESTED,
      certificationData: this.#certificationData,
    };
    const quote = encodeQuote3(parts);
    const signature = sign('sha256', quote.subarray(0, SIGNED), {
      key: this.#key,
      dsaEncoding: 'ieee-p1363',
    });
    quote.set(signature, SIGNED + 4);
    return quote;
  }

  /** Bytes of every quote. */
  get quoteLength(): number {
    return SIGNED + 4 + 64 + 64 + REPORT_BODY.size + 64 + 2 + 2 + 4 + this.#certificationData.length;
  }
}

/** Header and report body. */
const SIGNED = 48 + 384;

function ascii(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'latin1'));
}
