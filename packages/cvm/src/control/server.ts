import { NsgxError } from '@nestedsgx/arch';
import { isResourceError, type MonitorStats, type TraceSink } from '@nestedsgx/monitor';
import type { EventPump, PumpEvent } from '@nestedsgx/os';
import { close, OsError, peerCredentials, refuseDescriptors, sendFds } from '@nestedsgx/os';
import {
  type ControlRequest,
  encodeMessage,
  MESSAGE_LIMIT,
  parseRequest,
  type TraceFilter,
} from './protocol.js';
import { type GuestShare, type Resources, vcpuPlace } from './resources.js';
import { Tracing } from './tracing.js';
import { visible, visibleOf } from './visible.js';

const CONNECTION_LIMIT = 128;

/** What the server needs from the rest of the machine. */
export interface ControlBackend {
  readonly resources: Resources;
  readonly isolation: 'same-user' | 'separate-user';
  /** Base virtual address and size of guest RAM, and the doorbell's gPA. */
  readonly ram: { base: number; size: number; doorbell: number; fd: number };
  /** A pidfd of this process, by which guests notice its end. */
  readonly selfPidfd: number;
  attach(owner: number, share: GuestShare): void;
  addVcpu(owner: number, vcpu: number, share: GuestShare): void;
  detach(owner: number, share: GuestShare): void;
  /** The host's end of an enclave's grant socket, the caller's to close; null where there is none to take. */
  takeGrants(owner: number, secs: number): number | null;
  info(): object;
  processes(): { owner: number }[];
  stats(): MonitorStats;
  /** Sets the monitor's trace hook; undefined removes it. */
  setTrace(sink: TraceSink | undefined): void;
  requestStop(): void;
}

interface Connection {
  fd: number;
  token: number;
  /** The launcher's own socket: its end ends a machine that lives for its host. */
  control: boolean;
  uid: number;
  share: GuestShare | null;
}

/**
 * Serves the control socket: attaching guests, information, stopping. Each datagram is one JSON request with one
 * reply. The token of a connection is its owner number in the monitor, so who asks is known by the socket.
 */
export class ControlServer {
  private readonly connections = new Map<number, Connection>();
  private nextToken = 1;
  private readonly tracing = new Tracing({
    uidOf: (owner) => this.connections.get(owner)?.uid,
    trySend: (token, message) => this.trySend(token, message),
    setSink: (sink) => this.backend.setTrace(sink),
  });

  constructor(
    private readonly pump: EventPump,
    private readonly backend: ControlBackend,
    private readonly lifetime: 'host' | 'service',
  ) {}

  /** Number of guests that hold a share of the machine. */
  get guests(): number {
    return [...this.connections.values()].filter((connection) => connection.share !== null).length;
  }

  /** Takes over a connected socket. Its peer can send no descriptors. */
  adopt(fd: number, control: boolean): number {
    const token = this.nextToken++;
    refuseDescriptors(fd);
    const { uid } = peerCredentials(fd);
    this.pump.add(fd, token, 'bytes');
    this.connections.set(token, { fd, token, control, uid, share: null });
    return token;
  }

  /** Takes over a connection to a tracer that the launcher chose: it sees the machine from its first call on. */
  adoptTracer(fd: number): void {
    const token = this.adopt(fd, false);
    this.subscribe(this.connections.get(token) as Connection, {});
  }

  /** Sends trace records; see {@link Tracing.flush}. True while some still wait. */
  flushTraces(state: 'busy' | 'idle' | 'end'): boolean {
    this.tracing.flush(state);
    return this.tracing.pending;
  }

  /** Announces something unasked, to the launcher. */
  announce(token: number, message: object): void {
    const connection = this.connections.get(token);
    if (connection !== undefined) this.send(connection, message, []);
  }

  /** A new connection on the listening socket. */
  accepted(fd: number): void {
    try {
      if (this.connections.size < CONNECTION_LIMIT) {
        this.adopt(fd, false);
        return;
      }
    } catch (error) {
      if (!isResourceError(error)) throw error;
    }
    close(fd);
  }

  /** Handles an event of one of the server's sockets; false when the token is somebody else's. */
  handle(event: PumpEvent): boolean {
    const connection = this.connections.get(event.token);
    if (connection === undefined) return false;
    if (event.type === 'eof') this.drop(connection);
    else if (event.type === 'message') this.answer(connection, event.bytes);
    return true;
  }

  private answer(connection: Connection, bytes: Uint8Array): void {
    try {
      this.serve(connection, parseRequest(bytes));
    } catch (error) {
      if (!isResourceError(error)) throw error;
      const known = error instanceof NsgxError;
      this.send(
        connection,
        {
          ok: false,
          code: known ? error.code : 'CVM_RESOURCES',
          message: error.message,
          advice: known ? error.advice : undefined,
        },
        [],
      );
    }
  }

