/** `nsgx keyserver`: gives keys of stores to programs whose evidence it accepts. */
import { randomBytes } from 'node:crypto';
import { statSync, writeFileSync } from 'node:fs';
import { NsgxError } from '@nestedsgx/arch';
import { collateralFromFiles } from '@nestedsgx/attest';
import { MAX_FILE_BYTES } from '@nestedsgx/verifier';
import type { Command } from 'commander';
import { type KeyDecision, KeyServer, listen, Master, parseRulesText } from '../../keyserver/index.js';
import { readDirectory, readLimited } from '../files.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { parseAddress } from '../store-options.js';
import { type Terminal, UsageError } from '../terminal.js';

const MASTER_LIMIT = 4096;
const POLICY_LIMIT = 1 << 20;
/** Rights that nobody but the owner, and a group that reads, may have. */
const TOO_OPEN = 0o027;

interface KeyServerCommandOptions {
  listen?: string;
  policy?: string;
  master: string;
  new?: boolean;
  collateral?: string;
}

export const keyserverCommand: CommandModule = {
  name: 'keyserver',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('keyserver')
      .description(
        'give keys of stores to programs in enclaves that a policy accepts (nsgx exec --provision)',
      )
      .requiredOption(
        '--master <file>',
        'the secret that all keys come of: 32 bytes, or 64 hexadecimal digits',
      )
      .option('--new', 'make the secret first; the file must not be there yet')
      .option('--policy <file>', 'which enclaves get which keys: {"version": 1, "keys": {NAME: POLICY}}')
      .option('--listen <host:port>', 'serve there until a signal; without it, the public key is printed')
      .option('--collateral <dir>', 'certificates and lists that evidence does not carry')
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx keyserver --master master.key --new' +
          '\n  $ nsgx keyserver --master master.key --policy keys.json --listen 0.0.0.0:7300' +
          '\n  $ nsgx exec --store ./data --store-key provisioned --key-server 02… --key-name redis --provision HOST:7300 redis-server' +
          '\n\nWho has the secret has all keys, and is this server: keep it where nobody else reads it, and a copy of it, since stores' +
          '\nare lost with it. Policies are those of nsgx verify (docs/ATTESTATION.md). Each decision is a line on stderr.',
      )
      .action(act(runKeyServer));
  },
};

function makeMaster(path: string): void {
  try {
    writeFileSync(path, `${randomBytes(32).toString('hex')}\n`, { flag: 'wx', mode: 0o600 });
  } catch (cause) {
    const known = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    throw new UsageError(
      `${path} cannot be made: ${known ? 'it is there already' : (cause as Error).message}`,
    );
  }
}

/** @throws KEY_MASTER_INVALID for a file that others can read, or with something else in it */
function readMasterFile(path: string): Uint8Array {
  const bytes = readLimited(path, MASTER_LIMIT, 'the master secret');
  if ((statSync(path).mode & TOO_OPEN) !== 0)
    throw new NsgxError('KEY_MASTER_INVALID', `other accounts can read or change ${path}`, {
      advice: `Run chmod 600 ${path}; if somebody may have read it, make a new one, and new stores.`,
    });
  return bytes;
}

/** A decision as a line of the log. */
function lineOf({ given, name, reason, mrenclave, mrsigner }: KeyDecision): string {
  const who = mrenclave === undefined ? '' : ` mrenclave ${mrenclave} mrsigner ${mrsigner}`;
  const why = reason === undefined ? '' : `: ${reason.replace(/[^\x20-\x7e]+/g, ' ')}`;
  return `${new Date().toISOString()} ${given ? 'given' : 'refused'}${name === undefined ? '' : ` ${name}`}${who}${why}`;
}

async function runKeyServer(terminal: Terminal, options: KeyServerCommandOptions): Promise<void> {
  const address = options.listen === undefined ? undefined : parseAddress(options.listen, '--listen');
  if (address !== undefined && options.policy === undefined)
    throw new UsageError('--listen wants --policy: which enclaves get which keys');
  if (options.new) makeMaster(options.master);
  const master = readMasterFile(options.master);
  if (address === undefined) {
    if (options.policy !== undefined) parseRulesText(textOf(options.policy));
    const { publicKey } = new Master(master);
    return terminal.answer({ publicKey }, publicKey);
  }
  const onDecision = (decision: KeyDecision) =>
    terminal.note(
      terminal.json ? JSON.stringify({ time: new Date().toISOString(), ...decision }) : lineOf(decision),
    );
  const keys = new KeyServer({
    master,
    rules: parseRulesText(textOf(options.policy!)),
    collateral:
      options.collateral === undefined
        ? undefined
        : collateralFromFiles(readDirectory(options.collateral, MAX_FILE_BYTES, 'collateral')),
    onDecision,
  });
  const server = await listen(keys, { ...address, onDecision });
  const { port } = server.address() as { port: number };
  terminal.answer({ publicKey: keys.publicKey, host: address.host, port }, [
    `public key  ${keys.publicKey}`,
    `listening   ${address.host}:${port}`,
  ]);
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve());
  });
  server.close();
}

function textOf(path: string): string {
  return new TextDecoder().decode(readLimited(path, POLICY_LIMIT, 'the policy'));
}
