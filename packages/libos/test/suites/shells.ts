/** Small tools: busybox's applets, coreutils and their like. */
import type { Case, Suite } from './case.js';

type Line = readonly [short: boolean, args: readonly string[], input?: string];

function cases(program: string, lines: readonly Line[], copy: readonly string[]): Case[] {
  return lines.map(([short, args, input]) => ({
    ...{ program, args, copy },
    ...(input === undefined ? {} : { input }),
    ...(short ? { short: true as const } : {}),
  }));
}

/** Splits words; what has spaces is given as an array. */
function words(text: string): string[] {
  return text.split(' ');
}

/** Programs that applets start. */
const CHILDREN = ['/bin/echo', '/bin/env', '/bin/true', '/bin/cat', '/bin/sh'];

const FILE_NAMES = ['poem', 'numbers', 'sorted', 'other', 'csv', 'passwd'];

const AWK = `{ n[$3] += $1 } END { for (k in n) print k, n[k] | "cat" }`;
const PLAIN_AWK = `BEGIN { FS = " " } { n[$3] += $1; if ($1 > max) max = $1 } END { for (i = 0; i < 7; i++) printf "n%d %d\\n", i, n["n" i]; print max, NR, length("abc"), substr("hello", 2, 3), toupper("x"), sprintf("%05.2f", 3.14159) }`;

const SCRIPT = `
i=0; total=0
while [ $i -lt 50 ]; do total=$((total + i * i)); i=$((i + 1)); done
echo $total
f() { local x=$1; [ $x -le 1 ] && { r=1; return; }; f $((x - 1)); r=$((r * x)); }
f 10; echo $r
case "hello.txt" in *.txt) echo text ;; *) echo other ;; esac
x="a b c"; set -- $x; echo $# "$2"
echo \${x#a } \${x%c} \${#x} \${y:-unset}
for w in one two three; do printf '%s-' $w; done; echo
read -r line < "$0" && echo "read"
trap 'echo leaving' EXIT
[ -d /dev ] && test -f "$0" && echo files
printf '%d %x %o %s\\n' 255 255 255 end
exit 3
`;

