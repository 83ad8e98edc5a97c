/** The host's end of the port to a guest's first process. Whatever comes from there is checked. */
import type { Socket } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { vmError } from '../errors.js';
import { GuestCommand } from './command.js';
import {
  decodeReady,
  decodeWord,
  encodeFrame,
  encodeRun,
  encodeSize,
  encodeWord,
  FRAME,
  type Frame,
  FrameReader,
  type ReadyMessage,
  type RunRequest,
} from './protocol.js';

const COMMANDS_LIMIT = 64;

/** A session over `socket`, which it owns. */
export class AgentSession {
  /** Rejected when the guest ends first. */
  readonly ready: Promise<ReadyMessage>;
  readonly #socket: Socket;
  readonly #reader = new FrameReader();
  readonly #commands = new Map<number, GuestCommand>();
  readonly #onBroken: (error: Error) => void;
  #last = 0;
  #gone: Error | null = null;
  #setReady!: (message: ReadyMessage) => void;
  #refuseReady!: (error: Error) => void;

  /** @param onBroken called once when the guest breaks the protocol; it should end then */
  constructor(socket: Socket, onBroken: (error: Error) => void) {
    this.#socket = socket;
    this.#onBroken = onBroken;
    this.ready = new Promise((resolve, reject) => {
      this.#setReady = resolve;
      this.#refuseReady = reject;
    });
    this.ready.catch(() => undefined);
    socket.on('data', (chunk: Buffer) => this.#take(chunk));
    socket.on('error', () => undefined); // what follows is its close
  }

  /** @throws VM_OPTION_INVALID, VM_COMMAND with too many commands, VM_GUEST_ENDED */
  run(request: RunRequest): GuestCommand {
    if (this.#gone !== null) throw this.#gone;
    if (this.#commands.size >= COMMANDS_LIMIT)
      throw vmError(
        'VM_COMMAND',
        `${COMMANDS_LIMIT} commands run in the guest already`,
        'wait for one to end',
      );
    const payload = encodeRun(request);
    this.#last = (this.#last % 0xffff_ffff) + 1;
    const id = this.#last;
    const send = (kind: number, bytes: Uint8Array) => this.#socket.write(encodeFrame(kind, id, bytes));
    const command = new GuestCommand({
      input: (bytes) => send(FRAME.input, bytes),
      signal: (number) => send(FRAME.signal, encodeWord(number)),
      resize: (size) => send(FRAME.resize, encodeSize(size)),
    });
    this.#commands.set(id, command);
    send(FRAME.run, payload);
    return command;
  }

  /** Asks the guest to switch itself off. */
  powerOff(): void {
    if (this.#gone === null) this.#socket.write(encodeFrame(FRAME.power, 0));
  }

  /** The guest is gone: everything that waits for it ends with `error`. */
  end(error: Error): void {
    if (this.#gone !== null) return;
    this.#gone = error;
    this.#refuseReady(error);
    for (const command of this.#commands.values()) command.finish(error);
    this.#commands.clear();
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#gone !== null) return;
    try {
      for (const frame of this.#reader.push(chunk)) this.#serve(frame);
    } catch (error) {
      this.end(error as Error);
      this.#onBroken(error as Error);
    }
  }

  #serve(frame: Frame): void {
    if (frame.kind === FRAME.ready) {
      this.#setReady(decodeReady(frame.payload));
      return;
    }
    const command = this.#commands.get(frame.command);
    if (command === undefined)
      throw vmError('VM_PROTOCOL', `the guest spoke of command ${frame.command}, which does not run`);
    switch (frame.kind) {
      case FRAME.output:
        command.take(command.stdout, frame.payload);
        break;
      case FRAME.error:
        command.take(command.stderr, frame.payload);
        break;
      case FRAME.taken:
        command.taken(decodeWord(frame));
        break;
      case FRAME.exit: {
        const status = decodeWord(frame);
        const signal = status & 0x7f;
        this.#finish(
          frame.command,
          signal === 0 ? { code: (status >> 8) & 0xff, signal: null } : { code: null, signal },
        );
        break;
      }
      case FRAME.failed:
        this.#finish(frame.command, startError(decodeWord(frame)));
        break;
      default:
        throw vmError('VM_PROTOCOL', `the guest sent a frame of kind ${frame.kind}`);
    }
  }

  #finish(id: number, end: Parameters<GuestCommand['finish']>[0]): void {
    this.#commands.get(id)?.finish(end);
    this.#commands.delete(id);
  }
}

function startError(errno: number): Error {
  const name = errno > 0 && errno < 4096 ? getSystemErrorName(-errno) : `errno ${errno}`;
  return vmError(
    'VM_COMMAND',
    `the command could not be started in the guest (${name})`,
    name === 'ENOENT' ? 'bring it along: --copy PROGRAM, or choose a --rootfs that has it' : undefined,
  );
}
