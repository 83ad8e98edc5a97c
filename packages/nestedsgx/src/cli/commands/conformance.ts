import { writeFileSync } from 'node:fs';
import {
  ALL_CASES,
  type CaseResult,
  conformanceDocument,
  LinuxPlatform,
  type Platform,
  runSuite,
  SoftwarePlatform,
  type Verdict,
} from '@nestedsgx/conformance';
import type { Command } from 'commander';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';

interface ConformanceOptions {
  platform: string;
  list?: boolean;
  document?: string;
}

export const conformanceCommand: CommandModule = {
  name: 'conformance',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('conformance')
      .description('hold leaf functions against the manual, here or on real hardware; exit 1 if one fails')
      .argument('[leaves...]', 'cases of these leaf functions only (EACCEPT), or single ones (EACCEPT.twice)')
      .option('--platform <name>', '"software", or the path of an SGX device', 'software')
      .option('--list', 'say what there is, and try nothing')
      .option('--document <file>', 'write the document of checks, cases and deviations')
      .addHelpText('after', '\nExample:\n  $ nsgx conformance --platform /dev/sgx_enclave')
      .action(act(runConformance));
  },
};

const COLOUR: Readonly<Record<Verdict, (text: string) => string>> = {
  passed: colors.green,
  failed: colors.red,
  deviation: colors.yellow,
  skipped: colors.dim,
};

async function runConformance(
  terminal: Terminal,
  names: string[],
  options: ConformanceOptions,
): Promise<void> {
  if (options.document !== undefined) {
    writeFileSync(options.document, conformanceDocument(ALL_CASES));
    terminal.answer({ document: options.document }, `wrote ${options.document}`);
    return;
  }
  const cases = casesNamed(names);
  if (options.list) {
    const plain = cases.map(({ leaf, id, title }) => ({ leaf, id, title }));
    terminal.answer(
      { cases: plain },
      terminal.table(plain.map((one) => [`${one.leaf}.${one.id}`, one.title])),
    );
    return;
  }
  const platform = await openPlatform(options.platform);
  let results: CaseResult[];
  try {
    results = await runSuite(platform, {
      cases,
      onResult: ({ leaf, id, title, verdict, detail }) => {
        terminal.line(`${COLOUR[verdict](verdict.padEnd(9))}  ${leaf}.${id}  ${title}`);
        if (detail !== '') terminal.line(colors.dim(`           ${detail}`));
      },
    });
  } finally {
    await platform.close();
  }
  const counts: Record<Verdict, number> = { passed: 0, failed: 0, deviation: 0, skipped: 0 };
  for (const { verdict } of results) counts[verdict]++;
  const { passed, failed, deviation, skipped } = counts;
  terminal.answer({ platform: platform.name, cases: results, ...counts }, [
    '',
    COLOUR[failed > 0 ? 'failed' : 'passed'](
      `${platform.name}: ${passed} passed, ${failed} failed, ${deviation} documented deviations, ${skipped} skipped`,
    ),
  ]);
  if (failed > 0) throw new Refused();
}

function casesNamed(names: readonly string[]) {
  for (const name of names)
    if (!ALL_CASES.some(({ leaf, id }) => name === leaf || name === `${leaf}.${id}`))
      throw new UsageError(`there is no leaf or case "${name}"; nsgx conformance --list names them`);
  if (names.length === 0) return ALL_CASES;
  return ALL_CASES.filter(({ leaf, id }) => names.includes(leaf) || names.includes(`${leaf}.${id}`));
}

function openPlatform(name: string): Promise<Platform> | Platform {
  return name === 'software' ? SoftwarePlatform.launch() : new LinuxPlatform(name);
}
