import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { findImage } from '../enclave-path.js';
import { hex } from '../files.js';
import { type MachineOptions, openMachine, withMachineOptions } from '../machine-options.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import type { Terminal } from '../terminal.js';
import { padReportData } from './verify.js';

interface AttestOptions extends MachineOptions {
  reportData?: string;
  out?: string;
  policyOut?: string;
}

export const attestCommand: CommandModule = {
  name: 'attest',
  register(program: Command, act: ActionWrapper): void {
    withMachineOptions(
      program
        .command('attest')
        .description('evidence for a loaded enclave')
        .argument('<image>', 'NAME.sgxs, or the folder of a built project')
        .option('--report-data <hex>', "up to 64 bytes of the verifier's choice that the evidence will carry")
        .option('--out <file>', 'where the evidence goes', 'evidence.bin')
        .option('--policy-out <file>', 'also write a policy that accepts exactly what ran'),
    )
      .addHelpText('after', '\nExample:\n  $ nsgx attest hello --report-data 00ff --out evidence.bin')
      .action(act(runAttest));
  },
};

async function runAttest(terminal: Terminal, path: string, options: AttestOptions): Promise<void> {
  const image = findImage(path);
  const reportData = padReportData(options.reportData ?? '');
  await using cvm = await openMachine(options);
  await using enclave = await cvm.load(image);
  const evidence = enclave.attest({ reportData });
  const out = options.out ?? 'evidence.bin';
  writeFileSync(out, evidence);
  const info = await cvm.info();
  const policy = {
    version: 1,
    nested: {
      mrenclave: [hex(enclave.mrenclave)],
      launchDigest: [info.launchDigest],
      softwareRoots: [info.rootFingerprint],
      isolation: [info.isolation],
    },
  };
  if (options.policyOut !== undefined)
    writeFileSync(options.policyOut, `${JSON.stringify(policy, null, 2)}\n`);
  terminal.answer({ evidence: out, bytes: evidence.length, policy }, [
    `evidence  ${out} (${evidence.length} bytes)`,
    'a policy that accepts exactly this enclave on this machine:',
    JSON.stringify(policy),
  ]);
}
