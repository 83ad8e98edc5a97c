import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { measureLaunch, measureNode } from '@nestedsgx/cvm';
import { measureImage } from '@nestedsgx/image';
import { imageFilePaths, isElfFile, loadImageFiles, loadSignedSoFile } from '@nestedsgx/image/node';
import { canonicalSigners, findInstallation, PART_NAMES } from '@nestedsgx/sdk';
import type { Command } from 'commander';
import { z } from 'zod';
import { hex, readLimited } from '../files.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import { Refused, type Terminal, UsageError } from '../terminal.js';
import { addSnpOptions, type MeasureSnpOptions, measureSnpKey, runMeasureSnp } from './measure-snp.js';

interface MeasureOptions extends MeasureSnpOptions {
  cvm?: boolean;
  snp?: boolean;
  snpKey?: string;
  installation?: string;
  explain?: string;
  isolation: string;
  patch: boolean;
  launchSigner?: string[];
}

export const measureCommand: CommandModule = {
  name: 'measure',
  register(program: Command, act: ActionWrapper): void {
    const command = program
      .command('measure')
      .description('MRENCLAVE of an image; or launch digest of this installation, or of an SNP guest')
      .argument('[image]', 'NAME.sgxs, or NAME.signed.so of the Intel SGX SDK')
      .option('--cvm', 'measure this installation as its PSP would')
      .option(
        '--explain <json>',
        "with --cvm: another machine's output of measure --cvm --json; names what differs",
      )
      .option(
        '--installation <dir>',
        'with --cvm: the folder that holds the packages of another installation (…/packages or …/@nestedsgx)',
      )
      .option('--isolation <kind>', 'with --cvm: same-user or separate-user', 'same-user')
      .option('--no-patch', 'with --cvm: a machine that does not rewrite ENCLU sites')
      .option('--launch-signer <mrsigner...>', 'with --cvm: a machine that accepts these signers only');
    addSnpOptions(command)
      .addHelpText(
        'after',
        '\nExamples:\n  $ nsgx measure hello.sgxs\n  $ nsgx measure enclave.signed.so\n  $ nsgx measure --cvm --json > here.json\n  $ nsgx measure --cvm --explain there.json\n  $ nsgx measure --snp --ovmf OVMF.fd --vcpus 4 --vcpu-type EPYC-Milan --kernel vmlinuz --append console=ttyS0',
      )
      .action(act(runMeasure));
  },
};

/** Launch digest and components of the installed package, as its PSP measures them at launch. */
export function measureInstallation(options: {
  isolation: string;
  patch: boolean;
  launchSigner?: string[];
  installation?: string;
}): {
  launchDigest: string;
  components: { name: string; sha384: string }[];
} {
  const { isolation } = options;
  if (isolation !== 'same-user' && isolation !== 'separate-user')
    throw new UsageError(`--isolation is same-user or separate-user, not "${isolation}"`);
  const installation = findInstallation(
    options.installation === undefined ? undefined : resolve(options.installation),
  );
  const parts = PART_NAMES.map((name) => ({ name, bytes: new Uint8Array(readFileSync(installation[name])) }));
  const launchSigners = canonicalSigners(options.launchSigner ?? []);
  const wrong = launchSigners.find((signer) => !/^[0-9a-f]{64}$/.test(signer));
  if (wrong !== undefined)
    throw new UsageError(`--launch-signer wants MRSIGNERs of 64 hexadecimal digits, not "${wrong}"`);
  const settings = { isolation, patch: options.patch, launchSigners } as const;
  return measureLaunch(settings, measureNode(process.execPath, process.version), parts);
}

function runMeasure(terminal: Terminal, image: string | undefined, options: MeasureOptions): void {
  if (options.snpKey !== undefined) {
    measureSnpKey(terminal, options.snpKey);
    return;
  }
  if (options.snp === true) {
    if (image !== undefined || options.cvm === true)
      throw new UsageError('--snp takes its parts as options, no image and no --cvm');
    runMeasureSnp(terminal, options);
    return;
  }
  if (options.cvm !== true) {
    if (image === undefined) throw new UsageError('name an image, or measure this installation with --cvm');
    if (isElfFile(image)) {
      measureSignedSo(terminal, image);
      return;
    }
    const mrenclave = hex(measureImage(nodeHash, loadImageFiles({ sgxs: imageFilePaths(image).sgxs })));
    terminal.answer({ mrenclave }, mrenclave);
    return;
  }
  if (image !== undefined) throw new UsageError('--cvm takes no image');
  const here = measureInstallation(options);
  if (options.explain === undefined) {
    const rows = here.components.map(({ name, sha384 }) => [name, sha384]);
    terminal.answer(here, terminal.table([['launch digest', here.launchDigest], ...rows]));
    return;
  }
  explain(terminal, here, options.explain);
}

/** MRENCLAVE of a `.signed.so` beside what its SIGSTRUCT signs. @throws Refused when they differ */
function measureSignedSo(terminal: Terminal, path: string): void {
  const image = loadSignedSoFile(path);
  const mrenclave = hex(measureImage(nodeHash, image));
  const enclaveHash = hex(SIGSTRUCT.decode(image.sigstruct).ENCLAVEHASH);
  const signatureMatches = mrenclave === enclaveHash;
  terminal.answer(
    { mrenclave, enclaveHash, signatureMatches },
    signatureMatches
      ? mrenclave
      : [mrenclave, `the SIGSTRUCT in the file signs another enclave: ${enclaveHash}`],
  );
  if (!signatureMatches) throw new Refused();
}

const measured = z.object({
  launchDigest: z.string(),
  components: z.array(z.object({ name: z.string(), sha384: z.string() })).max(64),
});

function explain(terminal: Terminal, here: z.infer<typeof measured>, path: string): void {
  let there: z.infer<typeof measured>;
  try {
    there = measured.parse(JSON.parse(new TextDecoder().decode(readLimited(path, 1 << 20, 'measurement'))));
  } catch (cause) {
    throw new UsageError(`${path} is not the output of nsgx measure --cvm --json`, { cause });
  }
  // A component's kind is its name's first word: "node v22.1.0" and "node v20.19.0" are the same part.
  const kind = (name: string) => name.split(' ')[0];
  const names = [...new Set([...here.components, ...there.components].map(({ name }) => kind(name)))];
  const differing = names.filter((name) => {
    const [a, b] = [here, there].map(
      (side) => side.components.find((part) => kind(part.name) === name)?.sha384,
    );
    return a !== b;
  });
  const same = here.launchDigest === there.launchDigest;
  terminal.answer(
    { same, launchDigest: here.launchDigest, other: there.launchDigest, differing },
    same
      ? ['the launch digests are equal']
      : ['the launch digests differ in', ...differing.map((name) => `  ${name}`)],
  );
  if (!same) throw new Refused();
}
