/** Interpreters and libraries: perl, Python, openssl, sqlite3, fio. */
import type { Case, Suite } from './case.js';

const PERL: readonly string[] = [
  'print join(",", map { $_ ** 2 } grep { $_ % 2 } 1 .. 20), "\\n"',
  'my %h; $h{$_ % 7}++ for 1 .. 1000; print map { "$_ $h{$_}\\n" } sort keys %h',
  'my $s = "The quick brown fox"; print scalar reverse($s), "\\n", lc $s, ucfirst lc $s, "\\n"; print join "|", $s =~ /(\\w+)\\s+(\\w+)/; (my $t = $s) =~ s/(\\w)(\\w*)/\\u$2$1ay/g; print "\\n$t\\n"',
  'printf "%s %05.2f %x %e %b\\n", "a", 3.14159, 255, 12345.678, 10; print pack("NnCa4", 1, 2, 3, "abcd") eq "\\0\\0\\0\\1\\0\\2\\3abcd", "\\n", join(",", unpack("(A2)*", "aabbcc")), "\\n"',
  'open my $f, ">", "/dev/shm/nsgx-perl" or die; print $f "line $_\\n" for 1 .. 100; close $f; open $f, "<", "/dev/shm/nsgx-perl"; my @l = <$f>; print scalar @l, $l[50]; print -s "/dev/shm/nsgx-perl", "\\n"; unlink "/dev/shm/nsgx-perl"; print -e "/dev/shm/nsgx-perl" ? "there" : "gone", "\\n"',
  'my @a = sort { $a <=> $b } map { ($_ * 7919) % 1009 } 1 .. 1000; print "@a[0..5] @a[-5..-1]\\n"',
  'local $SIG{ALRM} = sub { print "never\\n" }; local $SIG{USR1} = sub { print "caught\\n" }; kill USR1 => $$; print "after\\n"',
  'eval { die { code => 7 } }; print $@->{code}, "\\n"; my $x = eval "1 +"; print defined $x ? "ok" : "syntax", "\\n"',
  'my $f = 1; $f *= $_ for 1 .. 20; print "$f\\n"; print 2 ** 0.5, " ", atan2(1, 1) * 4, " ", exp(1), " ", int(-7 / 2), " ", -7 % 3, "\\n"',
  'my @t = gmtime(86400 * 365); print "@t[0..5]\\n"; print scalar(gmtime(0)), "\\n"',
  'my $s = "x" x 1_000_000; print length $s, " ", ($s =~ tr/x/y/), "\\n"; my @big = (1) x 200_000; print scalar @big, "\\n"',
  'sub fib { my $n = shift; $n < 2 ? $n : fib($n - 1) + fib($n - 2) } print fib(18), "\\n"',
  'use strict; use warnings; use List::Util qw(sum max first); print sum(1 .. 100), max(3, 9, 2), first { $_ > 5 } (1 .. 10); print "\\n"',
  'use POSIX (); print POSIX::floor(-3.5), POSIX::strtol("ff", 16), POSIX::strftime("%F", gmtime(0)), "\\n"',
  'pipe my $r, my $w; syswrite $w, "through"; close $w; sysread $r, my $b, 100; print "$b\\n"; opendir my $d, "/dev"; print scalar(grep { /^(null|zero)$/ } readdir $d), "\\n"; mkdir "/dev/shm/nsgx-d" or print "no\\n"; rmdir "/dev/shm/nsgx-d"; print "done\\n"',
  'exit 42',
  'die "with a message\\n"',
];

const PERL_LIBRARY = ['/usr/lib/x86_64-linux-gnu/perl-base', '/usr/lib/x86_64-linux-gnu/perl/5.36/POSIX.pm'];

/** perl with its base library. */
export const perl: Suite = {
  name: 'perl',
  program: 'perl',
  package: 'perl-base',
  cases: () =>
    PERL.map((script, i): Case => {
      const one = { program: 'perl', args: ['-e', script], copy: PERL_LIBRARY };
      return i % 5 === 0 ? { ...one, short: true } : one;
    }),
};

