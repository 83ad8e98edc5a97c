/** The monitor's end of the PSP's guest messages: makes requests, opens answers, counts sequence numbers. */
import {
  GUEST_FIELD_SELECT,
  GUEST_MSG_TYPE,
  MSG_KEY_REQ,
  MSG_KEY_RSP,
  MSG_REPORT_REQ,
  MSG_REPORT_RSP,
} from '@nestedsgx/arch';
import { MachineError } from '../errors.js';
import { openPayload, readHeader, sealMessage } from './guest-message.js';
import { pspStatusName } from './status.js';

/** What the key depends on. */
export interface DeriveKeyOptions {
  /** From the chip (the default) or from this launch's random VMRK. */
  root?: 'chip' | 'vmrk';
  /** Fields of the guest to mix in; default MEASUREMENT and GUEST_POLICY. */
  fields?: readonly (keyof typeof GUEST_FIELD_SELECT)[];
  vmpl?: number;
  guestSvn?: number;
  tcbVersion?: bigint;
}

/**
 * One VMPCK in use. Any failure of a message may have spent its sequence number, and encrypting another one
 * under the same number would break AES-GCM: the key is refused from then on, as Linux's sev-guest does.
 */
export class GuestMessageChannel {
  readonly vmpck: number;
  readonly #key: Uint8Array;
  readonly #send: (message: Uint8Array) => Uint8Array;
  #count = 0n;
  #refused = false;

  /** `key` has 32 bytes; `send` is SNP_GUEST_REQUEST. */
  constructor(vmpck: number, key: Uint8Array, send: (message: Uint8Array) => Uint8Array) {
    this.vmpck = vmpck;
    this.#key = Uint8Array.from(key);
    this.#send = send;
  }

  /** True until a message fails. */
  get usable(): boolean {
    return !this.#refused;
  }

  /** An attestation report (1184 bytes) with 64 bytes of report data. Throws PSP_CHANNEL, PSP_RESPONSE. */
  report(reportData: Uint8Array, vmpl = 0): Uint8Array {
    const request = MSG_REPORT_REQ.encode({ REPORT_DATA: reportData, VMPL: vmpl });
    const answer = MSG_REPORT_RSP.decode(
      this.#exchange(GUEST_MSG_TYPE.REPORT_REQ, request, MSG_REPORT_RSP.size),
    );
    this.#checkStatus('MSG_REPORT_REQ', answer.STATUS);
    return answer.REPORT;
  }

  /** A derived key (32 bytes). Throws PSP_CHANNEL, PSP_RESPONSE. */
  deriveKey(options: DeriveKeyOptions = {}): Uint8Array {
    const fields = options.fields ?? ['MEASUREMENT', 'GUEST_POLICY'];
    const request = MSG_KEY_REQ.encode({
      ROOT_KEY_SELECT: options.root === 'vmrk' ? 1 : 0,
      GUEST_FIELD_SELECT: fields.reduce((bits, name) => bits | GUEST_FIELD_SELECT[name], 0n),
      VMPL: options.vmpl ?? 0,
      GUEST_SVN: options.guestSvn ?? 0,
      TCB_VERSION: options.tcbVersion ?? 0n,
    });
    const answer = MSG_KEY_RSP.decode(this.#exchange(GUEST_MSG_TYPE.KEY_REQ, request, MSG_KEY_RSP.size));
    this.#checkStatus('MSG_KEY_REQ', answer.STATUS);
    return answer.DERIVED_KEY;
  }

  #exchange(type: number, payload: Uint8Array, answerSize: number): Uint8Array {
    if (this.#refused) throw this.#refusal('an earlier message failed');
    const sequence = this.#count + 1n;
    const message = sealMessage(this.#key, { vmpck: this.vmpck, type, version: 1, sequence, payload });
    // Refused unless everything below goes well.
    this.#refused = true;
    let answer: Uint8Array;
    try {
      answer = this.#send(message);
    } catch (cause) {
      throw this.#refusal('the PSP refused a message', cause);
    }
    const header = readHeader(answer);
    if (typeof header === 'string') throw this.#refusal(header);
    const fits =
      header.MSG_SEQNO === sequence + 1n && header.MSG_TYPE === type + 1 && header.MSG_VMPCK === this.vmpck;
    const plain = fits && header.MSG_SIZE === answerSize ? openPayload(this.#key, answer, header) : undefined;
    if (plain === undefined) throw this.#refusal('the answer is not authentic or belongs to another message');
    this.#count += 2n;
    this.#refused = false;
    return plain;
  }

  #checkStatus(message: string, status: number): void {
    if (status === 0) return;
    throw new MachineError('PSP_RESPONSE', `${message} was answered with status ${pspStatusName(status)}`);
  }

  #refusal(why: string, cause?: unknown): MachineError {
    return new MachineError('PSP_CHANNEL', `VMPCK${this.vmpck} may not be used any more: ${why}`, {
      cause,
      advice: 'Launch the machine anew.',
    });
  }
}
