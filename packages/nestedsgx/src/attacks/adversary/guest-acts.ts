/** Attacks through the interfaces of VMPL1: GHCB pages and the control socket, both filled with what they should not hold. */
import { CAA_RING, caaGpa, ghcbGpa } from '@nestedsgx/machine';
import {
  close,
  loadLibrary,
  type Mapping,
  memfdCreate,
  mmap,
  type NativeFunction,
  socketpair,
} from '@nestedsgx/os';
import { type Exit, type ExitAnswer, RawSocket, type U64 } from './raw-guest.js';
import { bytes64, generator, nameOf, ramOf, shareOf, type World } from './world.js';

const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/** One SVSM call of a script. */
export interface RawCall {
  protocol: number;
  call: number;
  rcx?: U64;
  rdx?: U64;
  r8?: U64;
  /** How long to wait for the answer; 2 s by default. */
  timeoutMs?: number;
}

export const guestActs = {
  /** Connects to the machine's socket and attaches as one more guest. */
  attach(world: World, { path, slice, epc }: { path: string; slice: number; epc: number }) {
    const socket = RawSocket.connect(path);
    world.sockets.push(socket);
    world.share = socket.attach(slice, epc);
    return world.share;
  },

  /** Closes all sockets: the attached share ends. */
  detach(world: World): void {
    for (const socket of world.sockets.splice(0)) socket.close();
    world.share = null;
  },

  /** Writes pieces of guest RAM, then makes the calls one after another. */
  calls(
    world: World,
    { pieces, calls }: { pieces?: { gpa: number; bytes: string }[]; calls: RawCall[] },
  ): ExitAnswer[] {
    const ram = ramOf(world);
    for (const { gpa, bytes } of pieces ?? []) ram.bytes.set(bytes64(bytes), gpa);
    const { vcpu } = shareOf(world);
    return calls.map(({ protocol, call, rcx, rdx, r8, timeoutMs }) =>
      ram.call(vcpu, protocol, call, rcx, rdx, r8, timeoutMs),
    );
  },

  /** Makes one call through any virtual CPU, whoever it belongs to: all of them lie in guest RAM. */
  callAs(world: World, { vcpu, protocol, call, rcx, rdx, r8 }: RawCall & { vcpu: number }): ExitAnswer {
    return ramOf(world).call(vcpu, protocol, call, rcx, rdx, r8);
  },

  /** Makes exits of any kind. */
  exits(world: World, { exits }: { exits: Exit[] }): ExitAnswer[] {
    return exits.map((exit) => ramOf(world).exit(shareOf(world).vcpu, exit));
  },

  /**
   * Rings over the request that lies in the GHCB without setting call_pending, turns the ring back and forth, and writes
   * answers of its own, for `ms`. Returns the number of rings.
   */
  ringStale(
    world: World,
    {
      ring,
      answer,
      pending,
      seed,
      ms,
    }: { ring: number; answer: number; pending: number; seed: number; ms: number },
  ): number {
    const ram = ramOf(world);
    const random = generator(seed);
    const deadline = performance.now() + ms;
    let rings = 0;
    for (; performance.now() < deadline; rings++) {
      ram.bytes[pending] = 0;
      if (random() & 1) Atomics.store(ram.words, answer / 4, random() | 0);
      Atomics.add(ram.words, ring / 4, [1, -1, 2, random() | 0][random() & 3]!);
      ram.ring();
      if ((rings & 15) === 0) Atomics.wait(PAUSE, 0, 0, 0.1);
    }
    return rings;
  },

  /** Fills this process's GHCB page and calling area with seeded noise and rings, for `ms`. Returns the number of exits. */
  floodGhcb(world: World, { seed, ms }: { seed: number; ms: number }): number {
    const ram = ramOf(world);
    const { vcpu, slice } = shareOf(world);
    const random = generator(seed);
    const page = ghcbGpa(vcpu);
    const deadline = performance.now() + ms;
    let exits = 0;
    while (performance.now() < deadline) {
      for (let at = 0; at < 4096; at += 4) ram.view.setUint32(page + at, random(), true);
      // Half of them look right at first: version, usage, bitmap, exit code, and a call that exists.
      if (random() & 1) {
        ram.view.setUint16(page + 0xffa, 2, true);
        ram.view.setUint32(page + 0xffc, 0, true);
        ram.bytes.fill(0xff, page + 0x3f0, page + 0x400);
        const codes = [0x8000_0018, 0x8000_0018, 0x8000_0010, 0x8000_0011, 0x8000_0013, 0x8000_fffd];
        ram.view.setBigUint64(page + 0x390, BigInt(codes[random() % codes.length]!), true);
        if (random() & 1) ram.view.setBigUint64(page + 0x398, 0n, true);
        const protocol = random() & 1 ? 0x4e53 : random() & 3;
        const call = protocol === 0x4e53 && random() & 1 ? 0x100 + (random() % 12) : random() % 16;
        ram.view.setBigUint64(page + 0x1f8, (BigInt(protocol) << 32n) | BigInt(call), true);
        for (const at of [0x308, 0x310, 0x340])
          ram.view.setBigUint64(page + at, address(random, slice), true);
      }
      ram.bytes[caaGpa(vcpu)] = random() & 3 ? 1 : random();
      const ring = (caaGpa(vcpu) + CAA_RING) / 4;
      Atomics.add(ram.words, ring, random() & 7 ? 1 : random() | 0);
      ram.ring();
      exits++;
      Atomics.wait(PAUSE, 0, 0, 0.05);
    }
    return exits;
  },

  /** Sends seeded noise, wrong JSON, oversized messages and descriptors over the control socket. */
  floodSocket(_world: World, { path, seed, messages }: { path: string; seed: number; messages: number }) {
    const random = generator(seed);
    const outcome = { sent: 0, refused: 0, answered: 0, hungUp: 0, accepted: 0, why: '' };
    const given = memfdCreate('given', { size: 4096 });
    let socket = RawSocket.connect(path);
    try {
      for (let i = 0; i < messages; i++) {
        const bytes = message(random, i);
        const fds = random() % 3 === 0 ? Array.from({ length: 1 + (random() % 8) }, () => given) : [];
        try {
          const reply = socket.exchange(bytes, fds, 500);
          outcome.sent++;
          if (reply === null) {
            outcome.hungUp++;
            socket.close();
            socket = RawSocket.connect(path);
          } else if (reply.ok === true) outcome.accepted++;
          else outcome.answered++;
        } catch (error) {
          outcome.refused++;
          outcome.why = nameOf(error);
          socket.close();
          socket = RawSocket.connect(path);
        }
      }
      return outcome;
    } finally {
      close(given);
      socket.close();
    }
  },

  /**
   * On each of many connections, messages with `each` descriptors, without reading an answer; all stay open until the end.
   * Afterwards asks once in earnest.
   */
  floodDescriptors(
    _world: World,
    {
      path,
      connections,
      messages,
      each,
    }: { path: string; connections: number; messages: number; each: number },
  ) {
    const given = memfdCreate('given', { size: 4096 });
    const fds = Array.from({ length: each }, () => given);
    const bytes = new TextEncoder().encode(JSON.stringify({ op: 'info' }));
    const sockets: RawSocket[] = [];
    const outcome = { sent: 0, refused: 0, descriptors: 0, answered: false, possible: false };
    const [mine, other] = socketpair();
    outcome.possible = sendMany(mine, bytes, fds);
    close(mine);
    close(other);
    try {
      for (let i = 0; i < connections; i++) {
        try {
          sockets.push(RawSocket.connect(path));
        } catch {
          break;
        }
      }
      for (let i = 0; i < messages; i++)
        for (const socket of sockets) {
          // The most that one message holds, what the machine itself would take, and none at all.
          const few = [fds, fds.slice(0, 8), []][i % 3]!;
          if (sendMany(socket.fd, bytes, few)) {
            outcome.sent++;
            outcome.descriptors += few.length;
          } else if (few.length > 0) outcome.refused++;
        }
    } finally {
      for (const socket of sockets) socket.close();
      close(given);
    }
    const socket = RawSocket.connect(path);
    outcome.answered = socket.exchange(bytes, [], 2000) !== null;
    socket.close();
    return outcome;
  },

  /** Opens `count` connections at once and closes them again; returns how many were made. */
  crowd(_world: World, { path, count }: { path: string; count: number }): number {
    const sockets: RawSocket[] = [];
    try {
      for (let i = 0; i < count; i++) sockets.push(RawSocket.connect(path));
    } catch {
      // The machine takes no more.
    }
    for (const socket of sockets) socket.close();
    return sockets.length;
  },
};

