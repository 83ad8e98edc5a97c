import type { Command } from 'commander';
import {
  ATTACK_GROUPS,
  type AttackResult,
  attacksNamed,
  guestAttacksNamed,
  runAttacks,
  runGuestAttacks,
} from '../../attacks/index.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';

interface AttackCommandOptions {
  list?: boolean;
  only?: string[];
  seed?: string;
  guest: string;
}

export const attackCommand: CommandModule = {
  name: 'attack',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('attack')
      .description('attack a fresh machine as a hostile guest would; exit 1 if anything is broken')
      .argument('[names...]', 'which attacks (default: all)')
      .option('--only <name...>', 'the same as naming them')
      .option('--list', 'say what there is, and try nothing')
      .option('--guest <kind>', 'embedded: a process; vm: a Linux kernel under QEMU', 'embedded')
      .option('--seed <number>', 'seed of what attackers do at random (default: of the clock)')
      .addHelpText('after', '\nExamples:\n  $ nsgx attack epc-read gate-scribble\n  $ nsgx attack --guest vm')
      .action(act(runAttack));
  },
};

async function runAttack(terminal: Terminal, named: string[], options: AttackCommandOptions): Promise<void> {
  const names = [...named, ...(options.only ?? [])];
  if (!['embedded', 'vm'].includes(options.guest))
    throw new UsageError(`--guest must be embedded or vm, not "${options.guest}"`);
  if (options.guest === 'vm') return attackGuest(terminal, names, options);
  const attacks = attacksNamed(names);
  if (options.list) {
    const rows = ATTACK_GROUPS.flatMap((group) =>
      attacks
        .filter((attack) => attack.group === group)
        .flatMap(({ name, title, by, tries }, i) => [
          ...(i === 0 ? [[colors.bold(group), '']] : []),
          [name, `${title} (${by})`],
          ['', colors.dim(tries)],
        ]),
    );
    const document = attacks.map(({ name, group, by, title, tries, control }) => ({
      name,
      group,
      by,
      title,
      tries,
      control,
    }));
    terminal.answer({ attacks: document }, terminal.table(rows));
    return;
  }
  const seed = seedOf(options.seed);
  const results = await runAttacks(names, {
    seed,
    onStart: (attack) => terminal.line(colors.bold(`${attack.name}: ${attack.title}`)),
    onResult: (result) => {
      for (const line of resultLines(result)) terminal.line(line);
    },
  });
  conclude(terminal, results, seed);
}

/** The attacks from inside a guest with a kernel of its own. */
async function attackGuest(
  terminal: Terminal,
  names: readonly string[],
  options: AttackCommandOptions,
): Promise<void> {
  const attacks = guestAttacksNamed(names);
  if (options.list) {
    const rows = attacks.flatMap(({ name, title, by, tries }) => [
      [name, `${title} (${by})`],
      ['', colors.dim(tries)],
    ]);
    const document = attacks.map(({ name, by, title, tries, control }) => ({
      name,
      by,
      title,
      tries,
      control,
    }));
    terminal.answer({ attacks: document }, terminal.table(rows));
    return;
  }
  const seed = seedOf(options.seed);
  const results = await runGuestAttacks(names, {
    seed,
    progress: (text) => terminal.note(`nsgx: ${text}`),
    onStart: (attack) => terminal.line(colors.bold(`${attack.name}: ${attack.title}`)),
    onResult: (result) => {
      for (const line of resultLines(result)) terminal.line(line);
    },
  });
  conclude(terminal, results, seed);
}

function conclude(terminal: Terminal, results: readonly AttackResult[], seed: number): void {
  const broken = results.filter((result) => !result.held).length;
  const held = results.length - broken;
  const attempts = results.map(({ name, group, by, as, tries, held: stood, observed }) => ({
    name,
    group,
    by,
    as,
    tries,
    held: stood,
    observed,
  }));
  const colour = broken === 0 ? colors.green : colors.red;
  terminal.answer({ attacks: attempts, held, broken, seed }, [
    '',
    colour(`${held} held, ${broken} broken (seed ${seed})`),
  ]);
  if (broken > 0) throw new Refused();
}

/** One result as the command and the tour print it. */
export function resultLines({ as, held, observed }: AttackResult): string[] {
  const verdict = held ? colors.green('held') : colors.red('BROKEN');
  return [`  ${verdict}  ${colors.dim(`as ${as}`)}`, `        ${observed}`];
}

function seedOf(text: string | undefined): number {
  const seed = text === undefined ? Date.now() % 2 ** 31 : Number(text);
  if (Number.isSafeInteger(seed) && seed >= 0) return seed;
  throw new UsageError(`--seed must be a number from 0 on, not "${text}"`);
}
