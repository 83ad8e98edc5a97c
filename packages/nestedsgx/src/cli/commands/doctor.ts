import type { Command } from 'commander';
import { machineProbes } from '../../doctor/probes.js';
import { examine, type Report } from '../../doctor/report.js';
import type { Row } from '../../doctor/row.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal } from '../terminal.js';

export const doctorCommand: CommandModule = {
  name: 'doctor',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('doctor')
      .description(
        'what this machine offers and what each missing thing costs; exit 1 if enclaves cannot run',
      )
      .addHelpText('after', '\nExample:\n  $ nsgx doctor')
      .action(act(runDoctor));
  },
};

async function runDoctor(terminal: Terminal): Promise<void> {
  const report = await terminal.progress('examining the machine', () => examine(machineProbes()));
  terminal.answer(report, reportLines(terminal, report));
  if (!report.canRun) throw new Refused();
}

/** The report for people: one aligned line per row; under a missing one its cost and cure; and the verdict. */
export function reportLines(terminal: Terminal, report: Report): string[] {
  const table = terminal.table(report.rows.map((row) => [row.id, statusText(row), row.found]));
  const lines = report.rows.flatMap((row, at) => [
    table[at]!,
    ...(row.cost === undefined ? [] : [`    costs: ${row.cost}`]),
    ...(row.cure === undefined ? [] : [`    cure:  ${row.cure}`]),
  ]);
  const gaps = report.rows.filter((row) => row.status === 'missing').length;
  const verdict = report.canRun
    ? colors.green(gaps === 0 ? 'enclaves run here' : `enclaves run here, with ${gaps} of the above missing`)
    : colors.red('enclaves cannot run here');
  return [...lines, verdict];
}

function statusText(row: Row): string {
  if (row.status === 'ok') return colors.green('ok');
  if (row.status === 'info') return colors.dim('info');
  return row.needed ? colors.red('MISSING') : colors.yellow('missing');
}
