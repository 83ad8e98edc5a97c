/**
 * Tracing over control connections. Records wait in a ring for each tracer and are sent when the machine has time; one
 * that does not read fast enough loses records, and is told how many. Nothing here waits for anybody.
 */
import { NsgxError } from '@nestedsgx/arch';
import type { TraceEvent, TraceSink } from '@nestedsgx/monitor';
import { MESSAGE_LIMIT, type TraceFilter } from './protocol.js';

/** Tracers of one machine at most. */
export const TRACER_LIMIT = 8;
/** Of them kept for the machine's own account and root. */
export const TRACERS_RESERVED = 2;
/** Records that wait for one tracer at most. */
export const TRACE_RING = 8192;
/** Records that are worth a message before the machine is idle. */
const FULL_MESSAGE = 256;
/** Between two messages of few records, and two attempts at a tracer that does not read, in milliseconds. */
const PATIENCE_MS = 2;
/** Room for what surrounds the records of a message. */
const ENVELOPE = 256;

/** What tracing needs of the server. */
export interface TracingPort {
  /** The account of a connection, or undefined when it is gone. */
  uidOf(owner: number): number | undefined;
  /** Sends without waiting; false when the peer has no room. A peer that is gone is dropped. */
  trySend(token: number, message: Uint8Array): boolean;
  /** Sets the monitor's trace hook, or removes it. */
  setSink(sink: TraceSink | undefined): void;
}

/** A record as it waits: the event and when it was, or how many were lost at this place. */
type Waiting = { readonly at: number; readonly event: TraceEvent } | { readonly lost: number };

interface Tracer {
  readonly token: number;
  readonly uid: number;
  /** May see what all connections do. */
  readonly all: boolean;
  readonly filter: TraceFilter;
  readonly ring: (Waiting | undefined)[];
  head: number;
  count: number;
  /** Lost since the last record in the ring. */
  lost: number;
  /** A message that the peer had no room for. */
  unsent: Uint8Array | null;
  /** When a message was last sent, or tried to. */
  tried: number;
}

/** The tracers of one machine. */
export class Tracing {
  readonly #tracers = new Map<number, Tracer>();

  constructor(private readonly port: TracingPort) {}

  /** True while records wait. */
  get pending(): boolean {
    for (const tracer of this.#tracers.values())
      if (tracer.count > 0 || tracer.lost > 0 || tracer.unsent !== null) return true;
    return false;
  }

  /** Begins tracing for a connection. @throws NsgxError CVM_REQUEST_REFUSED, CVM_RESOURCES */
  subscribe(token: number, uid: number, filter: TraceFilter): { all: boolean } {
    if (this.#tracers.has(token))
      throw new NsgxError('CVM_REQUEST_REFUSED', 'this connection traces already');
    const all = uid === 0 || uid === process.getuid?.();
    if (this.#tracers.size >= (all ? TRACER_LIMIT : TRACER_LIMIT - TRACERS_RESERVED))
      throw new NsgxError('CVM_RESOURCES', `${TRACER_LIMIT} tracers are the most on one machine`, {
        advice: 'End another nsgx trace first.',
      });
    this.#tracers.set(token, {
      token,
      uid,
      all,
      filter,
      ring: new Array(TRACE_RING),
      head: 0,
      count: 0,
      lost: 0,
      unsent: null,
      tried: 0,
    });
    if (this.#tracers.size === 1) this.port.setSink((event) => this.#record(event));
    return { all };
  }

  /** The connection is gone. */
  unsubscribe(token: number): void {
    if (this.#tracers.delete(token) && this.#tracers.size === 0) this.port.setSink(undefined);
  }

  /**
   * Sends what waits: while the machine is `busy` only what fills messages, when it is `idle` everything once in a while,
   * at its `end` everything.
   */
  flush(state: 'busy' | 'idle' | 'end'): void {
    if (this.#tracers.size === 0) return;
    const now = performance.now();
    for (const tracer of [...this.#tracers.values()]) {
      const few = tracer.count < FULL_MESSAGE;
      if (few && (state === 'busy' || (state === 'idle' && now - tracer.tried < PATIENCE_MS))) continue;
      this.#send(tracer, now);
    }
  }

  #record(event: TraceEvent): void {
    const at = Math.round(performance.now() * 1000);
    for (const tracer of this.#tracers.values()) {
      if (!tracer.all && this.port.uidOf(event.owner) !== tracer.uid) continue;
      if (wanted(tracer.filter, event)) push(tracer, { at, event });
    }
  }

  #send(tracer: Tracer, now: number): void {
    if (tracer.unsent !== null && now - tracer.tried < PATIENCE_MS) return;
    tracer.tried = now;
    if (tracer.unsent !== null) {
      if (!this.port.trySend(tracer.token, tracer.unsent)) return;
      tracer.unsent = null;
    }
    while (tracer.count > 0 || tracer.lost > 0) {
      const message = nextMessage(tracer);
      if (this.port.trySend(tracer.token, message)) continue;
      tracer.unsent = message;
      return;
    }
  }
}

function wanted(filter: TraceFilter, event: TraceEvent): boolean {
  if (filter.failed && event.result === 'ok') return false;
  if (filter.enclave !== undefined && event.enclave !== filter.enclave) return false;
  return filter.leaves === undefined || filter.leaves.includes(event.name);
}

function push(tracer: Tracer, record: Waiting): void {
  // The place behind a gap is for the gap itself.
  if (tracer.count + (tracer.lost > 0 ? 2 : 1) > TRACE_RING) {
    tracer.lost++;
    return;
  }
  if (tracer.lost > 0) {
    put(tracer, { lost: tracer.lost });
    tracer.lost = 0;
  }
  put(tracer, record);
}

function put(tracer: Tracer, record: Waiting): void {
  tracer.ring[(tracer.head + tracer.count) % TRACE_RING] = record;
  tracer.count++;
}

/** As many records as one datagram holds, taken from the ring. */
function nextMessage(tracer: Tracer): Uint8Array {
  const records: string[] = [];
  let room = MESSAGE_LIMIT - ENVELOPE;
  while (tracer.count > 0) {
    const text = encodeRecord(tracer.ring[tracer.head] as Waiting);
    room -= text.length + 1;
    if (room < 0) break;
    records.push(text);
    tracer.ring[tracer.head] = undefined;
    tracer.head = (tracer.head + 1) % TRACE_RING;
    tracer.count--;
  }
  if (tracer.count === 0 && tracer.lost > 0) {
    records.push(encodeRecord({ lost: tracer.lost }));
    tracer.lost = 0;
  }
  return new TextEncoder().encode(`{"op":"trace","records":[${records.join()}]}`);
}

/** Registers above 2^53 are hexadecimal text. Escaped to ASCII, so that characters are bytes. */
function encodeRecord(record: Waiting): string {
  if (!('event' in record)) return JSON.stringify(record);
  const { event, at } = record;
  const operands = event.operands.map((value) =>
    typeof value === 'bigint' ? `0x${value.toString(16)}` : value,
  );
  const microseconds = Math.round(event.microseconds * 1000) / 1000;
  const text = JSON.stringify({ at, ...event, operands, microseconds });
  return text.replace(/[^\x20-\x7e]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