const SQL: readonly string[] = [
  "create table t(a, b); insert into t values(1, 'x'), (2, 'y'), (3, null); select *, typeof(b) from t where a > 1; select count(*), sum(a), avg(a), group_concat(b) from t;",
  'with recursive f(n, a, b) as (select 1, 0, 1 union all select n + 1, b, a + b from f where n < 40) select n, a from f where n % 8 = 0;',
  "create table e(d, s); insert into e values('a', 10), ('a', 20), ('b', 5), ('b', 50); select d, s, rank() over (partition by d order by s desc), sum(s) over (order by d, s rows between 1 preceding and current row) from e;",
  `select json_extract('{"a":[1,{"b":"c"}]}', '$.a[1].b'), json_array_length('[1,2,3]'); select key, value, type from json_each('{"x":1,"y":[2],"z":null}');`,
  "create virtual table d using fts5(body); insert into d values('the quick brown fox'), ('jumps over the dog'); select rowid, highlight(d, 0, '[', ']') from d where d match 'quick OR dog' order by rank;",
  'create virtual table r using rtree(id, x0, x1, y0, y1); insert into r values(1, 0, 1, 0, 1), (2, 5, 6, 5, 6); select id from r where x1 > 4;',
  'create table a(x unique); insert into a values(1); begin; insert into a values(2); savepoint s; insert into a values(3); rollback to s; commit; select * from a; insert into a values(1); select changes();',
  'create table l(n); create table t(x); create trigger g after insert on t begin insert into l values(new.x * 2); end; insert into t values(4), (5); select * from l; create view v as select sum(n) s from l; select * from v;',
  ".mode box\nselect 1 as one, 'two' as two;\n.mode csv\nselect 'a,b', 2;\n.mode json\nselect 1 as x, null as y;\n.mode insert t\nselect 1, 'q''q';",
  "create table t(k integer primary key, v); with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000) insert into t select i, hex(i * i) from n; create index by_v on t(v); select count(*), min(v), max(v) from t; pragma integrity_check; explain query plan select * from t where v = 'x'; delete from t where k % 3 = 0; vacuum; select count(*), sum(length(v)) from t;",
  "select printf('%08.3f|%-6s|%x', 3.14159, 'ab', 255), upper('é'), substr('hello', -3, 2), replace('aXbX', 'X', '--'), round(2.5), abs(-7), hex(zeroblob(3)), quote('it''s'); select date('2024-02-29', '+1 year'), strftime('%j %W', '2024-12-31'), julianday('2000-01-01 12:00:00');",
  'create table t(x); .dump\nselect sqlite_version() > 3;\n.tables\n.schema t',
];

/** Databases on a file, with what is written being read again. */
const FILE_SQL: readonly string[] = [
  'create table t(x, y); begin; insert into t values(1, randomblob(1000)); commit; pragma journal_mode = delete; insert into t select x + 1, zeroblob(5000) from t; select count(*), sum(length(y)) from t; pragma integrity_check; drop table t;',
  'pragma journal_mode = truncate; create table if not exists t(x); insert into t values(1), (2); update t set x = x * 10; select * from t; drop table t;',
  'pragma locking_mode = exclusive; pragma journal_mode = wal; create table w(x); insert into w values(1), (2), (3); pragma wal_checkpoint(full); select sum(x) from w; pragma journal_mode = delete; drop table w;',
  'pragma journal_mode = wal; create table w(x); insert into w values(1), (2), (3); select sum(x) from w; pragma journal_mode = delete; drop table w;',
  "attach '/dev/shm/nsgx-suite-2.db' as two; create table two.t(x); insert into two.t values(7); create table m(y); insert into m select x + 1 from two.t; select * from m; drop table m; drop table two.t;",
  '.backup /dev/shm/nsgx-suite-3.db\n.open /dev/shm/nsgx-suite-3.db\nselect count(*) from sqlite_schema;',
];

/** sqlite3's shell. */
export const sqlite: Suite = {
  name: 'sqlite3',
  program: 'sqlite3',
  package: 'sqlite3',
  cases: (folder) => [
    ...SQL.map((input, i): Case => {
      const one = { program: 'sqlite3', args: [':memory:'], input };
      return i % 4 === 0 ? { ...one, short: true } : one;
    }),
    ...FILE_SQL.map((input): Case => ({ program: 'sqlite3', args: ['/dev/shm/nsgx-suite.db'], input })),
    {
      program: 'sqlite3',
      args: [':memory:', `.import --csv ${folder}/csv c`, 'select name, amount + 0 from c order by 2;'],
      copy: [`${folder}/csv`],
      short: true,
    },
  ],
};

