/**
 * What system calls answer when they refuse, by group: programs print every answer, natively and in an enclave. Where the
 * library OS differs on purpose, or does not do it yet, the expression stands here.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { buildProgramImage } from '../src/index.js';
import { Inside } from './inside.js';
import { compile, native } from './programs.js';

let machine: Inside;
before(async () => {
  machine = await Inside.open();
});
after(() => machine[Symbol.asyncDispose]());

interface Group {
  readonly name: string;
  readonly what: string;
  /** Beginnings of lines that differ, and why. */
  readonly known?: Readonly<Record<string, string>>;
}

const CHILDREN = 'options of calls for children are not looked at when there are none';
const DESCRIPTORS = 'the limit of descriptors is told, the table is as large as it is';
const PIPE = 'pipes hold 64 KiB';
const MASK = 'the mask of ppoll and pselect has no effect';

const GROUPS: readonly Group[] = [
  {
    name: 'files',
    what: 'descriptors and transfers',
    known: {
      'syscall(SYS_syncfs, 77)': 'accepted without effect',
      'posix_fadvise(': 'accepted without effect',
      'syscall(SYS_readahead': 'accepted without effect',
      'open("new", O_CREAT | O_DIRECTORY': 'makes a file, as Linux did before 6.4',
      'access("new", F_OK)': 'makes a file, as Linux did before 6.4',
      'ftruncate(path, 0)': 'EINVAL for EBADF',
      'syscall(SYS_pread64, fd, buffer, (size_t)-1': 'reads what is there',
      'fcntl(fd, F_GETOWN)': 'there are no owners',
      'sendfile(other, fd, &at, 1)': 'a negative offset is the end',
      'syscall(SYS_memfd_create, name': 'names may be longer',
    },
  },
  { name: 'names', what: 'paths, folders, links, modes, times' },
  {
    name: 'memory',
    what: 'mmap and its relatives',
    known: { 'mprotect(area, PAGE, 0x100)': 'unknown bits are dropped' },
  },
  { name: 'shm', what: 'shared memory of System V' },
  { name: 'time', what: 'clocks, sleeps, timers' },
  {
    name: 'signals',
    what: 'actions, masks, order, waiting',
    known: {
      'sigtimedwait(&some, &info, &wrong)': 'times are not looked at when they do not matter',
      'ppoll(': MASK,
      'pselect(': MASK,
      '12 ': MASK,
      'waitpid(-1, NULL, 0x1000)': CHILDREN,
      'waitid(': CHILDREN,
    },
  },
  {
    name: 'events',
    what: 'pipes, eventfds, poll, select, epoll',
    known: {
      'fcntl(ends[0], F_SETPIPE_SZ': PIPE,
      'write(ends[1], buffer, 4097)': PIPE,
      'write(ends[1], buffer, 1) = -1 EAGAIN': PIPE,
      'read(ends[0], buffer, 70000)': PIPE,
    },
  },
  {
    name: 'process',
    what: 'limits, identity, scheduling, futexes',
    known: {
      'dup2(1, 40)': DESCRIPTORS,
      'fcntl(1, F_DUPFD, 40)': DESCRIPTORS,
      'last < 40': DESCRIPTORS,
      'setpgid(': 'one process',
    },
  },
];

for (const { name, what, known = {} } of GROUPS)
  test(`where calls refuse: ${what}`, async () => {
    const program = compile(`behaviour/${name}`);
    const here = mkdtempSync('/dev/shm/nsgx-behaviour-');
    try {
      const expected = native(program, [here]);
      const found = await machine.run(buildProgramImage({ program }), [program, '/dev/shm']);
      const lines = expected.stdout.split('\n');
      const answers = found.stdout.split('\n');
      assert.equal(answers.length, lines.length, `it ended early: ${answers.slice(-3).join('\n')}`);
      const differences = lines.flatMap((line, i) =>
        line === answers[i] || Object.keys(known).some((text) => line.startsWith(text))
          ? []
          : [`Linux: ${line}`, `here:  ${answers[i]}`],
      );
      assert.deepEqual(differences, []);
      assert.equal(found.status, expected.status);
    } finally {
      rmSync(here, { recursive: true, force: true });
    }
  });
