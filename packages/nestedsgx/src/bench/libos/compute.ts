/** Programs that compute: what an enclave costs them. */
import { figureIn, figures, namedFigures, path, said } from './said.js';
import type { Side, Stage } from './stage.js';
import type { Subject } from './subject.js';

/** Arguments of `openssl speed`, and where it tells the figure (in thousands, or as such). */
const SPEEDS = {
  'aes-256-gcm': {
    args: ['-bytes', '16384', '-evp', 'aes-256-gcm'],
    at: /^AES-256-GCM\s+([0-9.]+)k/im,
    unit: 1000,
  },
  sha256: { args: ['-bytes', '16384', '-evp', 'sha256'], at: /^sha256\s+([0-9.]+)k/im, unit: 1000 },
  'rsa2048-sign': { args: ['rsa2048'], at: /^rsa\s+2048 bits\s+\S+s\s+\S+s\s+([0-9.]+)/im, unit: 1 },
} as const;

/** `nsgx bench libos --only openssl`. */
export const openssl: Subject = {
  name: 'openssl',
  needs: [{ program: 'openssl', package: 'openssl' }],
  rounds: 4,
  figures: {
    'aes-256-gcm': { unit: 'MB/s', note: '`openssl speed`, blocks of 16 KiB' },
    sha256: { unit: 'MB/s', note: '`openssl speed`, blocks of 16 KiB' },
    'rsa2048-sign': { unit: '1/s', note: '`openssl speed`, signatures' },
  },
  begin(stage: Stage) {
    return (side: Side) =>
      figures(
        Object.fromEntries(
          Object.entries(SPEEDS).map(([name, { args, at, unit }]) => [
            name,
            () => {
              const argv = [path('openssl'), 'speed', '-elapsed', '-seconds', '1', ...args];
              return figureIn(said(stage, side, { argv }), at) / unit;
            },
          ]),
        ),
      );
  },
};

const PERL = `use Time::HiRes 'time'; my $t = time; my ($n, %h, $s) = (shift, (), 0);
for my $i (1 .. $n) { $s = ($s * 31 + $i) % 1000003; $h{$s & 1023} .= 'x' if $i % 16 == 0; $s += length($h{$s & 1023} // ''); }
printf "loop %.6f\\n", (time - $t) * 1000;`;

const PYTHON = `import sys, time
n = int(sys.argv[1])
def floats():
    x = 0.0
    for i in range(n): x = (x * 0.5 + i) / 1.0001
    return x
def objects():
    d = {}
    for i in range(n // 4):
        k = (i * 7919) % 5003
        d[k] = d.get(k, ()) [-4:] + (i,)
    return len(d)
def text():
    return sum(len(str(i).zfill(12).split('0')) for i in range(n // 4))
for f in (floats, objects, text):
    t = time.perf_counter(); f()
    print(f.__name__, (time.perf_counter() - t) * 1000)
`;

/** `nsgx bench libos --only perl`. */
export const perl: Subject = {
  name: 'perl',
  needs: [{ program: 'perl', package: 'perl' }],
  rounds: 5,
  figures: { loop: { unit: 'ms', note: 'arithmetic, strings and a hash' } },
  begin(stage: Stage, short: boolean) {
    const count = short ? 20_000 : 2_000_000;
    const library = said(stage, 'native', { argv: [path('perl'), '-MTime::HiRes', '-e', MODULES] });
    const options = library
      .split('\n')
      .filter(Boolean)
      .flatMap((file) => ['--copy', file]);
    return (side: Side) =>
      namedFigures(said(stage, side, { argv: [path('perl'), '-e', PERL, String(count)], options }));
  },
};

const MODULES =
  'print "$_\\n" for values %INC; require DynaLoader; print "$_\\n" for @DynaLoader::dl_shared_objects';

/** `nsgx bench libos --only python`. */
export const python: Subject = {
  name: 'python',
  needs: [{ program: 'python3', package: 'python3' }],
  rounds: 5,
  figures: {
    floats: { unit: 'ms', note: 'arithmetic in a loop' },
    objects: { unit: 'ms', note: 'tuples in a dictionary' },
    text: { unit: 'ms', note: 'numbers to strings and back to pieces' },
  },
  begin(stage: Stage, short: boolean) {
    const count = short ? 10_000 : 1_500_000;
    const argv = [path('python3'), '-I', '-S', '-c', PYTHON, String(count)];
    return (side: Side) => namedFigures(said(stage, side, { argv, options: pythonLibrary(stage) }));
  },
};

/** The modules that Python loads before a program: its root has nothing else. */
function pythonLibrary(stage: Stage): string[] {
  const list =
    'import sys; [print(m.__file__) for m in sys.modules.values() if getattr(m, "__file__", None)]';
  const files = said(stage, 'native', { argv: [path('python3'), '-I', '-S', '-c', list] });
  return files
    .split('\n')
    .filter(Boolean)
    .flatMap((file) => ['--copy', file]);
}