const OPENSSL: readonly (readonly [args: readonly string[], input?: string])[] = [
  [['version', '-v']],
  [['dgst', '-sha256'], 'hash me'],
  [['dgst', '-sha3-512', '-hex'], 'hash me'],
  [['dgst', '-blake2b512'], 'hash me'],
  [['dgst', '-sha1', '-hmac', 'key'], 'hash me'],
  [['enc', '-aes-256-cbc', '-K', '00'.repeat(32), '-iv', '11'.repeat(16), '-base64'], 'x'.repeat(5000)],
  [['enc', '-chacha20', '-K', '22'.repeat(32), '-iv', '33'.repeat(16), '-base64'], 'x'.repeat(5000)],
  [['enc', '-aes-128-ctr', '-pbkdf2', '-S', '0011223344556677', '-pass', 'pass:secret', '-base64'], 'salted'],
  [['base64'], 'to base64'],
  [['prime', '1000000007', '1000000008']],
  [['passwd', '-6', '-salt', 'saltsalt', 'secret']],
  [
    [
      'kdf',
      '-keylen',
      '32',
      '-kdfopt',
      'pass:x',
      '-kdfopt',
      'salt:y',
      '-kdfopt',
      'iter:1000',
      '-kdfopt',
      'digest:SHA256',
      'PBKDF2',
    ],
  ],
  [['ecparam', '-list_curves']],
  [['list', '-digest-commands']],
  [['asn1parse', '-genstr', 'UTF8:hello']],
  [['mac', '-macopt', 'hexkey:00112233445566778899aabbccddeeff', '-cipher', 'AES-128-CBC', 'CMAC'], 'mac me'],
];

/** openssl's commands that say the same each time. */
export const openssl: Suite = {
  name: 'openssl',
  program: 'openssl',
  package: 'openssl',
  cases: () =>
    OPENSSL.map(([args, input], i): Case => {
      const one = { program: 'openssl', args, ...(input === undefined ? {} : { input }) };
      return i % 5 === 1 ? { ...one, short: true } : one;
    }),
};

/** Modules of Python's own tests that need neither network nor fork. */
const PYTHON_TESTS = [
  ...[
    'test_grammar',
    'test_bool',
    'test_int',
    'test_float',
    'test_long',
    'test_complex',
    'test_math',
    'test_cmath',
  ],
  ...[
    'test_list',
    'test_tuple',
    'test_dict',
    'test_set',
    'test_bytes',
    'test_str',
    'test_unicode',
    'test_string',
  ],
  ...[
    'test_re',
    'test_struct',
    'test_array',
    'test_heapq',
    'test_bisect',
    'test_collections',
    'test_itertools',
  ],
  ...[
    'test_functools',
    'test_generators',
    'test_contextlib',
    'test_json',
    'test_base64',
    'test_binascii',
    'test_zlib',
  ],
  ...[
    'test_gzip',
    'test_bz2',
    'test_lzma',
    'test_hashlib',
    'test_hmac',
    'test_random',
    'test_decimal',
    'test_fractions',
  ],
  ...[
    'test_datetime',
    'test_time',
    'test_calendar',
    'test_io',
    'test_file',
    'test_fileio',
    'test_bufio',
    'test_tempfile',
  ],
  ...[
    'test_shutil',
    'test_glob',
    'test_fnmatch',
    'test_posixpath',
    'test_os',
    'test_stat',
    'test_mmap',
    'test_sqlite3',
  ],
  ...[
    'test_signal',
    'test_select',
    'test_selectors',
    'test_epoll',
    'test_poll',
    'test_thread',
    'test_threading',
  ],
  ...[
    'test_queue',
    'test_sched',
    'test_weakref',
    'test_gc',
    'test_copy',
    'test_pickle',
    'test_marshal',
    'test_csv',
  ],
];

