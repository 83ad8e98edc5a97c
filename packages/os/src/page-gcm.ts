import { check, OsError } from './errors.js';
import { native } from './native.js';

const PAGE = 4096;
const KEY = 16;
const IV = 12;
const HEADER = 128;
const TAG = 16;

/**
 * AES-128-GCM of pages of 4096 bytes with 128 bytes of additional data, under one key. It uses the OpenSSL functions
 * that Node carries and offers to addons (Node.js documentation, "Linking to libraries included with Node.js"): a cipher
 * object of node:crypto serves one message, and making it costs more than encrypting a page.
 */
export class PageGcm {
  #context: number;

  private constructor(context: number) {
    this.#context = context;
  }

  /** For a key of 16 bytes, which the caller may wipe; null where Node does not offer its OpenSSL. @throws OsError */
  static create(key: Uint8Array): PageGcm | null {
    lengths(key.length === KEY);
    const context: number = native().gcmCreate(key);
    if (context === -ENOSYS) return null;
    return new PageGcm(check(context, 'EVP_CipherInit_ex'));
  }

  /** Encrypts `page` into `out` and puts 16 bytes of MAC into `mac`. An IV must not be used twice. @throws OsError */
  seal(iv: Uint8Array, additional: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): void {
    this.#fits(iv, additional, page, out, mac);
    check(native().gcmSeal(this.#context, iv, additional, page, out, mac), 'EVP_CipherUpdate');
  }

  /** Decrypts `page` into `out`; false, and zeros there, when MAC, IV, additional data and page do not belong together. */
  open(iv: Uint8Array, additional: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): boolean {
    this.#fits(iv, additional, page, out, mac);
    return native().gcmOpen(this.#context, iv, additional, page, out, mac) === 1;
  }

  /** Forgets the key. */
  close(): void {
    if (this.#context !== 0) native().gcmDestroy(this.#context);
    this.#context = 0;
  }

  #fits(iv: Uint8Array, additional: Uint8Array, page: Uint8Array, out: Uint8Array, mac: Uint8Array): void {
    lengths(
      this.#context !== 0 &&
        iv.length === IV &&
        additional.length === HEADER &&
        page.length === PAGE &&
        out.length === PAGE &&
        mac.length === TAG,
    );
  }
}

const ENOSYS = 38;

function lengths(right: boolean): void {
  if (!right)
    throw new OsError('ARGUMENT_INVALID', 'A page cipher got a buffer of the wrong size, or was closed.');
}
