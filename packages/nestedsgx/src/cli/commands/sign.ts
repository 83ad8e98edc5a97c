import { writeFileSync } from 'node:fs';
import { mrsigner, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { attachSignature, type SignOptions, signingDigest } from '@nestedsgx/image';
import {
  imageFilePaths,
  loadImageFiles,
  loadPublicModulus,
  loadSigningKey,
  signImage,
} from '@nestedsgx/image/node';
import type { Command } from 'commander';
import { hex, readLimited } from '../files.js';
import { askPassphrase } from '../passphrase.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { readSigningConfiguration } from '../signing-configuration.js';
import { type Terminal, UsageError } from '../terminal.js';

const KEY_LIMIT = 64 * 1024;

interface SignCommandOptions {
  key?: string;
  config?: string;
  out?: string;
  printDigest?: boolean;
  signature?: string;
  date?: string;
}

export const signCommand: CommandModule = {
  name: 'sign',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('sign')
      .description('sign an enclave image: writes its SIGSTRUCT (NAME.sig)')
      .argument('<image>', 'NAME.sgxs')
      .option('--key <pem>', 'RSA-3072 key with exponent 3, PEM; with --signature, its public half')
      .option('--config <file>', 'signing configuration, JSON (isvProdId, isvSvn, debug, attributes, …)')
      .option('--out <file>', 'where the signature goes (default: NAME.sig)')
      .option(
        '--date <yyyymmdd>',
        'date of signing (default: today); both steps of two-step signing need the same',
      )
      .option('--print-digest', 'first of two steps: print what a key kept elsewhere has to sign')
      .option('--signature <file>', 'second of two steps: the 384 bytes that the key made')
      .addHelpText(
        'after',
        '\nExample:\n  $ openssl genrsa -3 -out key.pem 3072\n  $ nsgx sign hello.sgxs --key key.pem\n\nAn encrypted key asks for its passphrase, or takes it from NSGX_KEY_PASSPHRASE.',
      )
      .action(act(runSign));
  },
};

function runSign(terminal: Terminal, path: string, options: SignCommandOptions): void {
  const image = loadImageFiles({ sgxs: imageFilePaths(path).sgxs });
  const signOptions: SignOptions = { ...readSigningConfiguration(options.config), date: options.date };
  if (options.printDigest) {
    const { data, digest, mrenclave } = signingDigest(nodeHash, image, signOptions);
    terminal.answer({ mrenclave: hex(mrenclave), digest: hex(digest), data: hex(data) }, [
      `mrenclave  ${hex(mrenclave)}`,
      `digest     ${hex(digest)}`,
      'Sign it with RSA PKCS#1 v1.5 and SHA-256, then give the result with --signature and the public key with --key.',
    ]);
    return;
  }
  if (options.key === undefined)
    throw new UsageError('give the signing key with --key, or ask with --print-digest');
  const pem = readLimited(options.key, KEY_LIMIT, 'key');
  const sigstruct =
    options.signature === undefined
      ? signImage(image, loadSigningKey(pem, askPassphrase), signOptions)
      : attachSignature(
          nodeHash,
          signingDigest(nodeHash, image, signOptions).unsigned,
          loadPublicModulus(pem),
          readLimited(options.signature, KEY_LIMIT, 'signature'),
        );
  const out = options.out ?? imageFilePaths(path).sig;
  writeFileSync(out, sigstruct);
  const fields = SIGSTRUCT.decode(sigstruct);
  const signer = hex(mrsigner(nodeHash, fields.MODULUS));
  terminal.answer({ signature: out, mrenclave: hex(fields.ENCLAVEHASH), mrsigner: signer }, [
    `signature  ${out}`,
    `mrenclave  ${hex(fields.ENCLAVEHASH)}`,
    `mrsigner   ${signer}`,
  ]);
}