/** busybox, each applet as its argument. */
export const busybox: Suite = {
  name: 'busybox',
  program: 'busybox',
  package: 'busybox or busybox-static',
  cases(folder) {
    const poem = `${folder}/poem`;
    const numbers = `${folder}/numbers`;
    const lines: Line[] = [
      [true, ['cat', poem]],
      [false, ['cat', '-n', poem, '-'], 'from stdin\n'],
      [false, ['tac', poem]],
      [true, ['rev', poem]],
      [false, ['head', '-n', '3', poem]],
      [false, ['head', '-c', '17', poem]],
      [false, ['tail', '-n', '2', poem]],
      [false, ['tail', '-c', '+20', poem]],
      [true, ['sort', '-n', numbers]],
      [false, ['sort', '-k3,3', '-k1,1nr', numbers]],
      [false, ['sort', '-u', '-r', poem]],
      [false, ['uniq', '-c'], 'a\na\nb\na\n'],
      [true, ['wc', poem, numbers]],
      [false, ['wc', '-lwcL', poem]],
      [false, ['cut', '-d', ' ', '-f', '2-', numbers]],
      [false, ['cut', '-c', '3-5', poem]],
      [false, words('tr a-z A-Z'), 'shout'],
      [false, words('tr -d aeiou'), 'without vowels'],
      [false, words('tr -s e'), 'seeeen'],
      [true, ['sed', '-e', 's/the/THE/g', '-e', '2d', poem]],
      [false, ['sed', '-n', '/quick/,/lazy/p', poem]],
      [false, ['sed', '-E', 's/([a-z]+) ([a-z]+)/\\2 \\1/', poem]],
      [true, ['awk', PLAIN_AWK, numbers]],
      [false, ['awk', '-F,', 'NR > 1 { s += $NF } END { print s }', `${folder}/csv`]],
      [
        false,
        [
          'awk',
          'BEGIN { while ((getline l < ARGV[1]) > 0) n++; print n; print length(l), index("abc", "c"); gsub(/b/, "x", l); print match("foobar", /o+/), RSTART, RLENGTH }',
          poem,
        ],
      ],
      [
        false,
        [
          'awk',
          'BEGIN { srand(1); x = 2 ^ 10; print x % 7, int(-3.7), sqrt(2), exp(1), log(10), sin(1), atan2(1, 2) }',
        ],
      ],
      [true, ['grep', '-n', 'the', poem]],
      [false, ['grep', '-c', '-i', 'THE', poem]],
      [false, ['grep', '-v', 'o', poem]],
      [false, ['grep', '-E', '^[A-Z]+ ', poem]],
      [false, ['grep', '-o', '[0-9]*', poem]],
      [false, ['grep', 'nothing', poem]],
      [false, ['grep', '-r', 'quick', folder]],
      [false, ['fold', '-w', '10', poem]],
      [false, ['expand', poem]],
      [false, ['unexpand', '-a', poem]],
      [false, ['nl', poem]],
      [false, ['paste', '-d:', `${folder}/sorted`, `${folder}/other`]],
      [false, ['comm', `${folder}/sorted`, `${folder}/other`]],
      [false, ['cmp', `${folder}/sorted`, `${folder}/other`]],
      [false, ['diff', '-u', '-L', 'a', '-L', 'b', `${folder}/sorted`, `${folder}/other`]],
      [false, ['od', '-c', poem]],
      [false, ['od', '-t', 'x2', poem]],
      [true, ['hexdump', '-C', poem]],
      [false, ['xxd', poem]],
      [false, ['xxd', '-r', '-p'], '68656c6c6f0a'],
      [false, ['base64', poem]],
      [false, ['base64', '-d'], 'aGVsbG8gd29ybGQK'],
      [false, ['base32', poem]],
      [false, ['uuencode', poem, 'poem']],
      [true, ['md5sum', poem]],
      [false, ['sha1sum', poem]],
      [false, ['sha256sum', poem, numbers]],
      [false, ['sha512sum', poem]],
      [false, ['sha3sum', poem]],
      [false, ['cksum', poem]],
      [false, ['sum', poem]],
      [false, ['crc32', poem]],
      [false, ['strings', '-n', '6', poem]],
      [true, words('seq 3 4 25')],
      [false, words('seq -w 8 11')],
      [false, words('factor 1234567890 97 1000000007')],
      [false, words('expr 7 * 6 + 2')],
      [false, ['expr', 'hello', ':', 'h\\(.*\\)o']],
      [false, ['dc'], '10 3 / p 2 k 10 3 / p 2 100 ^ p'],
      [false, ['bc', '-l'], 'scale=20; 4*a(1); 2^200; sqrt(2); for (i=0;i<3;i++) i*i\n'],
      [false, words('test 3 -lt 4')],
      [false, words('test -e /nowhere')],
      [true, ['printf', '%5d|%-5s|%x|%c|%e\n', '42', 'ab', '255', 'z', '1.5']],
      [false, words('echo -e a\\tb\\n')],
      [false, words('basename /usr/lib/x.so .so')],
      [false, words('dirname /usr/lib/x.so')],
      [false, ['realpath', `${folder}/../${folder.split('/').at(-1)}/poem`]],
      [false, ['readlink', '-f', poem]],
      [true, ['ls', '-1', folder]],
      [false, ['ls', '-a', folder]],
      [false, ['stat', '-c', '%s %F %A %h', poem]],
      [false, ['find', folder, '-type', 'f', '-size', '-1', '-name', 's*']],
      [false, ['find', folder, '-name', 'po*', '-print']],
      [false, ['tsort'], 'a b\nb c\na c\n'],
      [false, words('cal 2 2024')],
      [false, words('date -u -d @86400 +%F_%T_%j')],
      [false, words('uname -s')],
      [false, words('uname -m')],
      [false, words('id -u')],
      [false, ['env', '-i']],
      [false, words('printenv LC_ALL')],
      [false, words('true')],
      [true, words('false')],
      [false, words('sleep 0.01')],
      [false, words('usleep 1000')],
      [true, ['tar', '-cf', '-', '-C', folder, '--owner=0', 'sorted', 'other', 'nothing']],
      [false, ['tar', '-tvf', '/dev/null']],
      [true, ['gzip', '-c', '-n', poem]],
      [false, ['bzip2', '-c', poem]],
      [false, ['gunzip', '-c', poem]],
      [false, ['cpio', '-o', '-H', 'newc'], ''],
      [false, ['dd', `if=${numbers}`, 'bs=100', 'count=3', 'skip=1', 'status=none']],
      [false, ['tee', '/dev/shm/nsgx-suite-tee'], 'both ways\n'],
      [false, ['split', '-l', '50', numbers, '/dev/shm/nsgx-suite-']],
      [false, ['dos2unix'], 'a\r\nb\r\n'],
      [false, ['unix2dos'], 'a\nb\n'],
      [false, ['mkdir', '-p', '/dev/shm/nsgx-suite/a/b']],
      [false, ['rmdir', '/dev/shm/nsgx-none']],
      [false, ['rm', '/dev/shm/nsgx-none']],
      [false, ['rm', '-f', '/dev/shm/nsgx-none']],
      [false, ['cp', '/nowhere', '/dev/shm/x']],
      [false, ['cat', '/nowhere']],
      [false, ['ln', '-s', 'target', '/dev/shm/nsgx-suite-link']],
      [false, ['mktemp', '-u', '/dev/shm/nsgxXXXXXX', '-q', '-z']],
      [true, ['ed', '-s'], 'a\none\ntwo\n.\n1s/one/1/\n,p\nq\n'],
      [false, ['patch', '--dry-run', '-o', '/dev/null'], ''],
      [true, ['sh', '-c', SCRIPT, poem]],
      [false, ['sh', '-c', 'set -e; x=$((16#ff)); echo $x; false; echo never']],
      [
        false,
        [
          'sh',
          '-c',
          'echo "$((1 << 40)) $((-7 / 2)) $((7 % -3)) $((5 > 3 ? 10 : 20))"; ulimit -n > /dev/null; umask 077; umask',
        ],
      ],
      [
        false,
        [
          'sh',
          '-c',
          'cd /dev && pwd; echo out >&2; exec 3>/dev/shm/nsgx-suite-3; echo three >&3; exec 3<&-; read x </dev/shm/nsgx-suite-3; echo $x',
        ],
      ],
      [false, ['getopt', '-o', 'ab:', '--', '-a', '-b', 'x', 'rest']],
      [false, words('ipcalc -n -b 192.168.1.77/26')],
      [false, ['shuf', '-e', 'one']],
      [false, words('nproc --all --ignore=99')],
      [false, ['install', '-d', '/dev/shm/nsgx-suite/i']],
      [false, ['touch', '-d', '2001-02-03 04:05:06', '/dev/shm/nsgx-suite-touch']],
      [false, ['chmod', '-v', '600', '/dev/shm/nsgx-none']],
      [false, ['truncate', '-s', '1K', '/dev/shm/nsgx-suite-truncate']],
      [false, ['du', '-a', '/dev/shm/nsgx-none']],
      [false, ['mkfifo', '/dev/shm/none/fifo']],
      [false, ['mv', '/dev/shm/none', '/dev/shm/none2']],
      [false, ['xargs', '/bin/echo'], 'a b c\n'],
      [false, ['env', 'A=1', '/bin/env']],
      [false, ['time', '/bin/true']],
      [true, ['timeout', '5', '/bin/true']],
      [false, ['awk', AWK, numbers]],
      [true, ['sh', '-c', 'echo a | cat; x=$(echo b); echo $x; (exit 3); echo $?']],
      [false, ['no-such-applet']],
    ];
    const copy = [...FILE_NAMES.map((name) => `${folder}/${name}`), ...CHILDREN];
    return cases('busybox', lines, copy);
  },
};

