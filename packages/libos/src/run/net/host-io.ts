/**
 * The descriptors of a program's host, and the ways in which the program reaches them: channels in guest RAM, one for each
 * thread, that native threads serve (native-host), and calls out for what a policy has to agree to. A program names
 * descriptors by its own numbers; it cannot name others of this process.
 */
import { constants } from 'node:os';
import { addressOf, usableCpus } from '@nestedsgx/os';
import type { Cvm, LoadOptions } from '@nestedsgx/sdk';
import { libosError } from '../../errors.js';
import { fileCalls } from '../mounts/calls.js';
import { type HostLibrary, hostLibrary } from './library.js';
import { type NetMode, NetPolicy } from './policy.js';
import { Terminals } from './terminal.js';

/**
 * How requests reach the host: `ring` by threads that look for them, `ocall` by leaving the enclave for each, `gate` by
 * system calls of the runner itself, which only this software machine has.
 */
export const TRANSPORTS = Object.freeze(['ring', 'ocall', 'gate'] as const);
export type Transport = (typeof TRANSPORTS)[number];

// native/include/channel.h
const CHANNELS = 64;
const CHANNEL_STRIDE = 4096 + (128 + 64) * 1024;
const CHANNEL_HEAD = 4096;
/** A server looks for requests this long before it sleeps, in TSC cycles. */
const SPIN_CYCLES = 100_000;
/** And a thread of the program for its answer. */
const PATIENCE_CYCLES = 60_000;
const DESCRIPTORS = 4096;
const ADDRESS_ROOM = 128;
const OPTION_ROOM = 4096;

/** Operations of `host_net` (core/net/host.ts). */
const NET = Object.freeze({
  SOCKET: 1,
  BIND: 2,
  CONNECT: 3,
  LISTEN: 4,
  GETSOCKNAME: 5,
  GETPEERNAME: 6,
  SETSOCKOPT: 7,
  GETSOCKOPT: 8,
  EPOLL: 9,
  QUEUED: 10,
  TERMINAL: 11,
});
/** The same for native-host/control.c. */
const CONTROL = Object.freeze({
  BIND: 1,
  CONNECT: 2,
  LISTEN: 3,
  GETSOCKNAME: 4,
  GETPEERNAME: 5,
  SETSOCKOPT: 6,
  GETSOCKOPT: 7,
  QUEUED: 8,
  TERMINAL: 9,
});
const SEND = Object.freeze({ all: 0, loopback: 1, none: 2 });
const NOTHING = new Uint8Array(0);

export interface HostIoOptions {
  readonly descriptors?: readonly [number, number, number];
  readonly transport?: Transport;
  readonly net?: NetMode;
}

type Memory = Awaited<ReturnType<Cvm['guest']>>['connection']['memory'];

/** What requests cost: how many there were, and how many of them left the enclave. */
export interface IoCounters {
  readonly requests: number;
  readonly exits: number;
}

/** What native threads may still use: closed by nobody whose program's threads did not come back. */
const open = new Set<HostIo>();

