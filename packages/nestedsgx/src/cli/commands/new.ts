import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { newProject, TEMPLATES } from '@nestedsgx/enclave';
import { generateKey } from '@nestedsgx/image/node';
import type { Command } from 'commander';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';

export const newCommand: CommandModule = {
  name: 'new',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('new')
      .description('scaffold an enclave project that builds and runs at once')
      .argument('<dir>', 'a folder that does not exist yet')
      .option('--template <name>', `one of: ${TEMPLATES.join(', ')}`, 'c')
      .addHelpText('after', '\nExample:\n  $ nsgx new hello && nsgx build hello && nsgx run hello add 2 3')
      .action(act(runNew));
  },
};

async function runNew(terminal: Terminal, dir: string, options: { template: string }): Promise<void> {
  const template = TEMPLATES.find((name) => name === options.template);
  if (template === undefined)
    throw new UsageError(`there is no template "${options.template}"; there is ${TEMPLATES.join(', ')}`);
  const files = newProject(dir, template);
  const key = await terminal.progress('making a signing key', () => generateKey());
  writeFileSync(join(dir, 'key.pem'), key.privateKeyPem, { mode: 0o600, flag: 'wx' });
  terminal.answer({ dir, files: [...files, 'key.pem'] }, [
    ...[...files, 'key.pem'].map((file) => `  ${join(dir, file)}`),
    'key.pem is a development key; keep your release key elsewhere (nsgx sign --print-digest).',
    `Next: nsgx build ${dir} && nsgx run ${dir} add 2 3`,
  ]);
}