function tool(program: string, lines: readonly Line[], copy: readonly string[] = []): Case[] {
  return cases(program, lines, copy);
}

/** Debian's coreutils, gawk, bc and jq. */
export const tools: Suite = {
  name: 'coreutils, gawk, bc, jq, grep, sed',
  program: 'sort',
  package: 'coreutils',
  cases(folder) {
    const copy = FILE_NAMES.map((name) => `${folder}/${name}`);
    const poem = `${folder}/poem`;
    const numbers = `${folder}/numbers`;
    return [
      ...tool(
        'sort',
        [
          [true, ['-n', '-k1', numbers]],
          [false, ['-R', '--random-source=/dev/zero', `${folder}/sorted`]],
          [false, ['--parallel=2', '-S', '1M', '-h', numbers]],
        ],
        copy,
      ),
      ...tool('factor', [[false, ['18446744073709551615', '1234567891011']]]),
      ...tool('numfmt', [[false, ['--to=iec', '1048576', '123456789']]]),
      ...tool('b2sum', [[false, [poem]]], copy),
      ...tool('sha256sum', [[true, [poem]]], copy),
      ...tool('cksum', [[false, ['-a', 'sm3', poem]]], copy),
      ...tool('seq', [[false, ['-f', '%.3f', '1', '0.25', '2']]]),
      ...tool('ptx', [[false, [poem]]], copy),
      ...tool('pr', [[false, ['-t', '-2', numbers]]], copy),
      ...tool('fmt', [[false, ['-w', '20', poem]]], copy),
      ...tool('join', [[false, [`${folder}/sorted`, `${folder}/sorted`]]], copy),
      ...tool('csplit', [[false, ['-f', '/dev/shm/nsgx-csplit', numbers, '50', '{1}']]], copy),
      ...tool('date', [[false, ['-u', '-d', '2020-02-29 +1 year', '+%F %s']]]),
      ...tool('ls', [[true, ['-1sF', folder]]], copy),
      ...tool('stat', [[false, ['-c', '%s %f %A', poem]]], copy),
      ...tool('dd', [[false, ['if=/dev/zero', 'bs=64K', 'count=16', 'status=none']]]),
      ...tool('od', [[false, ['-A', 'x', '-t', 'x1z', poem]]], copy),
      ...tool('tac', [[false, [numbers]]], copy),
      ...tool('shuf', [[false, ['--random-source=/dev/zero', '-i', '1-20']]]),
      ...tool('expr', [[false, ['99999999999999999999', '*', '77']]]),
      ...tool(
        'gawk',
        [
          [true, [PLAIN_AWK, numbers]],
          [
            false,
            [
              'BEGIN { print strftime("%F", 86400, 1), gensub(/(a)(b)/, "\\\\2\\\\1", "g", "abab"), PROCINFO["version"] != "" }',
            ],
          ],
        ],
        copy,
      ),
      ...tool('bc', [[false, ['-l'], 'scale=50; e(1); 2^1000; s(1)\n']]),
      ...tool('jq', [
        [true, ['-S', '.a |= map(. * 2) | .b.c']],
        [false, ['-c', '[.[] | select(.x > 1) | {x, y: (.x | tostring)}]'], '[{"x":1},{"x":2},{"x":3.5}]'],
      ]).map((one) => (one.input === undefined ? { ...one, input: '{"a":[1,2],"b":{"c":"é"}}' } : one)),
      ...tool(
        'grep',
        [
          [true, ['-nP', '(?<=quick )\\w+', poem]],
          [false, ['-E', '-o', '[a-z]+=[0-9]', poem]],
        ],
        copy,
      ),
      ...tool(
        'sed',
        [
          [false, ['-n', '$=', numbers]],
          [false, ['1!G;h;$!d', `${folder}/sorted`]],
        ],
        copy,
      ),
      ...tool('diff', [[false, ['-y', '-W', '20', `${folder}/sorted`, `${folder}/other`]]], copy),
      ...tool('gzip', [[false, ['-9nc', numbers]]], copy),
      ...tool('xz', [[false, ['-T1', '-1', '-c', numbers]]], copy),
      ...tool(
        'tar',
        [[false, ['--mtime=@0', '--numeric-owner', '--mode=644', '-cf', '-', '-C', folder, 'sorted']]],
        copy,
      ),
    ];
  },
};