const MSG_DONTWAIT_NOSIGNAL = 0x4040;

/** sendmsg of one message with any number of descriptors, past the limits of package os. False when the kernel refuses. */
function sendMany(fd: number, bytes: Uint8Array, fds: readonly number[]): boolean {
  many ??= {
    memory: mmap({ length: 8192, prot: 'rw' }),
    sendmsg: loadLibrary('libc.so.6').func('long sendmsg(int fd, uint64_t message, int flags)'),
  };
  const { address, bytes: page } = many.memory;
  const view = new DataView(page.buffer, page.byteOffset, 8192);
  const [iov, control, data] = [64, 256, 4096];
  const length = 16 + fds.length * 4;
  page.fill(0, 0, control + length + 8);
  page.set(bytes, data);
  // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags; struct cmsghdr: len, SOL_SOCKET, SCM_RIGHTS.
  view.setBigUint64(16, BigInt(address + iov), true);
  view.setBigUint64(24, 1n, true);
  view.setBigUint64(32, BigInt(address + control), true);
  view.setBigUint64(40, fds.length === 0 ? 0n : BigInt(Math.ceil(length / 8) * 8), true);
  view.setBigUint64(iov, BigInt(address + data), true);
  view.setBigUint64(iov + 8, BigInt(bytes.length), true);
  view.setBigUint64(control, BigInt(length), true);
  view.setInt32(control + 8, 1, true);
  view.setInt32(control + 12, 1, true);
  for (const [i, one] of fds.entries()) view.setInt32(control + 16 + i * 4, one, true);
  return Number(many.sendmsg(fd, BigInt(address), MSG_DONTWAIT_NOSIGNAL)) > 0;
}

