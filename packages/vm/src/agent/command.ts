/** A command that runs in a guest. */
import { PassThrough, Writable } from 'node:stream';
import { vmError } from '../errors.js';
import { FRAME_LIMIT } from './protocol.js';

const UNREAD_LIMIT = 64 * 2 ** 20;

/** How a command ended: by its exit code or by a signal's number. */
export interface CommandEnd {
  code: number | null;
  signal: number | null;
}

/** What a command sends to its guest. */
export interface CommandChannel {
  input(bytes: Uint8Array): void;
  signal(number: number): void;
  resize(size: { rows: number; columns: number }): void;
}

/**
 * A running command: its streams and its end. What it writes and nobody reads is kept in memory here, up to 64 MiB; `stdin`
 * waits while the command does not read.
 */
export class GuestCommand {
  readonly stdin: Writable;
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  /** How it ended. Rejected with VM_COMMAND when it could not be started, VM_GUEST_ENDED when the guest went first. */
  readonly ended: Promise<CommandEnd>;
  readonly #channel: CommandChannel;
  #resolve!: (end: CommandEnd) => void;
  #reject!: (error: Error) => void;
  #over = false;
  #credit = FRAME_LIMIT;
  #waiting: (() => void) | null = null;

  constructor(channel: CommandChannel) {
    this.#channel = channel;
    this.ended = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever never asks how it ended must not end with it.
    this.ended.catch(() => undefined);
    this.stdin = new Writable({
      write: (chunk: Buffer, _encoding, done) => this.#send(chunk, done),
      final: (done) => {
        if (!this.#over) this.#channel.input(new Uint8Array(0));
        done();
      },
    });
  }

  /** Sends a signal to the command and what it has started (its process group). */
  kill(signal = 15): void {
    if (!this.#over) this.#channel.signal(signal);
  }

  /** Tells the size of its terminal. */
  resize(size: { rows: number; columns: number }): void {
    if (!this.#over) this.#channel.resize(size);
  }

  /** For the session: output. A command that writes much while nobody reads is killed. */
  take(stream: PassThrough, bytes: Buffer): void {
    if (stream.writableLength + stream.readableLength > UNREAD_LIMIT) {
      this.kill(9);
      this.finish(
        vmError('VM_COMMAND', `a command wrote more than ${UNREAD_LIMIT} bytes that nobody has read`),
      );
    } else if (!stream.destroyed && !stream.writableEnded) stream.write(Buffer.from(bytes));
  }

  /** For the session: the guest has taken input. */
  taken(bytes: number): void {
    this.#credit = Math.min(this.#credit + bytes, FRAME_LIMIT);
    const go = this.#waiting;
    this.#waiting = null;
    go?.();
  }

  /** For the session. */
  finish(end: CommandEnd | Error): void {
    if (this.#over) return;
    this.#over = true;
    this.stdout.end();
    this.stderr.end();
    this.taken(FRAME_LIMIT);
    if (end instanceof Error) this.#reject(end);
    else this.#resolve(end);
  }

  #send(chunk: Buffer, done: () => void): void {
    if (this.#over || chunk.length === 0) {
      done();
      return;
    }
    if (this.#credit === 0) {
      this.#waiting = () => this.#send(chunk, done);
      return;
    }
    const now = chunk.subarray(0, this.#credit);
    this.#credit -= now.length;
    this.#channel.input(now);
    this.#send(chunk.subarray(now.length), done);
  }
}
