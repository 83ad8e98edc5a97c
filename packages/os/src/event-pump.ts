import { check, checkInteger, OsError } from './errors.js';
import { native, viewOf } from './native.js';
import { type ExitStatus, exitStatus } from './processes.js';

const KINDS = { listen: 1, seqpacket: 2, pidfd: 3, bytes: 4 } as const;
const TYPES = ['', 'accepted', 'message', 'eof', 'exited'] as const;
/** Holds at least one event of the largest size; see native/pump.c. */
const BUFFER = 256 * 1024;
const HEAD = 24;
const EMSGSIZE = 90;

/**
 * What a source of an {@link EventPump} is. `bytes` is a seqpacket socket whose peer may not pass descriptors: none is
 * ever received from it, and one that it sends all the same ends the connection (`truncated`).
 */
export type SourceKind = keyof typeof KINDS;

/** Something that happened at a source. */
export interface PumpEvent {
  /** The source's token. */
  token: number;
  /** `accepted`: `fds[0]` is the connection. `exited`: the process ended (and was reaped, if it was our child). */
  type: 'accepted' | 'message' | 'eof' | 'exited';
  /** The message (a copy); empty for other types. */
  bytes: Uint8Array;
  /** Received descriptors, close-on-exec; they belong to whoever drains. */
  fds: number[];
  /** With `eof`: `closed` by the peer, `truncated` (it sent more than 64 KiB or 8 descriptors), or an errno name. */
  reason?: 'closed' | 'truncated' | 'failed';
  /** With `eof` for reason `failed`: the error number. */
  errno?: number;
  /** With `exited`: how, if the process was our child. */
  status?: Omit<ExitStatus, 'pid'>;
}

/**
 * A native thread that watches descriptors and queues what happens, ringing the doorbell at `wakeAddress`
 * (incremented, then woken if the word at `asleepAddress` is set; 0 and 0: no doorbell).
 *
 * Limits: 4,096 sources; per source 8 events and 128 KiB not yet drained; together 4,096 events, 16 MiB and 512
 * descriptors. A source over a limit is not read until events are drained. After `eof` and `exited` a source says
 * nothing more. The pump never closes a descriptor that it was given.
 */
export class EventPump {
  readonly #pump: number;
  readonly #buffer = new Uint8Array(BUFFER);
  readonly #words = new Int32Array(this.#buffer.buffer);
  #pending: Int32Array | undefined;

  /** @throws OsError EMFILE, EAGAIN */
  constructor(wakeAddress: number, asleepAddress: number) {
    const n = native();
    this.#pump = check(n.pumpCreate(wakeAddress, asleepAddress), 'epoll_create1');
    this.#pending = new Int32Array(viewOf(n.pumpPendingAddress(this.#pump), 4).buffer);
  }

  /** Watches a descriptor; `token` (32 bits) names it. @throws OsError EEXIST (token in use), ENOSPC, EBADF, EPERM */
  add(fd: number, token: number, kind: SourceKind): void {
    this.#open();
    checkInteger(token, 'token', 0, 0xffffffff);
    check(native().pumpAdd(this.#pump, fd, token, KINDS[kind]), 'epoll_ctl', `descriptor ${fd}`);
  }

  /**
   * Forgets a source; its events not yet drained are dropped and their descriptors closed. Afterwards the
   * descriptor may be closed. False: no such token.
   */
  remove(token: number): boolean {
    this.#open();
    return native().pumpRemove(this.#pump, token) === 0;
  }

  /** Takes what happened since, oldest first, at most 256 KiB at once. Costs next to nothing when that is nothing. */
  drain(): PumpEvent[] {
    if (this.#pending === undefined || Atomics.load(this.#pending, 0) === 0) return [];
    const used = check(native().pumpDrain(this.#pump, this.#buffer, BUFFER), 'pump');
    const events: PumpEvent[] = [];
    for (let at = 0; at < used; ) {
      const w = at >> 2;
      const words = this.#words;
      const [token, type, length, count] = [
        words[w]! >>> 0,
        TYPES[words[w + 1]!]!,
        words[w + 2]!,
        words[w + 3]!,
      ];
      const [a, b] = [words[w + 4]!, words[w + 5]!];
      const data = at + HEAD + 4 * count;
      const event: PumpEvent = {
        token,
        type: type as PumpEvent['type'],
        bytes: this.#buffer.slice(data, data + length),
        fds: Array.from(words.subarray(w + 6, w + 6 + count)),
      };
      if (type === 'eof') {
        event.reason = a === 0 || a === 104 ? 'closed' : a === EMSGSIZE ? 'truncated' : 'failed';
        if (event.reason === 'failed') event.errno = a;
      } else if (type === 'exited' && a !== 0) {
        const { code, signal } = exitStatus(0, a, b);
        event.status = code === undefined ? { signal: signal! } : { code };
      }
      events.push(event);
      at = data + ((length + 3) & ~3);
    }
    return events;
  }

  /** Ends the thread, closes descriptors received but not drained. A second call does nothing. */
  close(): void {
    if (this.#pending === undefined) return;
    this.#pending = undefined;
    check(native().pumpClose(this.#pump), 'pump');
  }

  #open(): void {
    if (this.#pending === undefined) throw new OsError('ARGUMENT_INVALID', 'The event pump is closed.');
  }
}