let many: { memory: Mapping; sendmsg: NativeFunction } | undefined;

/** An address that a hostile guest would choose: its own memory, the EPC, the monitor, the ends of everything. */
function address(random: () => number, slice: { gpa: number; length: number }): bigint {
  const page = BigInt(random() % 256) * 4096n;
  switch (random() % 7) {
    case 0:
      return BigInt(slice.gpa + (random() % slice.length));
    case 1:
      return 0x80_0000_0000n + page;
    case 2:
      return 0x40_0000_0000n + page;
    case 3:
      return BigInt(random() % 16);
    case 4:
      return 0xffff_ffff_ffff_f000n + BigInt(random() & 0xfff);
    case 5:
      return page;
    default:
      return (BigInt(random()) << 32n) | BigInt(random());
  }
}

function message(random: () => number, round: number): Uint8Array {
  const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value));
  switch (round % 8) {
    case 0:
      return Uint8Array.from({ length: 1 + (random() % 600) }, () => random());
    case 1:
      return json({ op: 'attach', slice: -1, epc: 2 ** 53 });
    case 2:
      return json({ op: 'attach', slice: 2 ** 40, epc: 2 ** 40 });
    case 3:
      return json({ op: '__proto__', constructor: { prototype: 1 } });
    case 4:
      return json({ op: 'vcpu' });
    case 5:
      return new TextEncoder().encode('['.repeat(30_000));
    case 6:
      return new TextEncoder().encode(`{"op":"attach","slice":"${'9'.repeat(random() % 60_000)}","epc":0}`);
    default:
      return json({ op: 'stop', uid: 0 });
  }
}
