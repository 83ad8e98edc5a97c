/** `nsgx image`: images of programs for `nsgx exec`. */
import { statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import {
  buildAppImage,
  type ImageSpec,
  inspectAppImage,
  isEntryPoint,
  mergeSpecs,
  parseCopy,
  parseSize,
  readOcclum,
  readSpec,
  sizeFault,
  withDefaults,
} from '@nestedsgx/libos';
import { defaultStateDir } from '@nestedsgx/sdk';
import { Command } from 'commander';
import { execKey } from '../exec-key.js';
import { inspectedLines } from '../image-lines.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type StoreKeyOptions, storeKeyOf, withStoreKey } from '../store-options.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';

const BUILD_HELP = `
Arguments behind -- are those of the program. They are fixed, unless --arg-policy says otherwise: prefix lets the host add
more, any takes them where the host gives none.

Examples:
  $ nsgx image build -o redis.img --entry /usr/bin/redis-server --deb redis-server -- --port 7000
  $ nsgx image build -o app.img --dir ./rootfs --entry /bin/app --env MODE=production --env LOG_LEVEL
  $ nsgx image build -o app.img --occlum Occlum.json --entry /bin/app
  $ nsgx image build -o app.img --spec app.yaml`;

interface BuildOptions extends StoreKeyOptions {
  output: string;
  entry?: string;
  copy: string[];
  deb: string[];
  dir?: string;
  spec?: string;
  occlum?: string;
  env: string[];
  argPolicy?: string;
  memory?: string;
  jit?: boolean;
  hostSignals: boolean;
  files?: string;
  stack?: string;
  productId?: string;
  svn?: string;
  debug: boolean;
  key?: string;
  date?: string;
}

export const imageCommand: CommandModule = {
  name: 'image',
  register(program: Command, act: ActionWrapper): void {
    const image = program
      .command('image')
      .description('images of programs for nsgx exec: build, inspect')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx image build -o ls.img --entry /bin/ls\n  $ nsgx image inspect ls.img',
      );
    const common = (command: Command) => {
      image.addCommand(command);
      command.option('--json', 'print one JSON document on stdout and nothing else');
      command.option('--verbose', 'with an error, print its causes');
      command.exitOverride();
    };
    common(buildCommand(act));
    common(
      new Command('inspect')
        .description('check an image wholly; print measurement, signer, policy and files')
        .argument('<image>')
        .addHelpText('after', '\nExample:\n  $ nsgx image inspect redis.img')
        .action(act(runInspect)),
    );
  },
};

function buildCommand(act: ActionWrapper): Command {
  const all = (value: string, list: string[]) => [...list, value];
  const build = new Command('build')
    .description('collect a program with its libraries and files into one signed image')
    .argument('[arguments...]', 'arguments of the program, behind --')
    .requiredOption('-o, --output <file>', 'the image')
    .option('--entry <path>', 'the program, by its path in the root')
    .option('--copy <src[:dst]>', 'a file or folder for the root; may be repeated', all, [])
    .option('--deb <package>', 'files of an installed package, or of a .deb file; may be repeated', all, [])
    .option('--dir <folder>', 'a folder that is the root, in the place of this machine')
    .option('--spec <file>', 'YAML or JSON that says all this')
    .option('--occlum <file>', 'Occlum.json; a folder "image" beside it is the root')
    .option(
      '--env <name[=value]>',
      'a variable, or the name of one that the host may give; may be repeated',
      all,
      [],
    )
    .option('--arg-policy <policy>', 'any, fixed or prefix')
    .option('--memory <size>', 'memory that it can allocate, such as 256M (default: 64M)')
    .option('--files <size>', 'memory for files that it writes, and for the library OS (default: 32M)')
    .option('--stack <size>', 'its stack (default: 8M)')
    .option(
      '--store </path>',
      'keep what it writes below this folder, encrypted, where nsgx exec --store says',
    );
  return withStoreKey(build)
    .option('--no-host-signals', 'ignore signals of its host')
    .option('--jit', 'let it execute what it has written: JIT compilers')
    .option('--product-id <n>', 'ISVPRODID')
    .option('--svn <n>', 'ISVSVN')
    .option('--no-debug', 'sign it so that it cannot be loaded for debugging')
    .option('--key <pem>', 'signing key (default: one of its own in the state directory)')
    .option('--date <yyyymmdd>', 'date of signing (default: SOURCE_DATE_EPOCH, else 20000101)')
    .addHelpText('after', BUILD_HELP)
    .action(act(runBuild));
}

