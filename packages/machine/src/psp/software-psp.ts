/** The security processor in software: launches one guest, answers its messages, signs its reports. */
import { GUEST_MSG_TYPE, MSG_KEY_REQ, MSG_REPORT_REQ } from '@nestedsgx/arch';
import type { Chip, ChipCertificates } from './chip.js';
import { spkiFingerprint } from './chip.js';
import { loadChip, storeChip } from './chip-store.js';
import { PspCommandError } from './command-error.js';
import { answerKeyRequest } from './derived-key.js';
import { openPayload, readHeader, sealMessage } from './guest-message.js';
import { GuestContext, type LaunchFinish } from './launch.js';
import { answerReportRequest } from './report.js';
import { PSP_STATUS } from './status.js';

/** Sequence numbers are 64 bits; the last two are never used. */
const LAST_SEQUENCE = 0xffff_ffff_ffff_fffdn;
const MESSAGE_VERSION = 1;

/** Operands of SNP_LAUNCH_START. */
export interface LaunchStart {
  /** Guest policy; default ABI 0.0, SMT allowed, no debugging. */
  policy?: bigint;
}

/** Default guest policy: bit 17 (must be one) and SMT allowed. */
export const DEFAULT_POLICY = 0x3_0000n;

/** One chip with at most one guest. Everything after `open` is synchronous. */
export class SoftwarePsp {
  readonly #chip: Chip;
  #guest: GuestContext | undefined;

  private constructor(chip: Chip) {
    this.#chip = chip;
  }

  /**
   * Opens the chip of the installation in `stateDirectory`, making it when there is none yet; null makes one
   * that is forgotten with the process. Throws PSP_STATE_DAMAGED, PSP_STATE_PERMISSIONS, PSP_STATE_IO.
   */
  static async open(stateDirectory: string | null): Promise<SoftwarePsp> {
    const stored = stateDirectory === null ? undefined : loadChip(stateDirectory);
    if (stored !== undefined) return new SoftwarePsp(stored);
    // Issuing code is needed once per installation and loaded only then.
    const { manufactureChip } = await import('./manufacture.js');
    const chip = manufactureChip();
    return new SoftwarePsp(stateDirectory === null ? chip : storeChip(stateDirectory, chip));
  }

  /** The chain, DER: root (ARK), intermediate (ASK), chip (VCEK). */
  certificates(): ChipCertificates {
    return this.#chip.certificates;
  }

  /** SHA-256 of the ARK's SubjectPublicKeyInfo, by which verifiers accept this root. */
  rootFingerprint(): Uint8Array {
    return spkiFingerprint(this.#chip.certificates.ark);
  }

  /** CHIP_ID (64 bytes). */
  get chipId(): Uint8Array {
    return this.#chip.id;
  }

  /** SNP_LAUNCH_START. Throws PSP_COMMAND INVALID_GUEST_STATE when there is a guest, and for a bad policy. */
  launchStart(start: LaunchStart = {}): void {
    if (this.#guest !== undefined) {
      throw new PspCommandError(
        'SNP_LAUNCH_START',
        PSP_STATUS.INVALID_GUEST_STATE,
        'there is a guest already',
      );
    }
    this.#guest = new GuestContext(start.policy ?? DEFAULT_POLICY);
  }

  /** SNP_LAUNCH_UPDATE of one page of 4096 bytes (null for types that are not measured by content). */
  launchUpdate(pageType: number, gpa: number | bigint, contents: Uint8Array | null): void {
    this.#context('SNP_LAUNCH_UPDATE').update(pageType, gpa, contents);
  }

  /** As `launchUpdate`, with the SHA-384 of the contents. */
  launchUpdateHashed(pageType: number, gpa: number | bigint, sha384: Uint8Array): void {
    this.#context('SNP_LAUNCH_UPDATE').updateHashed(pageType, gpa, sha384);
  }

  /** SNP_LAUNCH_FINISH; the launch digest (48 bytes). */
  launchFinish(finish: LaunchFinish = {}): Uint8Array {
    return this.#context('SNP_LAUNCH_FINISH').finish(finish);
  }

  /** The launch digest so far. */
  measurement(): Uint8Array {
    return this.#context('measurement').measurement;
  }

  /** The secrets page that the PSP puts into the guest: 4096 bytes with all VMPCKs, for VMPL0 only. */
  secretsPage(): Uint8Array {
    return this.#context('secretsPage').secretsPage();
  }

  /** VM platform communication key `n` (32 bytes, a copy). */
  vmpck(n: number): Uint8Array {
    return Uint8Array.from(this.#context('vmpck').vmpck[n]);
  }

  /**
   * SNP_GUEST_REQUEST: answers one message (a page, or just its bytes). Throws PSP_COMMAND with status
   * INVALID_GUEST_STATE (not launched), INVALID_PARAM (header, sequence number, type, version, size),
   * AEAD_OFLOW (no sequence numbers left), BAD_MEASUREMENT (not authentic). Whatever fails before the message
   * is authentic changes nothing, so that who cannot make messages cannot disturb who can.
   */
  guestRequest(message: Uint8Array): Uint8Array {
    const command = 'SNP_GUEST_REQUEST';
    const guest = this.#context(command);
    if (!guest.running) throw new PspCommandError(command, PSP_STATUS.INVALID_GUEST_STATE, 'not launched');
    const header = readHeader(message);
    if (typeof header === 'string') throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, header);
    const { MSG_VMPCK: vmpck, MSG_TYPE: type } = header;
    const count = guest.messageCount[vmpck];
    if (count >= LAST_SEQUENCE) throw new PspCommandError(command, PSP_STATUS.AEAD_OFLOW, `VMPCK${vmpck}`);
    if (header.MSG_SEQNO !== count + 1n) {
      throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, `sequence number is not ${count + 1n}`);
    }
    const key = guest.vmpck[vmpck];
    const payload = openPayload(key, message, header);
    if (payload === undefined)
      throw new PspCommandError(command, PSP_STATUS.BAD_MEASUREMENT, `VMPCK${vmpck}`);
    const answer = this.#answer(command, guest, vmpck, type, header.MSG_VERSION, payload);
    guest.messageCount[vmpck] = count + 2n;
    return sealMessage(key, {
      vmpck,
      type: type + 1,
      version: MESSAGE_VERSION,
      sequence: count + 2n,
      payload: answer,
    });
  }

  #answer(
    command: string,
    guest: GuestContext,
    vmpck: number,
    type: number,
    version: number,
    payload: Uint8Array,
  ): Uint8Array {
    if (version !== MESSAGE_VERSION) {
      throw new PspCommandError(command, PSP_STATUS.INVALID_PARAM, `message version ${version} is not 1`);
    }
    const size = type === GUEST_MSG_TYPE.REPORT_REQ ? MSG_REPORT_REQ.size : MSG_KEY_REQ.size;
    const known = type === GUEST_MSG_TYPE.REPORT_REQ || type === GUEST_MSG_TYPE.KEY_REQ;
    if (!known || payload.length !== size) {
      throw new PspCommandError(
        command,
        PSP_STATUS.INVALID_PARAM,
        `type ${type} with ${payload.length} bytes`,
      );
    }
    return type === GUEST_MSG_TYPE.REPORT_REQ
      ? answerReportRequest(this.#chip, guest, vmpck, payload)
      : answerKeyRequest(this.#chip, guest, vmpck, payload);
  }

  #context(command: string): GuestContext {
    if (this.#guest === undefined) {
      throw new PspCommandError(command, PSP_STATUS.INVALID_GUEST_STATE, 'no guest was started');
    }
    return this.#guest;
  }
}
