/** System calls one by one. */
import { namedFigures } from './said.js';
import type { Side, Stage } from './stage.js';
import type { Subject } from './subject.js';

const GCC = [{ program: 'gcc', package: 'gcc' }];
const FILE = 'pread and pwrite of a file in memory (native: tmpfs)';

/** Names of native/libos/micro.c and what they are. */
const CALLS: Readonly<Record<string, string>> = {
  getpid: 'a call that was rewritten',
  'getpid-trapped': 'a SYSCALL instruction that could not be rewritten: #UD, exception handler, resume',
  clock_gettime: 'glibc’s function: natively the vDSO’s',
  lseek: 'of a file in memory',
  fstat: 'of a file in memory',
  stat: 'of a folder by its path',
  'open-close': 'of a folder by its path',
  'read-64': FILE,
  'read-4096': FILE,
  'read-262144': FILE,
  'write-1': FILE,
  'write-4096': FILE,
  'write-262144': FILE,
  'pipe-1': 'a byte written and read by one thread',
  'pipe-4096': '4 KiB written and read by one thread',
  'mmap-64K': 'anonymous memory mapped, each page touched, unmapped',
  epoll_wait: 'with an eventfd that is ready',
  poll: 'of an eventfd that is ready',
  'futex-wake': 'nobody waits',
  signal: 'raise and its handler',
  thread: 'pthread_create and pthread_join',
  'futex-round': 'two threads wake each other by futex: there and back',
  'pipe-round': 'two threads wake each other by a byte in a pipe: there and back',
  'socketpair-round': 'two threads wake each other by a byte in a Unix socket: there and back',
};

/** `nsgx bench libos --only calls`. */
export const calls: Subject = {
  name: 'calls',
  needs: GCC,
  rounds: 5,
  figures: Object.fromEntries(Object.entries(CALLS).map(([name, note]) => [name, { unit: 'ns', note }])),
  begin(stage: Stage) {
    const program = stage.compile('micro', '-pthread');
    const names = Object.keys(CALLS);
    // What has threads ends the program where it cannot have them: each such call has a run of its own.
    const first = names.indexOf('thread');
    const groups = [names.slice(0, first), ...names.slice(first).map((name) => [name])];
    return (side: Side) =>
      namedFigures(
        groups
          .map((group) => {
            const folder = side === 'native' ? stage.shm : '/dev/shm';
            const { stdout, stderr, status } = stage.run(side, { argv: [program, folder, ...group] });
            return status === 0
              ? stdout
              : `${stdout}\n${group.map((name) => `${name} - ${stderr.trim()}\n`).join('')}`;
          })
          .join(''),
      );
  },
};
