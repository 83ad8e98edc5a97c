/** Drives test/harness/harness.c: builds it, loads images into it, speaks its line protocol. */
import { type ChildProcessWithoutNullStreams, execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { ValueType } from '@nestedsgx/edl';
import { type EnclaveImage, readSgxs } from '@nestedsgx/image';
import type { BuildResult } from '../src/index.js';

/** The package's folder, from dist/test. */
export const PACKAGE = join(import.meta.dirname, '..', '..');
const CRYPTO = join(PACKAGE, '../../third_party/bearssl');

export const work = mkdtempSync(join(tmpdir(), 'nsgx-enclave-test-'));
process.on('exit', () => rmSync(work, { recursive: true, force: true }));

let binary: string | null = null;

function harnessBinary(): string {
  if (binary !== null) return binary;
  binary = join(work, 'harness');
  const sources = [
    'src/symcipher/aes_ct64.c',
    'src/symcipher/aes_ct64_enc.c',
    'src/symcipher/aes_ct64_ctr.c',
  ];
  sources.push('src/codec/dec32le.c', 'src/codec/enc32le.c');
  execFileSync('gcc', [
    ...['-O1', '-mfsgsbase', '-fno-stack-protector', '-Wall', '-Wextra', '-Werror'],
    ...['-I', join(CRYPTO, 'inc'), '-I', join(CRYPTO, 'src')],
    ...['-o', binary, join(PACKAGE, 'test/harness/harness.c')],
    ...sources.map((source) => join(CRYPTO, source)),
  ]);
  return binary;
}

/** How the enclave was left. `dirty` holds what EEXIT should have cleared. */
export type Event =
  | { kind: 'exit'; rsi: number; dirty: number; status?: number; length?: number; response?: Buffer }
  | { kind: 'ocall'; index: number; dirty: number; capacity: number; request: Buffer }
  | { kind: 'aex'; vector: number; rip: number };

/** One process with one enclave in it. */
export class Harness {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  base = 0n;
  /** An address of the process outside of the enclave. */
  outside = 0n;

  private constructor(child: ChildProcessWithoutNullStreams) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  }

  static load(build: BuildResult, signer = 1): Promise<Harness> {
    return Harness.loadImage(build.name, readSgxs(readFileSync(build.sgxsPath)), signer);
  }

  static async loadImage(name: string, image: EnclaveImage, signer = 1): Promise<Harness> {
    const parts: Uint8Array[] = [];
    for (const run of image.pages()) {
      const head = Buffer.alloc(24);
      head.writeBigUInt64LE(BigInt(run.offset), 0);
      head.writeBigUInt64LE(BigInt(run.secinfoFlags), 8);
      head.writeBigUInt64LE(BigInt(run.data.length), 16);
      // What is not measured may hold anything.
      parts.push(head, run.measured ? run.data : new Uint8Array(run.data.length).fill(0xcc));
    }
    const path = join(work, `${name}-${process.hrtime.bigint()}.pages`);
    writeFileSync(path, Buffer.concat(parts));
    const child = spawn(harnessBinary(), [path, String(image.size), String(signer)]);
    const harness = new Harness(child);
    const [, , base, outside] = (await harness.#line()).split(' ');
    rmSync(path);
    harness.base = BigInt(`0x${base}`);
    harness.outside = BigInt(`0x${outside}`);
    return harness;
  }

  async #line(): Promise<string> {
    const next = await this.#lines.next();
    if (next.done === true)
      throw new Error(`the harness ended (${this.#child.exitCode}, ${this.#child.signalCode})`);
    return next.value;
  }

  /** Sends one command; the words of the answer. */
  async words(command: string): Promise<string[]> {
    this.#child.stdin.write(`${command}\n`);
    return (await this.#line()).split(' ');
  }

  /** Sends one command and parses the answer. */
  async send(command: string): Promise<Event> {
    const words = await this.words(command);
    const bytes = (text: string | undefined) =>
      text === undefined || text === '-' ? Buffer.alloc(0) : Buffer.from(text, 'hex');
    if (words[0] === 'exit') {
      const event: Event = { kind: 'exit', rsi: Number(words[1]), dirty: Number(`0x${words[2]}`) };
      if (words.length < 4) return event;
      return { ...event, status: Number(words[3]), length: Number(words[4]), response: bytes(words[5]) };
    }
    if (words[0] === 'ocall') {
      return {
        kind: 'ocall',
        index: Number(words[1]),
        dirty: Number(`0x${words[2]}`),
        capacity: Number(words[3]),
        request: bytes(words[4]),
      };
    }
    return { kind: 'aex', vector: Number(words[1]), rip: Number.parseInt(words[2], 16) };
  }

  /** Starts a call; the level of calls grows by one until `pop`. */
  start(
    index: number,
    request: Uint8Array,
    options: { thread?: number; capacity?: number; ocall?: number } = {},
  ): Promise<Event> {
    const hex = request.length === 0 ? '-' : Buffer.from(request).toString('hex');
    return this.send(
      `call ${options.thread ?? 0} ${index} ${hex} ${options.capacity ?? 131072} ${options.ocall ?? 65536}`,
    );
  }

  /** Forgets the latest call. */
  async pop(): Promise<void> {
    this.#child.stdin.write('pop\n');
    await this.#line();
  }

  /** A call that returns without leaving in between. */
  async call(index: number, request: Uint8Array, options: { thread?: number; capacity?: number } = {}) {
    const event = await this.start(index, request, options);
    if (event.kind !== 'exit') throw new Error(`the call left with ${JSON.stringify(event)}`);
    await this.pop();
    return event as Required<typeof event>;
  }

  answer(status: number, response: Uint8Array, thread = 0): Promise<Event> {
    const hex = response.length === 0 ? '-' : Buffer.from(response).toString('hex');
    return this.send(`oret ${thread} ${status} ${hex}`);
  }

  async close(): Promise<void> {
    this.#child.stdin.end();
    await new Promise((resolve) => {
      if (this.#child.exitCode !== null) resolve(null);
      else this.#child.once('exit', resolve);
    });
  }
}

type Value = number | bigint | boolean | string | Uint8Array;

/** Encodes values as the messages of typed calls. */
export function encode(types: readonly ValueType[], values: readonly Value[]): Buffer {
  const parts = types.map((type, i) => {
    const value = values[i];
    const word = Buffer.alloc(8);
    if (type === 'f64') word.writeDoubleLE(value as number);
    else if (type === 'string' || type === 'bytes') {
      const data = typeof value === 'string' ? Buffer.from(value, 'utf8') : Buffer.from(value as Uint8Array);
      word.writeBigUInt64LE(BigInt(data.length));
      return Buffer.concat([word, data, Buffer.alloc((8 - (data.length % 8)) % 8)]);
    } else word.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value as number | bigint | boolean)));
    return word;
  });
  return Buffer.concat(parts);
}

