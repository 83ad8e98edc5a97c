/** Connections to traced machines: those that were asked, and those that programs launch while NSGX_TRACE is set. */
import { NsgxError } from '@nestedsgx/arch';
import { close, connectUnix, EventPump, listenUnix, sendFds } from '@nestedsgx/os';
import { parseMessage, type TraceGap, type TraceRecord } from './record.js';

/** What is asked of a machine; programs that launch machines ask for everything. */
export interface TraceFilter {
  readonly leaves?: readonly string[];
  readonly failed?: boolean;
  readonly enclave?: number;
}

const LISTENER = 0;
const POLL_MS = 5;

/** A machine that is, or was, traced. */
export interface TracedMachine {
  /** Process of the machine; 0 until it has answered. */
  pid: number;
}

type Receive = (machine: TracedMachine, record: TraceRecord | TraceGap) => void;

/** Collects records from any number of machines. */
export class TraceSession implements Disposable {
  /** Every machine that was connected, in order. */
  readonly machines: TracedMachine[] = [];
  readonly #pump = new EventPump(0, 0);
  readonly #connections = new Map<number, { fd: number; machine: TracedMachine }>();
  readonly #receive: Receive;
  #listener: number | null = null;
  #nextToken = LISTENER + 1;

  /** @param receive gets every record, in the order of its machine; it may throw, and `poll` throws that on */
  constructor(receive: Receive) {
    this.#receive = receive;
  }

  /** Machines that are connected. */
  get open(): number {
    return this.#connections.size;
  }

  /** Lets launchers connect machines at `path`. @throws OsError */
  listen(path: string): void {
    this.#listener = listenUnix(path, 0o600);
    this.#pump.add(this.#listener, LISTENER, 'listen');
  }

  /** Traces a machine that runs. @throws NsgxError CVM_LOST when nobody answers there */
  attach(path: string, filter: TraceFilter = {}): void {
    let fd: number;
    try {
      fd = connectUnix(path);
    } catch (cause) {
      throw new NsgxError('CVM_LOST', `no confidential VM answers at ${path}`, {
        advice: 'start one with nsgx cvm start, or trace a command: nsgx trace -- COMMAND',
        cause,
      });
    }
    this.#add(fd);
    sendFds(fd, new TextEncoder().encode(JSON.stringify({ op: 'trace', ...filter })));
  }

  /**
   * Takes what has arrived; true if anything did.
   * @throws NsgxError TRACE_RECORD, TRACE_REFUSED
   */
  poll(): boolean {
    const events = this.#pump.drain();
    for (const event of events) {
      if (event.token === LISTENER) {
        for (const fd of event.fds) this.#add(fd);
        continue;
      }
      const connection = this.#connections.get(event.token);
      if (connection === undefined) continue;
      if (event.type === 'eof') this.#drop(event.token);
      else this.#message(connection.machine, event.bytes);
    }
    return events.length > 0;
  }

  /** Takes what arrives until `done`, which is asked whenever nothing has. */
  async run(done: () => boolean): Promise<void> {
    while (this.poll() || !done()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }

  [Symbol.dispose](): void {
    this.#pump.close();
    for (const { fd } of this.#connections.values()) close(fd);
    this.#connections.clear();
    if (this.#listener !== null) close(this.#listener);
    this.#listener = null;
  }

  #add(fd: number): void {
    const machine: TracedMachine = { pid: 0 };
    const token = this.#nextToken++;
    this.#pump.add(fd, token, 'bytes');
    this.#connections.set(token, { fd, machine });
    this.machines.push(machine);
  }

  #drop(token: number): void {
    const connection = this.#connections.get(token);
    this.#connections.delete(token);
    this.#pump.remove(token);
    if (connection !== undefined) close(connection.fd);
  }

  #message(machine: TracedMachine, bytes: Uint8Array): void {
    const message = parseMessage(bytes);
    if ('op' in message) for (const record of message.records) this.#receive(machine, record);
    else if (message.ok) machine.pid = message.pid;
    else
      throw new NsgxError(
        'TRACE_REFUSED',
        `the confidential VM does not let itself be traced: ${message.message}`,
      );
  }
}

/** Whether a filter lets a record through. */
export function passes(filter: TraceFilter, record: TraceRecord): boolean {
  if (filter.failed && record.result === 'ok') return false;
  if (filter.enclave !== undefined && record.enclave !== filter.enclave) return false;
  return filter.leaves === undefined || filter.leaves.includes(record.name);
}
