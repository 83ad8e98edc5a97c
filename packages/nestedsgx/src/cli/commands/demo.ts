import type { Command } from 'commander';
import { adversary } from '../../demo/steps/adversary.js';
import { attest } from '../../demo/steps/attest.js';
import { buildAndSign, callEnclave } from '../../demo/steps/enclave.js';
import { figures } from '../../demo/steps/figures.js';
import { launchMachine } from '../../demo/steps/launch.js';
import { runThisMachines } from '../../demo/steps/program.js';
import { sealAndRestart } from '../../demo/steps/seal.js';
import { Tour } from '../../demo/tour.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal } from '../terminal.js';

export const demoCommand: CommandModule = {
  name: 'demo',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('demo')
      .description('the tour: launch, build, sign, load, call, seal, attest, and a guest that attacks')
      .option('--no-attacks', 'leave the attacking guest out')
      .addHelpText('after', '\nExample:\n  $ nsgx demo')
      .action(act(runDemo));
  },
};

async function runDemo(terminal: Terminal, options: { attacks: boolean }): Promise<void> {
  terminal.line(
    colors.bold('NestedSGX: SGX enclaves inside a confidential VM, in software, on this machine'),
  );
  await using tour = new Tour(terminal);
  const first = await launchMachine(tour);
  const images = await buildAndSign(tour);
  const calc = await callEnclave(tour, first, images);
  const restarted = await sealAndRestart(tour, first, calc, images);
  await attest(tour, restarted, images);
  await runThisMachines(tour, restarted);
  await figures(tour, restarted, images);
  if (options.attacks) await adversary(tour);

  const seconds = ((performance.now() - tour.startedMs) / 1000).toFixed(1);
  const wrong = tour.lines.filter((line) => !line.ok);
  terminal.line(
    `\n${wrong.length === 0 ? colors.green('All as it must be') : colors.red(`${wrong.length} lines NOT as they must be`)} (${seconds} s)`,
  );
  terminal.line(`\nEvidence, policy and enclave are in ${tour.folder}. Try:`);
  terminal.line(`  npx nsgx verify ${tour.folder}/evidence.bin --policy ${tour.folder}/policy.json`);
  terminal.line('  npx nsgx new hello && npx nsgx build hello && npx nsgx run hello add 2 3');
  terminal.line('  npx nsgx bench transitions');
  if (terminal.json) terminal.answer({ ok: tour.ok, folder: tour.folder, lines: tour.lines }, []);
  if (!tour.ok) throw new Refused();
}