  private serve(connection: Connection, request: ControlRequest): void {
    const { backend } = this;
    switch (request.op) {
      case 'attach': {
        if (connection.share !== null)
          throw new NsgxError('CVM_REQUEST_REFUSED', 'this connection is already attached');
        this.requireSeparateUser(connection);
        const share = backend.resources.take(request.slice, request.epc);
        try {
          backend.attach(connection.token, share);
        } catch (error) {
          this.release(connection.token, share);
          throw error;
        }
        connection.share = share;
        const reply = {
          ok: true,
          ram: { base: backend.ram.base, size: backend.ram.size },
          doorbell: backend.ram.doorbell,
          vcpus: share.vcpus.map((id) => vcpuPlace(id, backend.resources.window.gpa)),
          slice: { gpa: share.slice.start, length: share.slice.length },
          epc: { first: share.epc.start, count: share.epc.length / 4096 },
        };
        this.send(connection, reply, [backend.ram.fd, backend.selfPidfd]);
        return;
      }
      case 'vcpu': {
        if (connection.share === null)
          throw new NsgxError('CVM_REQUEST_REFUSED', 'attach first: a vCPU belongs to an attached guest');
        const vcpu = backend.resources.takeVcpu(connection.share);
        try {
          backend.addVcpu(connection.token, vcpu, connection.share);
        } catch (error) {
          backend.resources.giveVcpu(connection.share);
          throw error;
        }
        this.send(connection, { ok: true, vcpu: vcpuPlace(vcpu, backend.resources.window.gpa) }, []);
        return;
      }
      case 'grants': {
        const fd = connection.share === null ? null : backend.takeGrants(connection.token, request.secs);
        if (fd === null)
          throw new NsgxError(
            'CVM_REQUEST_REFUSED',
            'this is no running enclave of this connection with a grant socket to take',
          );
        this.send(connection, { ok: true }, [fd]);
        close(fd);
        return;
      }
      case 'info':
        this.send(connection, { ok: true, info: { ...backend.info(), guests: this.guests } }, []);
        return;
      case 'ps':
        this.send(
          connection,
          {
            ok: true,
            ...fitting(visibleOf(backend.processes(), seesAll(connection.uid), this.owns(connection))),
          },
          [],
        );
        return;
      case 'stats': {
        const all = seesAll(connection.uid);
        const { enclaves, ...machine } = visible(backend.stats(), all, this.owns(connection));
        const clock = performance.now();
        this.send(connection, { ok: true, clock, machine, ...fitting(enclaves, 8192) }, []);
        return;
      }
      case 'trace': {
        const { op: _, ...filter } = request;
        this.subscribe(connection, filter);
        return;
      }
      case 'stop': {
        const self = process.getuid?.();
        if (!connection.control && connection.uid !== 0 && connection.uid !== self)
          throw new NsgxError('CVM_REQUEST_REFUSED', `user ${connection.uid} may not stop this machine`, {
            advice: `Ask as user ${self} or as root.`,
          });
        this.send(connection, { ok: true }, []);
        backend.requestStop();
      }
    }
  }

  private subscribe(connection: Connection, filter: TraceFilter): void {
    const { all } = this.tracing.subscribe(connection.token, connection.uid, filter);
    this.send(connection, { ok: true, pid: process.pid, all }, []);
  }

  /** Whether an owner of enclaves has the account of this connection. */
  private owns({ uid }: Connection): (owner: number) => boolean {
    return (owner) => this.connections.get(owner)?.uid === uid;
  }

  /** `separate-user` is a claim in the evidence, so a machine that makes it serves no guest of its own account. */
  private requireSeparateUser(connection: Connection): void {
    const self = process.getuid?.();
    if (this.backend.isolation !== 'separate-user' || connection.uid !== self) return;
    throw new NsgxError(
      'CVM_REQUEST_REFUSED',
      `this machine runs as user ${self} and serves only other users`,
      {
        advice: 'Connect as another user who is in the group of its socket, or start a machine of your own.',
      },
    );
  }

  private trySend(token: number, message: Uint8Array): boolean {
    const connection = this.connections.get(token);
    if (connection === undefined) return true;
    try {
      sendFds(connection.fd, message, []);
      return true;
    } catch (error) {
      if (error instanceof OsError && error.code === 'EAGAIN') return false;
      this.drop(connection);
      return true;
    }
  }

  private send(connection: Connection, message: object, fds: number[]): void {
    try {
      sendFds(connection.fd, encodeMessage(message), fds);
    } catch {
      this.drop(connection); // gone, or it does not read its answers: nothing here waits for it
    }
  }

  private drop(connection: Connection): void {
    if (!this.connections.delete(connection.token)) return;
    this.pump.remove(connection.token);
    close(connection.fd);
    this.tracing.unsubscribe(connection.token);
    if (connection.share !== null) this.release(connection.token, connection.share);
    if (connection.control && this.lifetime === 'host') this.backend.requestStop();
  }

  /** What cannot be scrubbed is given to nobody. */
  private release(token: number, share: GuestShare): void {
    try {
      this.backend.detach(token, share);
      this.backend.resources.give(share);
    } catch (error) {
      if (!isResourceError(error)) throw error;
    }
  }
}

/** What others do is shown to the machine's own account and to root only. */
function seesAll(uid: number): boolean {
  return uid === 0 || uid === process.getuid?.();
}

/** As many enclaves as one datagram holds beside `other` bytes, and how many more there are. */
function fitting(all: object[], other = 256): { enclaves: object[]; omitted?: number } {
  let room = MESSAGE_LIMIT - other;
  let count = 0;
  for (; count < all.length; count++) {
    room -= encodeMessage(all[count] as object).length + 1;
    if (room < 0) break;
  }
  return count === all.length
    ? { enclaves: all }
    : { enclaves: all.slice(0, count), omitted: all.length - count };
}
