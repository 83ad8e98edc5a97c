import { NsgxError } from '@nestedsgx/arch';
import { ControlSocket } from '@nestedsgx/guest';
import { connectUnix } from '@nestedsgx/os';
import { defaultSocketPath } from '@nestedsgx/sdk';
import type { Command } from 'commander';
import { type EnclaveRates, parseSample, rates, type Sample } from '../../top/sample.js';
import colors from '../colors.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

interface TopOptions {
  socket: string;
  once?: boolean;
  interval: string;
}

const HEADINGS = [
  'id',
  'MRENCLAVE',
  'state',
  'threads',
  'pages',
  'entries/s',
  'exits/s',
  'AEX/s by cause',
  'EPC faults/s',
  'evicted/s',
  'loaded/s',
  'leaves/s',
] as const;
const HOME_AND_CLEAR = '\u001b[H\u001b[2J';

export const topCommand: CommandModule = {
  name: 'top',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('top')
      .description('live counts for each enclave of a confidential VM')
      .option('--socket <path>', 'its socket', defaultSocketPath())
      .option('--once', 'one table over one interval, then end')
      .option('--interval <seconds>', 'seconds between two looks', '1')
      .addHelpText(
        'after',
        "\nEntries are EENTERs: ECALLs and returns from OCALLs; an enclave's host knows them apart (e.stats()).\nA host sees its own enclaves, the machine's account and root see all.\n\nExample:\n  $ nsgx top --once",
      )
      .action(act(runTop));
  },
};

async function runTop(terminal: Terminal, options: TopOptions): Promise<void> {
  const interval = Number(options.interval) * 1000;
  if (!(interval >= 50 && interval <= 3_600_000))
    throw new UsageError(`--interval wants seconds from 0.05 to 3600, not "${options.interval}"`);
  const control = connect(options.socket);
  const look = async () => parseSample((await control.request({ op: 'stats' })).body);
  try {
    let before = await look();
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, interval));
      const now = await look();
      const enclaves = rates(before, now);
      if (options.once || terminal.json) {
        terminal.answer(document(before, now, enclaves), lines(terminal, now, enclaves));
        return;
      }
      const screen = process.stdout.isTTY && process.env.TERM !== 'dumb' ? HOME_AND_CLEAR : '';
      process.stdout.write(`${screen}${lines(terminal, now, enclaves).join('\n')}\n\n`);
      before = now;
    }
  } finally {
    control.close();
  }
}

function connect(socket: string): ControlSocket {
  try {
    return new ControlSocket(connectUnix(socket));
  } catch (cause) {
    throw new NsgxError('CVM_LOST', `no confidential VM answers at ${socket}`, {
      advice: 'start one: nsgx cvm start',
      cause,
    });
  }
}

function document(before: Sample, now: Sample, enclaves: readonly EnclaveRates[]): object {
  const counts = new Map(
    now.enclaves.map(({ id, transitions, leaves, paging }) => [id, { transitions, leaves, paging }]),
  );
  return {
    seconds: (now.clock - before.clock) / 1000,
    epc: now.machine.epc,
    calls: now.machine.calls,
    leaves: now.machine.leaves,
    enclaves: enclaves.map((enclave) => ({ ...enclave, counts: counts.get(enclave.id) })),
    omitted: now.omitted ?? 0,
  };
}

function lines(terminal: Terminal, now: Sample, enclaves: readonly EnclaveRates[]): string[] {
  const { frames, used } = now.machine.epc;
  return [
    `EPC ${used} of ${frames} pages, ${now.enclaves.length + (now.omitted ?? 0)} enclaves, ${now.machine.calls} calls`,
    ...terminal.table([HEADINGS.map((heading) => colors.dim(heading)), ...enclaves.map(cells)]),
  ];
}

function cells(enclave: EnclaveRates): string[] {
  const causes = Object.entries(enclave.aex)
    .filter(([, rate]) => rate > 0)
    .map(([cause, rate]) => `${cause} ${figure(rate)}`);
  return [
    String(enclave.id),
    enclave.mrenclave === '' ? '-' : enclave.mrenclave.slice(0, 12),
    enclave.state,
    String(enclave.threads),
    String(enclave.pages),
    figure(enclave.entries),
    figure(enclave.exits),
    causes.length === 0 ? '-' : causes.join(' '),
    figure(enclave.epcFaults),
    figure(enclave.evicted),
    figure(enclave.loaded),
    figure(enclave.leaves),
  ];
}

function figure(rate: number): string {
  return rate >= 10 || rate === 0 ? String(Math.round(rate)) : rate.toFixed(1);
}
