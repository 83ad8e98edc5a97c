import { isBuiltSharedObject } from '@nestedsgx/enclave';
import { isElfFile, readSharedObjectFile } from '@nestedsgx/image/node';
import type { Command } from 'commander';
import type { ActionWrapper, CommandModule } from '../program.js';
import { signBuiltSharedObject } from '../sign/built.js';
import { signSgxs } from '../sign/sgxs.js';
import { signSharedObjectFile } from '../sign/shared-object.js';
import type { SignCommandOptions } from '../sign/two-step.js';
import { type Terminal, UsageError } from '../terminal.js';

const HELP = `
Examples:
  $ openssl genrsa -3 -out key.pem 3072
  $ nsgx sign hello.sgxs --key key.pem
  $ nsgx sign enclave.so --config Enclave.config.xml --key key.pem

With a key that is kept elsewhere:
  $ nsgx sign enclave.so --config Enclave.config.xml --print-digest --out enclave.unsigned
  $ openssl dgst -sha256 -sign key.pem -out enclave.sig enclave.unsigned
  $ nsgx sign enclave.so --config Enclave.config.xml --unsigned enclave.unsigned --signature enclave.sig --public-key public.pem

An encrypted key asks for its passphrase, or takes it from NSGX_KEY_PASSPHRASE.`;

export const signCommand: CommandModule = {
  name: 'sign',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('sign')
      .description(
        'sign an enclave: writes NAME.sig for NAME.sgxs, NAME.signed.so for an enclave of Intel’s SDK',
      )
      .argument('<image>', 'NAME.sgxs, or a shared object linked with Intel’s SDK')
      .option('--key <pem>', 'RSA-3072 key with exponent 3, PEM')
      .option(
        '--config <file>',
        'signing configuration: JSON for NAME.sgxs, Enclave.config.xml for a shared object',
      )
      .option('--out <file>', 'where the result goes (default: NAME.sig, NAME.signed.so)')
      .option(
        '--date <yyyymmdd>',
        'date of signing (default: today); both steps of two-step signing need the same',
      )
      .option(
        '--print-digest',
        'first of two steps: print what a key kept elsewhere has to sign; --out writes it',
      )
      .option('--signature <file>', 'second of two steps: the 384 bytes that the key made')
      .option('--public-key <pem>', 'second of two steps: the public half of the key')
      .option(
        '--unsigned <file>',
        'second of two steps: what the first wrote; gives the date and is compared',
      )
      .option('--resign', 'shared object: replace the metadata of an enclave that is signed already')
      .option('--ignore-rel-error', 'shared object: allow relocations in code, which become writable pages')
      .option('--ignore-init-sec-error', 'shared object: allow a section .init, which is never called')
      .addHelpText('after', HELP)
      .action(act(runSign));
  },
};

function runSign(terminal: Terminal, path: string, options: SignCommandOptions): void {
  if (options.printDigest && (options.signature !== undefined || options.unsigned !== undefined))
    throw new UsageError('--print-digest is the first step, --signature and --unsigned are of the second');
  if (options.signature === undefined && (options.publicKey !== undefined || options.unsigned !== undefined))
    throw new UsageError('--public-key and --unsigned belong to --signature');
  if (options.unsigned !== undefined && options.date !== undefined)
    throw new UsageError('--unsigned gives the date: leave out --date');
  if (isElfFile(path)) {
    const bytes = readSharedObjectFile(path);
    if (isBuiltSharedObject(bytes)) {
      signBuiltSharedObject(terminal, path, bytes, options);
      return;
    }
    signSharedObjectFile(terminal, path, options);
    return;
  }
  if (options.resign || options.ignoreRelError || options.ignoreInitSecError)
    throw new UsageError('--resign, --ignore-rel-error and --ignore-init-sec-error are for shared objects');
  signSgxs(terminal, path, options);
}