/** Decodes one value. */
export function decode(type: ValueType, bytes: Buffer): Value {
  if (type === 'string' || type === 'bytes') {
    const length = Number(bytes.readBigUInt64LE(0));
    const data = bytes.subarray(8, 8 + length);
    return type === 'string' ? data.toString('utf8') : Buffer.from(data);
  }
  if (type === 'f64') return bytes.readDoubleLE(0);
  if (type === 'i32') return bytes.readInt32LE(0);
  if (type === 'u32') return bytes.readUInt32LE(0);
  if (type === 'bool') return bytes.readBigUInt64LE(0) === 1n;
  return type === 'i64' ? bytes.readBigInt64LE(0) : bytes.readBigUInt64LE(0);
}

/** Calls an enclave's functions by name. */
export class Caller {
  constructor(
    readonly harness: Harness,
    readonly build: BuildResult,
  ) {}

  index(name: string): number {
    const index = this.build.description.ecalls.findIndex((call) => call.name === name);
    if (index < 0) throw new Error(`no ECALL ${name}`);
    return index;
  }

  request(name: string, values: readonly Value[]): Buffer {
    return encode(
      this.build.description.ecalls[this.index(name)].params.map((param) => param.type),
      values,
    );
  }

  result(name: string, response: Buffer): Value | undefined {
    const type = this.build.description.ecalls[this.index(name)].returns;
    return type === 'void' ? undefined : decode(type, response);
  }

  /** The status of a call, whatever it is. */
  async status(name: string, values: readonly Value[] = [], thread = 0): Promise<number> {
    return (await this.harness.call(this.index(name), this.request(name, values), { thread })).status;
  }

  /** The result of a call that succeeds. */
  async call(name: string, values: readonly Value[] = [], thread = 0): Promise<Value | undefined> {
    const event = await this.harness.call(this.index(name), this.request(name, values), { thread });
    if (event.status !== 0 || event.rsi !== 0) throw new Error(`${name} returned status ${event.status}`);
    if (event.dirty !== 0) throw new Error(`${name} left registers 0x${event.dirty.toString(16)} behind`);
    return this.result(name, event.response);
  }
}
