import { dirname, join } from 'node:path';
import { Cvm, defaultSocketPath, defaultStateDir, launchCvm, makeDirectories } from '@nestedsgx/sdk';
import { Command } from 'commander';
import { fieldLines } from '../fields.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

const MIB = 2 ** 20;

export const cvmCommand: CommandModule = {
  name: 'cvm',
  register(program: Command, act: ActionWrapper): void {
    const cvm = program
      .command('cvm')
      .description('a long-lived confidential VM behind a Unix socket')
      .addHelpText('after', '\nExamples:\n  $ nsgx cvm start\n  $ nsgx cvm ps\n  $ nsgx cvm stop');
    const common = (command: Command) => {
      cvm.addCommand(command.option('--socket <path>', 'its socket', defaultSocketPath()));
      command.option('--json', 'print one JSON document on stdout and nothing else');
      command.option('--verbose', 'with an error, print its causes');
      command.exitOverride();
    };
    common(
      new Command('start')
        .description('start one; it lives until nsgx cvm stop')
        .option(
          '--service',
          'the separate-user deployment: serves other users of its group, never its own account',
        )
        .option('--ram <mib>', 'guest RAM in MiB', '1024')
        .option('--epc <mib>', 'EPC in MiB (default: half of the RAM of this machine)')
        .option('--no-patch', 'let every ENCLU trap instead of rewriting its site')
        .option(
          '--launch-signer <mrsigner...>',
          'accept enclaves of these signers only (default: any signer)',
        )
        .addHelpText(
          'after',
          '\nExample:\n  $ nsgx cvm start\n  $ nsgx cvm info\n  $ nsgx cvm stop\n\nFor --service use an account of its own, for example a systemd unit with User=nestedsgx and Group= a group of the users.',
        )
        .action(act(start)),
    );
    common(
      new Command('info')
        .description('launch digest, root fingerprint, isolation, components')
        .action(act(info)),
    );
    common(new Command('ps').description('its enclaves').action(act(ps)));
    common(new Command('stop').description('end it, with all its enclaves').action(act(stop)));
  },
};

interface StartOptions {
  socket: string;
  service?: boolean;
  ram: string;
  epc?: string;
  patch: boolean;
  launchSigner?: string[];
}

async function start(terminal: Terminal, options: StartOptions): Promise<void> {
  const stateDir = defaultStateDir();
  makeDirectories(dirname(options.socket), options.service ? 0o750 : 0o700);
  const launched = await terminal.progress('launching', () =>
    launchCvm({
      lifetime: 'service',
      stateDir,
      isolation: options.service ? 'separate-user' : 'same-user',
      listen: { path: options.socket, mode: options.service ? 0o660 : 0o600 },
      stderr: { file: join(stateDir, 'cvm.log') },
      ramBytes: mebibytes(options.ram, '--ram'),
      epcBytes: options.epc === undefined ? undefined : mebibytes(options.epc, '--epc'),
      patch: options.patch,
      launchSigners: options.launchSigner ?? [],
    }),
  );
  const { pid, launchDigest } = launched;
  launched.control.close();
  terminal.answer({ pid, socket: options.socket, launchDigest }, [
    `pid            ${pid}`,
    `socket         ${options.socket}`,
    `launch digest  ${launchDigest}`,
  ]);
}

function mebibytes(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value <= 0)
    throw new UsageError(`${option} wants a whole number of MiB, not "${text}"`);
  return value * MIB;
}

async function info(terminal: Terminal, options: { socket: string }): Promise<void> {
  await using cvm = await Cvm.connect(options.socket);
  const document = await cvm.info();
  terminal.answer(document, fieldLines(document));
}

async function ps(terminal: Terminal, options: { socket: string }): Promise<void> {
  await using cvm = await Cvm.connect(options.socket);
  const enclaves = await cvm.ps();
  const columns = ['id', 'pid', 'state', 'threads', 'pages', 'mrenclave'];
  const rows = enclaves.map((enclave) => columns.map((column) => String(enclave[column] ?? '-')));
  terminal.answer({ enclaves }, enclaves.length === 0 ? ['no enclaves'] : terminal.table([columns, ...rows]));
}

async function stop(terminal: Terminal, options: { socket: string }): Promise<void> {
  const cvm = await Cvm.connect(options.socket);
  await cvm.stop();
  terminal.answer({ stopped: true }, 'stopped');
}
