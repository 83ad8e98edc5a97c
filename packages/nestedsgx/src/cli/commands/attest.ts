import { writeFileSync } from 'node:fs';
import { collateralFromFiles } from '@nestedsgx/attest';
import { type HardwareInterface, HardwarePsp } from '@nestedsgx/machine';
import type { Command } from 'commander';
import { rawHardwareEvidence, withHardwareReport } from '../../hardware-evidence.js';
import { findImage } from '../enclave-path.js';
import { hex, readDirectory } from '../files.js';
import { type MachineOptions, openMachine, withMachineOptions } from '../machine-options.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { type Terminal, UsageError } from '../terminal.js';
import { padReportData } from './verify.js';

interface AttestOptions extends MachineOptions {
  reportData?: string;
  out?: string;
  policyOut?: string;
  hardware?: boolean;
  interface?: string;
  vmpl?: string;
  collateral?: string;
}

const CERTIFICATE_LIMIT = 1 << 20;
const INTERFACES: readonly HardwareInterface[] = ['configfs-tsm', 'sev-guest'];

export const attestCommand: CommandModule = {
  name: 'attest',
  register(program: Command, act: ActionWrapper): void {
    withMachineOptions(
      program
        .command('attest')
        .description('evidence for a loaded enclave, or for the SNP guest that this is')
        .argument('[image]', 'NAME.sgxs, or the folder of a built project; may be left out with --hardware')
        .option('--report-data <hex>', "up to 64 bytes of the verifier's choice that the evidence will carry")
        .option('--out <file>', 'where the evidence goes', 'evidence.bin')
        .option('--policy-out <file>', 'also write a policy that accepts exactly what ran')
        .option('--hardware', 'in an SEV-SNP guest: the report of its security processor')
        .option(
          '--interface <name>',
          `with --hardware: ${INTERFACES.join(' or ')} (default: the first that is there)`,
        )
        .option('--vmpl <n>', 'with --hardware and no image: the VMPL to ask for')
        .option('--collateral <dir>', 'with --hardware: certificates that the host does not give'),
    )
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx attest hello --report-data 00ff --out evidence.bin\n  $ nsgx attest --hardware --report-data 00ff',
      )
      .action(act(runAttest));
  },
};

async function runAttest(
  terminal: Terminal,
  path: string | undefined,
  options: AttestOptions,
): Promise<void> {
  const reportData = padReportData(options.reportData ?? '');
  const psp = hardware(options);
  if (path === undefined) {
    if (psp === undefined)
      throw new UsageError('name an image, or ask for a report of this guest with --hardware');
    attestGuest(terminal, psp, reportData, options);
    return;
  }
  if (options.vmpl !== undefined)
    throw new UsageError("--vmpl is for reports without an image: a monitor's is 0");
  const image = findImage(path);
  await using cvm = await openMachine(options);
  await using enclave = await cvm.load(image);
  const software = enclave.attest({ reportData });
  const info = await cvm.info();
  const mrenclave = [hex(enclave.mrenclave)];
  if (psp === undefined) {
    const { launchDigest, rootFingerprint, isolation } = info;
    const softwareRoots = [rootFingerprint];
    tell(terminal, options, software, {
      nested: { mrenclave, launchDigest: [launchDigest], softwareRoots, isolation: [isolation] },
    });
    return;
  }
  const { evidence, report } = withHardwareReport(software, psp, collateralOf(options));
  const launchDigest = [hex(report.measurement)];
  tell(terminal, options, evidence, { nested: { mrenclave, launchDigest, isolation: ['sev-snp'] } });
}

function hardware(options: AttestOptions): HardwarePsp | undefined {
  if (options.hardware !== true) {
    const stray = (['interface', 'vmpl', 'collateral'] as const).find((name) => options[name] !== undefined);
    if (stray !== undefined) throw new UsageError(`--${stray} belongs to --hardware`);
    return undefined;
  }
  const prefer = INTERFACES.find((name) => name === options.interface);
  if (options.interface !== undefined && prefer === undefined)
    throw new UsageError(`--interface is ${INTERFACES.join(' or ')}, not "${options.interface}"`);
  return HardwarePsp.open(prefer === undefined ? {} : { prefer });
}

function attestGuest(
  terminal: Terminal,
  psp: HardwarePsp,
  reportData: Uint8Array,
  options: AttestOptions,
): void {
  if (options.vmpl !== undefined && !/^[0-3]$/.test(options.vmpl))
    throw new UsageError(`--vmpl is 0 to 3, not "${options.vmpl}"`);
  const vmpl = options.vmpl === undefined ? undefined : Number(options.vmpl);
  const { evidence, report } = rawHardwareEvidence(psp, reportData, vmpl);
  tell(terminal, options, evidence, {
    snp: { launchDigest: [hex(report.measurement)], vmpl: report.vmpl },
  });
}

function collateralOf({ collateral }: AttestOptions): ReturnType<typeof collateralFromFiles> {
  if (collateral === undefined) return {};
  return collateralFromFiles(readDirectory(collateral, CERTIFICATE_LIMIT, 'collateral'));
}

/** Writes the evidence, and says which policy accepts it. */
function tell(terminal: Terminal, options: AttestOptions, evidence: Uint8Array, sections: object): void {
  const out = options.out ?? 'evidence.bin';
  const policy = { version: 1, ...sections };
  writeFileSync(out, evidence);
  if (options.policyOut !== undefined)
    writeFileSync(options.policyOut, `${JSON.stringify(policy, null, 2)}\n`);
  terminal.answer({ evidence: out, bytes: evidence.length, policy }, [
    `evidence  ${out} (${evidence.length} bytes)`,
    'nested' in sections
      ? 'a policy that accepts exactly this enclave on this machine:'
      : 'a policy that accepts exactly this guest:',
    JSON.stringify(policy),
  ]);
}
