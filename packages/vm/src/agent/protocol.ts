/** What host and guest say to each other over the virtio port; mirrored in native/agent/agent.h. */
import { vmError } from '../errors.js';

export const FRAME = Object.freeze({
  run: 1,
  input: 2,
  signal: 3,
  resize: 4,
  power: 5,
  ready: 16,
  output: 17,
  error: 18,
  exit: 19,
  failed: 20,
  taken: 21,
});

export const AGENT_VERSION = 1;
/** Longest payload of a frame, and bytes of input that a command may have waiting. */
export const FRAME_LIMIT = 65_536;
const HEAD = 12;
const TERMINAL = 1;
const STRINGS_LIMIT = 1024;

/** A frame: `command` is the number that the host gave a command, 0 where it is about none. */
export interface Frame {
  kind: number;
  command: number;
  payload: Buffer;
}

export function encodeFrame(kind: number, command: number, payload: Uint8Array = new Uint8Array(0)): Buffer {
  const frame = Buffer.alloc(HEAD + payload.length);
  frame.writeUInt32LE(payload.length, 0);
  frame.writeUInt32LE(kind, 4);
  frame.writeUInt32LE(command, 8);
  frame.set(payload, HEAD);
  return frame;
}

/** Cuts a stream of bytes from a guest into frames. */
export class FrameReader {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** Takes bytes and returns the frames that are complete. @throws VM_PROTOCOL for one that is too long */
  push(chunk: Buffer): Frame[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const frames: Frame[] = [];
    while (this.#bytes >= HEAD) {
      const all = this.#joined();
      const length = all.readUInt32LE(0);
      if (length > FRAME_LIMIT)
        throw vmError(
          'VM_PROTOCOL',
          `the guest sent a frame of ${length} bytes`,
          'it is not to be trusted any more',
        );
      if (all.length < HEAD + length) break;
      frames.push({
        kind: all.readUInt32LE(4),
        command: all.readUInt32LE(8),
        payload: all.subarray(HEAD, HEAD + length),
      });
      this.#chunks = [all.subarray(HEAD + length)];
      this.#bytes = all.length - HEAD - length;
    }
    return frames;
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }
}

/** What a command is started with. */
export interface RunRequest {
  argv: readonly string[];
  env: readonly string[];
  cwd: string;
  terminal?: { rows: number; columns: number };
}

/** @throws VM_OPTION_INVALID for strings that cannot be passed, or too much of them */
export function encodeRun(request: RunRequest): Buffer {
  const strings = [request.cwd, ...request.argv, ...request.env];
  if (request.argv.length < 1 || request.argv.length > STRINGS_LIMIT || request.env.length > STRINGS_LIMIT)
    throw vmError(
      'VM_OPTION_INVALID',
      `a command has 1 to ${STRINGS_LIMIT} arguments, and as many variables`,
    );
  if (strings.some((text) => text.includes('\0')))
    throw vmError('VM_OPTION_INVALID', 'an argument or variable of a command contains a NUL character');
  const head = Buffer.alloc(12);
  head.writeUInt32LE(request.terminal ? TERMINAL : 0, 0);
  head.writeUInt16LE(request.terminal?.rows ?? 0, 4);
  head.writeUInt16LE(request.terminal?.columns ?? 0, 6);
  head.writeUInt16LE(request.argv.length, 8);
  head.writeUInt16LE(request.env.length, 10);
  const payload = Buffer.concat([head, ...strings.map((text) => Buffer.from(`${text}\0`))]);
  if (payload.length > FRAME_LIMIT)
    throw vmError('VM_OPTION_INVALID', `a command and its environment have at most ${FRAME_LIMIT} bytes`);
  return payload;
}

export function encodeWord(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0, 0);
  return bytes;
}

export function encodeSize(size: { rows: number; columns: number }): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt16LE(size.rows, 0);
  bytes.writeUInt16LE(size.columns, 2);
  return bytes;
}

/** @throws VM_PROTOCOL */
export function decodeWord(frame: Frame): number {
  if (frame.payload.length !== 4)
    throw vmError(
      'VM_PROTOCOL',
      `the guest sent a frame of kind ${frame.kind} with ${frame.payload.length} bytes`,
    );
  return frame.payload.readUInt32LE(0);
}

/** What a guest says when it is ready. */
export interface ReadyMessage {
  uptimeMs: number;
  /** Modules that did not load, as "NAME: REASON". */
  refused: string[];
}

/** @throws VM_PROTOCOL */
export function decodeReady(payload: Buffer): ReadyMessage {
  if (payload.length < 8 || payload.readUInt32LE(0) !== AGENT_VERSION)
    throw vmError('VM_PROTOCOL', "the guest's first process is of another version", 'run: npm run build');
  const refused = payload
    .toString('utf8', 8)
    .split('\n')
    .filter((line) => line !== '');
  return { uptimeMs: payload.readUInt32LE(4), refused };
}
