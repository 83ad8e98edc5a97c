import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildEdlEnclave,
  buildEnclave,
  type EnclaveDescription,
  readProject,
  signOptionsOf,
} from '@nestedsgx/enclave';
import { imageFilePaths, loadImageFiles, signImage } from '@nestedsgx/image/node';
import type { Command } from 'commander';
import { readLimited } from '../files.js';
import { askPassphrase } from '../passphrase.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import type { Terminal } from '../terminal.js';

const KEY_LIMIT = 64 * 1024;

export const buildCommand: CommandModule = {
  name: 'build',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('build')
      .description('compile and link an enclave, and sign it with the project’s key.pem if there is one')
      .argument('[dir]', 'folder of the project', '.')
      .option('--out <dir>', 'where the image goes (default: build in the project)')
      .option('--key <pem>', 'signing key (default: key.pem in the project)')
      .addHelpText('after', '\nExample:\n  $ nsgx build hello')
      .action(act(runBuild));
  },
};

async function runBuild(
  terminal: Terminal,
  dir: string,
  options: { out?: string; key?: string },
): Promise<void> {
  const own = join(dir, 'key.pem');
  const keyPath = options.key ?? (existsSync(own) ? own : undefined);
  if (readProject(dir).edl !== undefined) return buildSharedObject(terminal, dir, options.out, keyPath);
  const built = await terminal.progress('compiling', () => buildEnclave({ dir, out: options.out }));
  let signature: string | null = null;
  if (keyPath !== undefined) {
    const { signing } = JSON.parse(readFileSync(built.jsonPath, 'utf8')) as EnclaveDescription;
    signature = imageFilePaths(built.sgxsPath).sig;
    const key = readLimited(keyPath, KEY_LIMIT, 'key');
    const image = loadImageFiles({ sgxs: built.sgxsPath });
    writeFileSync(signature, signImage(image, key, { ...signOptionsOf(signing), passphrase: askPassphrase }));
  }
  const rows = [
    ['image', built.sgxsPath],
    ['signature', signature ?? 'none: sign it with nsgx sign'],
    ['mrenclave', built.mrenclave],
    ['threads', String(built.threads)],
    ['pages', String(built.pages)],
  ];
  terminal.answer({ ...built, signature }, terminal.table(rows));
}

/** A project with an interface in EDL: one file in Intel's format, which holds its signature. */
async function buildSharedObject(
  terminal: Terminal,
  dir: string,
  out: string | undefined,
  keyPath: string | undefined,
): Promise<void> {
  const key = keyPath === undefined ? undefined : readLimited(keyPath, KEY_LIMIT, 'key');
  const built = await terminal.progress('compiling', () =>
    buildEdlEnclave({ dir, out, key, passphrase: askPassphrase }),
  );
  const rows = [
    ['image', built.signedPath ?? built.soPath],
    ['signature', built.signedPath === undefined ? 'none: sign it with nsgx sign' : 'in the image'],
    ['interface', built.tsPath],
    ['mrenclave', built.mrenclave],
    ['threads', String(built.threads)],
    ['pages', String(built.pages)],
  ];
  terminal.answer(built, terminal.table(rows));
}