/** One program's descriptors and channels. */
export class HostIo {
  readonly #library: HostLibrary = hostLibrary();
  readonly #memory: Memory;
  readonly #channels: ReturnType<Memory['alloc']>;
  readonly #policy: NetPolicy;
  readonly #transport: Transport;
  readonly #terminals = new Terminals((fd, command, argument, data) =>
    this.#library.control(this.#handle, CONTROL.TERMINAL, fd, BigInt(command), argument, data, data.length),
  );
  readonly #context = new BigUint64Array(16);
  readonly #contextBytes = new Uint8Array(this.#context.buffer);
  #handle: number;
  #stopped = false;

  /** @throws GUEST_MEMORY_EXHAUSTED, LIBOS_HOST_EXHAUSTED */
  constructor(memory: Memory, options: HostIoOptions = {}) {
    this.#memory = memory;
    this.#policy = new NetPolicy(options.net ?? 'all');
    this.#transport = options.transport ?? 'ring';
    this.#channels = memory.alloc(CHANNELS * CHANNEL_STRIDE, { alignment: 4096 });
    for (let i = 0; i < CHANNELS; i++)
      this.#channels.bytes.fill(0, i * CHANNEL_STRIDE, i * CHANNEL_STRIDE + CHANNEL_HEAD);
    const spinners = this.#transport === 'ocall' ? 0 : usableCpus().length - 1;
    this.#handle = this.#library.open(
      this.#channels.address,
      memory.base + memory.gpa,
      memory.length,
      spinners,
      SPIN_CYCLES,
      DESCRIPTORS,
    );
    if (this.#handle === 0) {
      memory.free(this.#channels);
      throw libosError(
        'LIBOS_HOST_EXHAUSTED',
        'there are no descriptors or no memory for a program’s threads',
        {
          advice: 'Raise the limit of open files (ulimit -n), or run fewer programs at once.',
        },
      );
    }
    open.add(this);
    this.#library.policy(this.#handle, SEND[this.#policy.mode]);
    for (const [level, name] of this.#policy.common()) this.#library.allow(this.#handle, level, name);
    (options.descriptors ?? [0, 1, 2]).forEach((fd, i) => {
      this.#library.stream(this.#handle, i, fd);
    });
  }

  /** Makes threads of the program enter through native code that answers call out number `call`. */
  driver(call: number): LoadOptions['driver'] {
    this.#context[0] = BigInt(this.#handle);
    this.#context[1] = BigInt(call);
    return { functionAddress: this.#library.drive, context: addressOf(this.#contextBytes) };
  }

  /** Gives a descriptor of this process to the program, which closes it; its number there, or minus an errno. */
  grant(fd: number): number {
    return this.#library.grant(this.#handle, fd);
  }

  /** A copy of a file's descriptor, which the caller closes; minus an errno for what is none of the program's files. */
  borrow(number: number): number {
    return fileCalls().borrow(this.#handle, number);
  }

  /** Grants descriptors to the enclave itself from here on (`gate`), over the socket that it has for that. */
  grantOver(socket: number): void {
    this.#library.grants(this.#handle, socket);
  }

  /** The OCALL handlers (interface.ts). */
  handlers() {
    return {
      io_facts: (): Uint8Array => {
        const facts = new BigUint64Array(3);
        facts[0] = BigInt(this.#channels.address);
        facts[1] = BigInt(TRANSPORTS.indexOf(this.#transport));
        facts[2] = BigInt(this.#transport !== 'ocall' && usableCpus().length > 1 ? PATIENCE_CYCLES : 0);
        return new Uint8Array(facts.buffer);
      },
      host_io: (slot: number): void => {
        if (this.#stopped) throw new Error('the program is over');
        this.#library.serve(this.#handle, slot);
      },
      host_net: (op: number, fd: number, a: bigint, b: bigint, data: Uint8Array): Uint8Array =>
        this.#net(op, fd, a, b, data),
    };
  }

  /** Since the beginning. */
  counters(): IoCounters {
    const out = new BigUint64Array(2);
    if (this.#handle !== 0) this.#library.counters(this.#handle, out);
    return { requests: Number(out[0]), exits: Number(out[1]) };
  }

  /** Ends all waits of the program's threads; its terminals are as they were. */
  stop(): void {
    if (!this.#stopped) this.#terminals.restore();
    this.#stopped = true;
    if (this.#handle !== 0) this.#library.stop(this.#handle);
  }

  /** Once no thread of the program is inside any more: closes its descriptors. */
  close(): void {
    if (this.#handle === 0) return;
    this.#library.close(this.#handle);
    this.#handle = 0;
    open.delete(this);
    this.#memory.free(this.#channels);
  }

  #net(op: number, fd: number, a: bigint, b: bigint, data: Uint8Array): Uint8Array {
    const library = this.#library;
    const control = (what: number, bytes: Uint8Array) =>
      library.control(this.#handle, what, fd, a, b, bytes, bytes.length);
    const judged = (errno: number, then: () => number) => answer(errno === 0 ? then() : -errno);
    const [x, y] = [Number(BigInt.asIntN(32, a)), Number(BigInt.asIntN(32, b))];
    switch (op) {
      case NET.SOCKET:
        return judged(this.#policy.socket(fd, x, y), () => library.socket(this.#handle, fd, x, y));
      case NET.BIND:
        return judged(this.#policy.address(data), () => control(CONTROL.BIND, data));
      case NET.CONNECT:
        return judged(this.#policy.address(data), () => control(CONTROL.CONNECT, data));
      case NET.LISTEN:
        return answer(control(CONTROL.LISTEN, new Uint8Array(8)));
      case NET.GETSOCKNAME:
      case NET.GETPEERNAME: {
        const bytes = new Uint8Array(ADDRESS_ROOM);
        const got = control(op === NET.GETSOCKNAME ? CONTROL.GETSOCKNAME : CONTROL.GETPEERNAME, bytes);
        return answer(got, bytes);
      }
      case NET.SETSOCKOPT:
        return judged(this.#policy.option(x, y), () => control(CONTROL.SETSOCKOPT, data));
      case NET.GETSOCKOPT: {
        const bytes = new Uint8Array(Math.min(OPTION_ROOM, data.length));
        const errno = this.#policy.option(x, y);
        if (errno !== 0) return answer(-errno);
        bytes.set(data.subarray(0, bytes.length));
        return answer(control(CONTROL.GETSOCKOPT, bytes), bytes);
      }
      case NET.EPOLL:
        return answer(library.epoll(this.#handle));
      case NET.TERMINAL: {
        const { result, modes } = this.#terminals.serve(fd, x, b, data);
        return answer(result, modes);
      }
      case NET.QUEUED:
        return answer(control(CONTROL.QUEUED, new Uint8Array(8)));
      default:
        return answer(-constants.errno.ENOSYS);
    }
  }
}

/** A result, and as many bytes of what came with it as it says. */
function answer(result: number, bytes: Uint8Array = NOTHING): Uint8Array {
  const length = Math.max(0, Math.min(result, bytes.length));
  const out = new Uint8Array(8 + length);
  new DataView(out.buffer).setBigInt64(0, BigInt(result), true);
  out.set(bytes.subarray(0, length), 8);
  return out;
}
