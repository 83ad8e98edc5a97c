import { NsgxError } from '@nestedsgx/arch';
import type { EventPump, PumpEvent } from '@nestedsgx/os';
import { close, peerCredentials, sendFds } from '@nestedsgx/os';
import { type ControlRequest, encodeMessage, parseRequest } from './protocol.js';
import { type GuestShare, type Resources, vcpuPlace } from './resources.js';

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
  info(): object;
  processes(): object[];
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

  constructor(
    private readonly pump: EventPump,
    private readonly backend: ControlBackend,
    private readonly lifetime: 'host' | 'service',
  ) {}

  /** Number of guests that hold a share of the machine. */
  get guests(): number {
    return [...this.connections.values()].filter((connection) => connection.share !== null).length;
  }

  /** Takes over a connected socket. */
  adopt(fd: number, control: boolean): number {
    const token = this.nextToken++;
    this.connections.set(token, { fd, token, control, uid: peerCredentials(fd).uid, share: null });
    this.pump.add(fd, token, 'seqpacket');
    return token;
  }

  /** Announces something unasked, to the launcher. */
  announce(token: number, message: object): void {
    const connection = this.connections.get(token);
    if (connection !== undefined) this.send(connection, message, []);
  }

  /** A new connection on the listening socket. */
  accepted(fd: number): void {
    if (this.connections.size >= CONNECTION_LIMIT) close(fd);
    else this.adopt(fd, false);
  }

  /** Handles an event of one of the server's sockets; false when the token is somebody else's. */
  handle(event: PumpEvent): boolean {
    const connection = this.connections.get(event.token);
    if (connection === undefined) return false;
    for (const fd of event.fds) close(fd); // guests have no descriptors to give
    if (event.type === 'eof') this.drop(connection);
    else if (event.type === 'message') this.answer(connection, event.bytes);
    return true;
  }

  private answer(connection: Connection, bytes: Uint8Array): void {
    try {
      this.serve(connection, parseRequest(bytes));
    } catch (error) {
      if (!(error instanceof NsgxError)) throw error;
      this.send(
        connection,
        { ok: false, code: error.code, message: error.message, advice: error.advice },
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
        connection.share = share;
        backend.attach(connection.token, share);
        const reply = {
          ok: true,
          ram: { base: backend.ram.base, size: backend.ram.size },
          doorbell: backend.ram.doorbell,
          vcpus: share.vcpus.map(vcpuPlace),
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
        backend.addVcpu(connection.token, vcpu, connection.share);
        this.send(connection, { ok: true, vcpu: vcpuPlace(vcpu) }, []);
        return;
      }
      case 'info':
        this.send(connection, { ok: true, info: { ...backend.info(), guests: this.guests } }, []);
        return;
      case 'ps':
        this.send(connection, { ok: true, enclaves: backend.processes() }, []);
        return;
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
    if (connection.share !== null) {
      this.backend.detach(connection.token, connection.share);
      this.backend.resources.give(connection.share);
    }
    if (connection.control && this.lifetime === 'host') this.backend.requestStop();
  }
}
