/** Descriptors of this process for an enclave: what the runner's call on host descriptors may be used on. */
import { close, OsError, sendFds } from '@nestedsgx/os';
import { sdkError } from './errors.js';

/**
 * The host's end of an enclave's grant socket. A message is the descriptor's name (u64) with the descriptor. The enclave
 * takes messages in order; it chooses when, and closes what it has been granted. The host cannot take a descriptor back: it
 * can shut a socket down, or end the enclave.
 */
export class DescriptorGrants {
  #socket: number;

  /** Takes ownership of the socket. */
  constructor(socket: number) {
    this.#socket = socket;
  }

  /** For native code that grants descriptors itself, as long as the enclave is open. */
  get socket(): number {
    return this.#socket;
  }

  /**
   * Sends a descriptor, which stays the caller's.
   * @throws HOST_DESCRIPTORS_FULL; OsError for a descriptor that there is not
   */
  grant(fd: number, name: number): void {
    if (this.#socket < 0) throw sdkError('ENCLAVE_CLOSED', 'the enclave has been closed');
    const message = new BigUint64Array([BigInt(name)]);
    try {
      sendFds(this.#socket, new Uint8Array(message.buffer), [fd]);
    } catch (error) {
      if (!(error instanceof OsError) || error.code === 'EBADF') throw error;
      throw sdkError(
        'HOST_DESCRIPTORS_FULL',
        `descriptor ${fd} cannot be granted: ${error.message}`,
        'the enclave takes descriptors with recvmsg on its grant socket, and has ended if that is closed',
        error,
      );
    }
  }

  /** Harmless when repeated. */
  close(): void {
    if (this.#socket >= 0) close(this.#socket);
    this.#socket = -1;
  }
}
