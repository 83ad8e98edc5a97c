import { SNP_PRODUCTS, type SnpProduct } from '@nestedsgx/attest';
import {
  type CollateralFiles,
  type FetchOptions,
  type FetchResult,
  fetchCollateral,
  readCollateralDirectory,
  writeCollateralDirectory,
} from '@nestedsgx/verifier';
import { Argument, type Command, Option } from 'commander';
import { readLimited } from '../files.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

const EVIDENCE_LIMIT = 1 << 20;

interface Options {
  out: string;
  kds?: string;
  pccs?: string;
  product?: SnpProduct;
  tcb?: 'standard' | 'early';
  authorities?: boolean;
  refresh?: boolean;
}

export const collateralCommand: CommandModule = {
  name: 'collateral',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('collateral')
      .description(
        "fetch what evidence does not carry from AMD's or Intel's service, into a directory for nsgx verify",
      )
      .addArgument(new Argument('<action>', 'what to do').choices(['fetch']))
      .argument('<evidence>', "a raw SNP report, a DCAP quote, or this system's quote of AMD hardware")
      .requiredOption('--out <dir>', 'the directory; files in it that still serve are kept')
      .option('--kds <url>', "ask this in place of AMD's service")
      .option('--pccs <url>', "ask this PCCS in place of Intel's service")
      .addOption(new Option('--product <name>', 'of an SNP report that does not tell').choices(SNP_PRODUCTS))
      .addOption(
        new Option('--tcb <update>', "which of Intel's TCB information").choices(['standard', 'early']),
      )
      .option('--authorities', "fetch AMD's ASK (ASVK) and ARK too, which are built in")
      .option('--refresh', 'fetch also what still serves')
      .addHelpText(
        'after',
        "\nA subscription key of Intel's is taken from NSGX_PCS_KEY; only PCK certificates need one.\n" +
          '\nExample:\n  $ nsgx collateral fetch report.bin --out collateral\n' +
          '  $ nsgx verify report.bin --collateral collateral --policy policy.json',
      )
      .action(act(fetchCommand));
  },
};

async function fetchCommand(
  terminal: Terminal,
  _action: string,
  path: string,
  options: Options,
): Promise<void> {
  const evidence = readLimited(path, EVIDENCE_LIMIT, 'evidence');
  const { kds, pccs, product, tcb, authorities } = options;
  const result = await run(terminal, evidence, {
    kds,
    pccs,
    product,
    tcbUpdate: tcb,
    authorities,
    have: options.refresh === true ? undefined : readCollateralDirectory(options.out),
  });
  save(options.out, result);
  const { fetched, kept, missing } = result;
  terminal.answer(
    { fetched, kept, missing },
    terminal.table([
      ...fetched.map(({ file, url }) => [file, 'fetched', url]),
      ...kept.map((file) => [file, 'kept', 'still in force']),
      ...missing.map(({ file, reason }) => [file, 'missing', reason]),
    ]),
  );
}

/**
 * Fetches what `evidence` lacks; with a directory, from there first (what serves at `time`) and into it.
 * @throws VerifierError, AttestError
 */
export async function gather(
  terminal: Terminal,
  evidence: Uint8Array,
  { directory, kds, pccs, time }: { directory?: string; kds?: string; pccs?: string; time?: number },
): Promise<CollateralFiles> {
  const have = directory === undefined ? undefined : readCollateralDirectory(directory);
  const result = await run(terminal, evidence, { kds, pccs, have, time });
  if (directory !== undefined) save(directory, result);
  for (const { file, reason } of result.missing) terminal.note(`${file} is not to be had: ${reason}`);
  return result.files;
}

async function run(terminal: Terminal, evidence: Uint8Array, options: FetchOptions): Promise<FetchResult> {
  if (options.kds === '' || options.pccs === '') throw new UsageError('an address must not be empty');
  return terminal.progress('fetching collateral', () =>
    fetchCollateral(evidence, {
      ...options,
      subscriptionKey: process.env['NSGX_PCS_KEY'] || undefined,
      onRetry: (url, reason, delay) =>
        terminal.note(`${url}: ${reason}; again in ${(delay / 1000).toFixed(1)} s`),
    }),
  );
}

function save(directory: string, { files, fetched }: FetchResult): void {
  const fresh = fetched.map(({ file }) => [file, files.get(file)!] as const);
  writeCollateralDirectory(directory, new Map(fresh));
}
