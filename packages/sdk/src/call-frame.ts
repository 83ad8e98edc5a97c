/**
 * The host memory of one ECALL: marshalling structure, request, response and OCALL buffer, all in guest RAM and kept
 * for the next call. Layout of the structure (64 bytes, u64 each): request, request length, response, response capacity,
 * response length (out), status (out), OCALL buffer, OCALL capacity.
 */
import type { GuestBlock, GuestMemory } from '@nestedsgx/guest';
import type { EnclaveFault } from './errors.js';
import { sdkError } from './errors.js';

const TWO_32 = 2 ** 32;
const SMALL = 16 * 1024;
/** Buffers up to this size stay with the frame after a call that needed them. */
const KEEP = 4 * 2 ** 20;

/** Sizes in bytes. */
export interface FrameSizes {
  ocallBufferBytes: number;
  maxMessageBytes: number;
}

export const EMPTY = new Uint8Array(0);

/** Buffers of one nesting level of one thread. */
export class CallFrame {
  /** Virtual address of the marshalling structure. */
  readonly address: number;
  readonly #memory: GuestMemory;
  readonly #sizes: FrameSizes;
  readonly #block: GuestBlock;
  readonly #words: Uint32Array;
  readonly #ocall: GuestBlock;
  /** The OCALL buffer as 32-bit words: the structure of an OCALL of our own runtime lies at its start. */
  readonly ocallWords: Uint32Array;
  #request: GuestBlock;
  #response: GuestBlock;
  /** Memory for an OCALL's response that does not fit the OCALL buffer. */
  #answer: GuestBlock | null = null;
  /** The latest exception during the call under way. */
  exception: EnclaveFault | null = null;
  /** The first OCALL of the call under way that failed. */
  ocallError: Error | null = null;

  constructor(memory: GuestMemory, sizes: FrameSizes) {
    this.#memory = memory;
    this.#sizes = sizes;
    this.#block = memory.alloc(64, { zero: true });
    this.#words = new Uint32Array(this.#block.bytes.buffer, this.#block.bytes.byteOffset, 16);
    this.address = this.#block.address;
    this.#request = memory.alloc(SMALL);
    this.#response = memory.alloc(SMALL);
    this.#ocall = memory.alloc(sizes.ocallBufferBytes, { alignment: 4096 });
    this.ocallWords = new Uint32Array(this.#ocall.bytes.buffer, this.#ocall.bytes.byteOffset, 12);
    this.#address(0, this.#request.address);
    this.#address(4, this.#response.address);
    this.#address(6, this.#response.length);
    this.#address(12, this.#ocall.address);
    this.#address(14, this.#ocall.length);
  }

  /** Puts a request in place. The constant fields were set before and are for the enclave only: nothing here reads them. */
  prepare(request: Uint8Array): void {
    const { length } = request;
    const words = this.#words;
    if (length !== 0) {
      if (length > this.#request.length) this.#growRequest(length);
      this.#request.bytes.set(request);
    }
    words[2] = length;
    words[8] = 0;
    words[9] = 0;
    words[10] = 0;
    this.exception = null;
    this.ocallError = null;
  }

  /** Address of the OCALL buffer. */
  get ocallAddress(): number {
    return this.#ocall.address;
  }

  /** Length of the response as the enclave says; checked against the limit and the buffer by `take` and `grow`. */
  get responseLength(): number {
    return this.#words[8] + this.#words[9] * TWO_32;
  }

  /** A copy of the response. @throws MESSAGE_MALFORMED when the enclave claims more than the buffer holds */
  take(): Uint8Array {
    const length = this.responseLength;
    if (length === 0) return EMPTY;
    if (length > this.#response.length)
      throw sdkError(
        'MESSAGE_MALFORMED',
        `the enclave claims a response of ${length} bytes in a smaller buffer`,
      );
    return this.#response.bytes.slice(0, length);
  }

  /** Makes room for a response of the announced length. @throws MESSAGE_TOO_LARGE, GUEST_MEMORY_EXHAUSTED */
  grow(): void {
    const length = this.responseLength;
    if (length > this.#sizes.maxMessageBytes) throw tooLarge('response', length, this.#sizes.maxMessageBytes);
    const larger = this.#memory.alloc(roundUp(Math.max(length, this.#response.length + 1)));
    this.#memory.free(this.#response);
    this.#response = larger;
    this.#address(4, larger.address);
    this.#address(6, larger.length);
  }

  /** Memory for the answer to an OCALL that is larger than the OCALL buffer. @throws MESSAGE_TOO_LARGE */
  answerMemory(length: number): GuestBlock {
    if (length > this.#sizes.maxMessageBytes)
      throw tooLarge('response to an OCALL', length, this.#sizes.maxMessageBytes);
    if (this.#answer !== null && this.#answer.length >= length) return this.#answer;
    const larger = this.#memory.alloc(roundUp(length));
    if (this.#answer !== null) this.#memory.free(this.#answer);
    this.#answer = larger;
    return larger;
  }

  /** Gives large buffers back after a call. */
  trim(): void {
    if (this.#request.length > KEEP) {
      this.#memory.free(this.#request);
      this.#request = this.#memory.alloc(SMALL);
      this.#address(0, this.#request.address);
    }
    if (this.#response.length > KEEP) {
      this.#memory.free(this.#response);
      this.#response = this.#memory.alloc(SMALL);
      this.#address(4, this.#response.address);
      this.#address(6, this.#response.length);
    }
    if (this.#answer !== null) {
      this.#memory.free(this.#answer);
      this.#answer = null;
    }
  }

  /** True when `trim` has something to do. */
  get bulky(): boolean {
    return this.#request.length > KEEP || this.#response.length > KEEP || this.#answer !== null;
  }

  /** Frees everything. */
  free(): void {
    for (const block of [this.#block, this.#request, this.#response, this.#ocall, this.#answer])
      if (block !== null) this.#memory.free(block);
    this.#answer = null;
  }

  #growRequest(length: number): void {
    if (length > this.#sizes.maxMessageBytes) throw tooLarge('request', length, this.#sizes.maxMessageBytes);
    const larger = this.#memory.alloc(roundUp(length));
    this.#memory.free(this.#request);
    this.#request = larger;
    this.#address(0, larger.address);
  }

  #address(word: number, value: number): void {
    this.#words[word] = value % TWO_32;
    this.#words[word + 1] = value / TWO_32;
  }
}

function roundUp(length: number): number {
  return Math.max(SMALL, 2 ** Math.ceil(Math.log2(length)));
}

function tooLarge(what: string, length: number, limit: number): Error {
  return sdkError(
    'MESSAGE_TOO_LARGE',
    `a ${what} of ${length} bytes exceeds the limit of ${limit}`,
    'pass data in pieces, or load the enclave with a larger maxMessageBytes',
  );
}