/** Python: a few programs, and its own tests. */
export const python: Suite = {
  name: 'python3',
  program: 'python3',
  package: 'python3, libpython3.11-testsuite',
  cases: () => {
    const copy = ['/usr/lib/python3.11', '/bin/echo', '/bin/sh'];
    const memory = 512 * 2 ** 20;
    const run = (args: string[]): Case => ({ program: 'python3', args, copy, memory });
    return [
      { ...run(['-S', '-c', 'print(sum(i * i for i in range(1000)), 2 ** 200, 1 / 3)']), short: true },
      run([
        '-c',
        'import sys, os; print(sys.version_info[:2], os.getcwd() != "", os.path.exists("/dev/null"))',
      ]),
      run([
        '-c',
        'import hashlib, json, zlib, re; print(hashlib.sha256(b"x").hexdigest(), json.dumps({"a": [1, None]}), zlib.crc32(b"x"), re.sub("a+", "b", "caat"))',
      ]),
      run([
        '-c',
        'import sqlite3; c = sqlite3.connect(":memory:"); c.execute("create table t(x)"); c.executemany("insert into t values(?)", [(i,) for i in range(1000)]); print(c.execute("select sum(x) from t").fetchone())',
      ]),
      run([
        '-c',
        'import threading; l = threading.Lock(); n = [0]\ndef f():\n  for i in range(1000):\n    with l: n[0] += 1\nt = [threading.Thread(target=f) for i in range(4)]; [x.start() for x in t]; [x.join() for x in t]; print(n)',
      ]),
      run([
        '-c',
        'import subprocess; print(subprocess.run(["/bin/echo", "child"], capture_output=True, close_fds=False).stdout)',
      ]),
      // Tests write where they run, and the root cannot be written.
      run([
        '-c',
        'import os; r, w = os.pipe(); p = os.fork()\nif p == 0: os.write(w, b"child"); os._exit(7)\nprint(os.read(r, 9), os.waitstatus_to_exitcode(os.waitpid(p, 0)[1]))',
      ]),
      run([
        '-c',
        'import multiprocessing as m; m.set_start_method("fork"); q = m.Queue()\np = [m.Process(target=q.put, args=(i * i,)) for i in range(3)]; [x.start() for x in p]; print(sorted(q.get() for x in p)); [x.join() for x in p]\nwith m.Pool(2) as pool: print(pool.map(abs, range(-9, 1)))',
      ]),
      run([
        '-c',
        'import subprocess; print(subprocess.run(["/bin/echo", "child"], capture_output=True, preexec_fn=lambda: None).stdout)',
      ]),
      ...PYTHON_TESTS.map((name) =>
        run([
          '-c',
          `import os, unittest; os.chdir('/tmp'); unittest.main(None, argv=['test', '-q', 'test.${name}'])`,
        ]),
      ),
    ];
  },
};

/** fio with what it wrote being read and checked. */
export const fio: Suite = {
  name: 'fio',
  program: 'fio',
  package: 'fio',
  cases: () =>
    ['write', 'randwrite'].flatMap((rw) =>
      ['psync', 'mmap', 'pvsync'].map(
        (engine): Case => ({
          program: 'fio',
          args: [
            ...[
              '--name=v',
              '--thread',
              `--ioengine=${engine}`,
              `--rw=${rw}`,
              '--bs=4k',
              '--size=4m',
              '--verify=crc32c',
              '--verify_state_save=0',
            ],
            ...[
              '--filename=/dev/shm/nsgx-suite-fio',
              '--output-format=terse',
              '--terse-version=3',
              '--output=/dev/shm/nsgx-fio.out',
            ],
          ],
          memory: 256 * 2 ** 20,
        }),
      ),
    ),
};

/** stress-ng: a stressor for a number of operations. */
export const stress: Suite = {
  name: 'stress-ng',
  program: 'stress-ng',
  package: 'stress-ng',
  cases: () =>
    ['cpu', 'matrix', 'qsort', 'str', 'vecmath', 'memcpy', 'pipe', 'futex', 'timerfd', 'eventfd'].map(
      (name): Case => ({
        program: 'stress-ng',
        idle: /Cannot fork|fork failed/,
        args: ['--no-rand-seed', '--temp-path', '/dev/shm', `--${name}`, '1', `--${name}-ops`, '20'],
        memory: 256 * 2 ** 20,
      }),
    ),
};
