/** System calls that an enclave makes itself on descriptors of its host, against the same calls of this process. */
import type { GuestBlock } from '@nestedsgx/guest';
import { close, eventfd, loadLibrary, memfdCreate, open, sendFds, socketpair } from '@nestedsgx/os';
import { floorLibrary } from './floor.js';
import { onCpus, withMachine } from './place.js';
import { Probe } from './probe.js';
import type { Bench, BenchContext, Row } from './row.js';
import { interleaved, median, quantile } from './statistics.js';

const GRANT_SOCKET = 5;
const WRITE_ONLY = 1;
/** Where things lie in the block of guest RAM: the call, its pollfd or what it receives descriptors with, its data. */
const CALL = 0;
const LISTS = 128;
const DATA = 1024;
const RESULT_AT = 56;
const CYCLES_AT = 64;
const BLOCK = DATA + 16_384;

/** A call: its number, and arguments of which `fd` is the descriptor's number on either side. */
interface Subject {
  readonly name: string;
  readonly fd: number;
  call(fd: number, address: number): readonly number[];
}

/** The calls, and what they are made on. */
class Subjects implements Disposable {
  readonly all: readonly Subject[];
  readonly #opened: readonly number[];

  constructor() {
    const zero = open('/dev/zero', 0);
    const nothing = open('/dev/null', WRITE_ONLY);
    const counter = eventfd(1);
    const file = memfdCreate('file', { size: 16_384 });
    const [one, other] = socketpair();
    const libc = loadLibrary('libc.so.6');
    const epoll: number = libc.func('int epoll_create1(int flags)')(0);
    // struct epoll_event: EPOLLIN.
    const watch = libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)');
    watch(epoll, 1, counter, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0));
    this.#opened = [zero, nothing, counter, file, one, other, epoll];
    this.all = [
      { name: 'read 8 B', fd: zero, call: (fd, at) => [0, fd, at + DATA, 8] },
      { name: 'write 8 B', fd: nothing, call: (fd, at) => [1, fd, at + DATA, 8] },
      { name: 'pread 16 KiB', fd: file, call: (fd, at) => [17, fd, at + DATA, 16_384] },
      { name: 'pwrite 16 KiB', fd: file, call: (fd, at) => [18, fd, at + DATA, 16_384] },
      { name: 'recvfrom, EAGAIN', fd: one, call: (fd, at) => [45, fd, at + DATA, 8, 0x40] },
      { name: 'epoll_wait, ready', fd: epoll, call: (fd, at) => [232, fd, at + DATA, 16] },
      { name: 'poll, ready', fd: counter, call: (_, at) => [7, at + LISTS, 1] },
      { name: 'futex wake', fd: zero, call: (_, at) => [202, at + DATA, 129, 1] },
    ];
  }

  [Symbol.dispose](): void {
    for (const fd of this.#opened) close(fd);
  }
}

function put(block: GuestBlock, at: number, words: readonly number[]): void {
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, BLOCK);
  for (const [i, word] of words.entries()) view.setBigUint64(at + i * 8, BigInt(word), true);
}

function row(context: BenchContext, probe: Probe, block: GuestBlock, subject: Subject): Row {
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, BLOCK);
  const kernel = floorLibrary().kernel;
  const { address } = block;
  const count = context.short ? 20 : 2000;
  const results = new Set<bigint>();
  const timed = (fd: number, run: () => void) => () => {
    put(block, LISTS, [fd + 2 ** 32]);
    put(block, CALL, [...subject.call(fd, address), 0, 0, 0, 0, 0, 0, 0].slice(0, 7));
    run();
    results.add(view.getBigInt64(RESULT_AT, true));
    return [Number(view.getBigUint64(CYCLES_AT, true)) / count];
  };
  const granted = grant(probe, block, subject.fd);
  const figures = interleaved(context.short ? 2 : 41, {
    inside: timed(granted, () => probe.hostCalls(address, count)),
    natively: timed(subject.fd, () => kernel(address, count)),
  });
  if (results.size !== 1)
    throw new Error(`${subject.name} gave ${[...results].join(' and ')} inside and outside`);
  return {
    name: subject.name,
    form: '',
    value: median(figures.inside),
    unit: 'cycles',
    p99: quantile(figures.inside, 0.99),
    floor: median(figures.natively),
    peer: null,
    paper: null,
    note: 'the floor is the same call of this process',
  };
}

/** Grants a descriptor and has it taken; its number there. */
function grant(probe: Probe, block: GuestBlock, fd: number): number {
  const { address } = block;
  const view = new DataView(block.bytes.buffer, block.bytes.byteOffset, BLOCK);
  sendFds(probe.grants as number, new Uint8Array(8), [fd]);
  const [vector, control] = [address + LISTS + 64, address + LISTS + 128];
  put(block, LISTS, [0, 0, vector, 1, control, 24, 0, 0, address + DATA, 8]);
  put(block, CALL, [47, GRANT_SOCKET, address + LISTS, 0x40, 0, 0, 0]);
  probe.hostCalls(address, 1);
  return view.getInt32(LISTS + 128 + 16, true);
}

/** `nsgx bench descriptors`. */
export const descriptors: Bench = {
  name: 'descriptors',
  summary: 'system calls on host descriptors from inside an enclave',
  async run(context) {
    context.note('system calls on host descriptors');
    using subjects = new Subjects();
    return await withMachine(async (cvm) => {
      const { connection } = await cvm.guest();
      const block = connection.memory.alloc(BLOCK, { zero: true });
      using probe = await Probe.load(cvm, { descriptors: true });
      return await onCpus(context.cpus.slice(0, 1), async () =>
        subjects.all.map((subject) => row(context, probe, block, subject)),
      );
    });
  },
};
