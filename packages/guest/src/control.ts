/**
 * The control socket of a confidential VM: one JSON object per SEQPACKET message, one reply per request.
 * Replies are hostile until checked: size, shape, ranges.
 */
import { close, recvFds, sendFds } from '@nestedsgx/os';
import { guestError } from './errors.js';

const MAX_MESSAGE = 64 * 1024;
const MAX_FDS = 8;

/** A message as received: the parsed object and the descriptors that came with it (the receiver owns them). */
export interface ControlMessage {
  body: Record<string, unknown>;
  fds: number[];
}

/** Client end of the control socket. Requests are answered in order; one at a time. */
export class ControlSocket {
  readonly fd: number;
  #closed = false;
  #queue: Promise<unknown> = Promise.resolve();

  /** Takes ownership of `fd`, a connected SEQPACKET socket. */
  constructor(fd: number) {
    this.fd = fd;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Closes the socket; the cvm gives back all that belongs to the connection. Harmless when repeated. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    close(this.fd);
  }

  /**
   * Sends a request and returns the reply's object.
   * @throws GUEST_REFUSED with the cvm's own code in the message, CVM_LOST, GUEST_TIMEOUT, GUEST_PROTOCOL, GUEST_CLOSED
   */
  request(body: Record<string, unknown>, timeoutMs = 10_000): Promise<ControlMessage> {
    const run = async (): Promise<ControlMessage> => {
      if (this.#closed) throw guestError('GUEST_CLOSED', 'the connection to the confidential VM is closed');
      try {
        sendFds(this.fd, new TextEncoder().encode(JSON.stringify(body)));
      } catch (cause) {
        throw guestError('CVM_LOST', 'the confidential VM does not take requests', 'launch a new one', cause);
      }
      const reply = await this.receive(timeoutMs);
      if (reply.body.ok !== true) {
        for (const fd of reply.fds) close(fd);
        const code = text(reply.body.code, 64) ?? 'REFUSED';
        const message = text(reply.body.message, 500) ?? 'no reason given';
        throw guestError(
          'GUEST_REFUSED',
          `${String(body.op)}: ${message} (${code})`,
          text(reply.body.advice, 500),
        );
      }
      return reply;
    };
    const next = this.#queue.then(run, run);
    this.#queue = next.catch(() => undefined);
    return next;
  }

  /** Waits for the next message without blocking the event loop. @throws CVM_LOST, GUEST_TIMEOUT, GUEST_PROTOCOL */
  async receive(timeoutMs: number): Promise<ControlMessage> {
    const deadline = performance.now() + timeoutMs;
    let pause = 0;
    for (;;) {
      if (this.#closed) throw guestError('GUEST_CLOSED', 'the connection to the confidential VM is closed');
      const message = this.#take();
      if (message !== null) return message;
      if (performance.now() > deadline)
        throw guestError('GUEST_TIMEOUT', `no answer from the confidential VM within ${timeoutMs} ms`);
      if (pause === 0) await new Promise<void>((resolve) => setImmediate(resolve));
      else await new Promise<void>((resolve) => setTimeout(resolve, pause));
      pause = Math.min(pause + 0.25, 2);
    }
  }

  #take(): ControlMessage | null {
    let got: ReturnType<typeof recvFds>;
    try {
      // A millisecond of blocking is less than a timer's round and keeps short answers short.
      got = recvFds(this.fd, MAX_MESSAGE, MAX_FDS, 1);
    } catch (cause) {
      throw guestError('CVM_LOST', 'the connection to the confidential VM broke', 'launch a new one', cause);
    }
    if (got === null) return null;
    if (got.eof || got.bytes.length === 0)
      throw guestError('CVM_LOST', 'the confidential VM closed the connection', 'launch a new one');
    try {
      const body: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(got.bytes));
      if (typeof body !== 'object' || body === null || Array.isArray(body))
        throw new TypeError('not an object');
      return { body: body as Record<string, unknown>, fds: got.fds };
    } catch (cause) {
      for (const fd of got.fds) close(fd);
      throw guestError(
        'GUEST_PROTOCOL',
        'a reply of the confidential VM is not a JSON object',
        undefined,
        cause,
      );
    }
  }
}

/** A string field, cut to `limit` characters, or undefined. */
export function text(value: unknown, limit: number): string | undefined {
  return typeof value === 'string' ? value.slice(0, limit) : undefined;
}

/** An integer field within [min, max] and a multiple of `multiple`. @throws GUEST_PROTOCOL naming the field */
export function integer(value: unknown, name: string, min: number, max: number, multiple = 1): number {
  if (
    typeof value !== 'number' ||
    !Number.isSafeInteger(value) ||
    value < min ||
    value > max ||
    value % multiple !== 0
  )
    throw guestError(
      'GUEST_PROTOCOL',
      `field ${name} of the reply is ${JSON.stringify(value)?.slice(0, 40)}`,
    );
  return value;
}

/** An object field. @throws GUEST_PROTOCOL naming the field */
export function object(value: unknown, name: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw guestError('GUEST_PROTOCOL', `field ${name} of the reply is not an object`);
  return value as Record<string, unknown>;
}
