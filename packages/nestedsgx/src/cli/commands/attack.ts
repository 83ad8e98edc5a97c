import type { Command } from 'commander';
import { ATTACK_GROUPS, type AttackResult, attacksNamed, runAttacks } from '../../attacks/index.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';

interface AttackCommandOptions {
  list?: boolean;
  only?: string[];
  seed?: string;
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
      .option('--seed <number>', 'seed of what attackers do at random (default: of the clock)')
      .addHelpText('after', '\nExample:\n  $ nsgx attack epc-read gate-scribble')
      .action(act(runAttack));
  },
};

async function runAttack(terminal: Terminal, named: string[], options: AttackCommandOptions): Promise<void> {
  const names = [...named, ...(options.only ?? [])];
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