function size(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  const fault = sizeFault(text);
  if (fault !== undefined) throw new UsageError(`${option} ${fault}`);
  return parseSize(text);
}

function number(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,5}$/.test(text) || Number(text) > 65535)
    throw new UsageError(`${option} is a number up to 65535, not "${text}"`);
  return Number(text);
}

/** What the command line says; undefined fields leave it to the files. */
function specOfOptions(args: readonly string[], options: BuildOptions): ImageSpec {
  const { argPolicy: policy } = options;
  if (policy !== undefined && policy !== 'any' && policy !== 'fixed' && policy !== 'prefix')
    throw new UsageError(`--arg-policy is any, fixed or prefix, not "${policy}"`);
  const key = storeKeyOf(options);
  return {
    entry: options.entry,
    copy: options.copy.map((text) => parseCopy(text)),
    packages: options.deb,
    root: options.dir === undefined ? undefined : resolve(options.dir),
    arguments: {
      ...(policy === undefined ? {} : { policy }),
      ...(args.length === 0 ? {} : { values: args }),
    },
    environment: {
      set: options.env.filter((text) => text.includes('=')),
      pass: options.env.filter((text) => !text.includes('=')),
    },
    memory: size(options.memory, '--memory'),
    files: size(options.files, '--files'),
    stack: size(options.stack, '--stack'),
    jit: options.jit,
    store: options.store === undefined ? undefined : { path: options.store, key },
    hostSignals: options.hostSignals ? undefined : false,
    productId: number(options.productId, '--product-id'),
    svn: number(options.svn, '--svn'),
    debug: options.debug ? undefined : false,
  };
}

async function runBuild(terminal: Terminal, args: string[], options: BuildOptions): Promise<void> {
  let spec: ImageSpec = { copy: [], packages: [] };
  const note = (text: string) => terminal.note(`nsgx: ${text}`);
  let entryPoints: readonly string[] = [];
  if (options.occlum !== undefined) {
    const occlum = readOcclum(options.occlum);
    spec = occlum.spec;
    entryPoints = occlum.entryPoints;
    for (const text of occlum.ignored) note(`${options.occlum}: not used: ${text}`);
  }
  if (options.spec !== undefined) spec = mergeSpecs(spec, readSpec(options.spec));
  spec = withDefaults(mergeSpecs(spec, specOfOptions(args, options)));
  if (spec.entry === undefined) throw new UsageError('name the program with --entry, or in --spec');
  if (!isEntryPoint(spec.entry, entryPoints))
    throw new UsageError(
      `${options.occlum} lets programs be started from ${entryPoints.join(', ')}; ${spec.entry} is not there`,
    );
  const path = options.output;
  const { program } = await terminal.progress('building', async () =>
    buildAppImage(path, spec, {
      key: await execKey(options.key),
      cache: join(defaultStateDir(), 'sites'),
      onNote: note,
      date: options.date,
    }),
  );
  const { mrenclave, mrsigner } = inspectAppImage(path);
  const { rewritten, trapping } = program;
  const bytes = statSync(path).size;
  terminal.answer({ image: path, bytes, mrenclave, mrsigner, rewritten, trapping }, [
    `image      ${path}, ${(bytes / 2 ** 20).toFixed(1)} MiB`,
    `mrenclave  ${mrenclave}`,
    `mrsigner   ${mrsigner}`,
    `calls      ${rewritten} system calls jump, ${trapping} trap`,
  ]);
}

function runInspect(terminal: Terminal, path: string): void {
  const found = inspectAppImage(path);
  terminal.answer(found, inspectedLines(found, terminal));
  if (found.damage.length > 0) throw new Refused();
}
