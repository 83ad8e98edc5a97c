import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { mrsigner, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { enclaveConfig, parseEnclaveConfig, sharedObjectRequest } from '@nestedsgx/image';
import { finishSharedObject, readSharedObjectFile } from '@nestedsgx/image/node';
import { hex, readLimited } from '../files.js';
import { type Terminal, UsageError } from '../terminal.js';
import { dateOf, needKey, printRequest, type SignCommandOptions, sigstructFor } from './two-step.js';

const CONFIGURATION_LIMIT = 64 * 1024;

/** Signs a shared object linked with Intel's SDK: writes NAME.signed.so. */
export function signSharedObjectFile(terminal: Terminal, path: string, options: SignCommandOptions): void {
  const out = options.out ?? `${path.replace(/(\.signed)?\.so$/, '')}.signed.so`;
  const config =
    options.config === undefined
      ? enclaveConfig()
      : parseEnclaveConfig(readLimited(options.config, CONFIGURATION_LIMIT, 'signing configuration'));
  needKey(options);
  const request = sharedObjectRequest(nodeHash, readSharedObjectFile(path), config, {
    date: dateOf(options),
    allowTextRelocations: options.ignoreRelError,
    allowInitSection: options.ignoreInitSecError,
    resign: options.resign,
  });
  if (resolve(out) === resolve(path))
    throw new UsageError(`${out} would replace the enclave itself; give another file with --out`);
  if (request.simulation)
    terminal.note(
      'nsgx: this enclave was built for simulation (SGX_MODE=SIM); it will not run in a machine with SGX',
    );
  if (options.printDigest) {
    printRequest(terminal, request, options);
    return;
  }
  const sigstruct = sigstructFor(request, options);
  writeFileSync(out, finishSharedObject(request, sigstruct));
  const mrenclave = hex(request.mrenclave);
  const signer = hex(mrsigner(nodeHash, SIGSTRUCT.decode(sigstruct).MODULUS));
  const versions = request.versions.map(({ major, minor }) => `${major}.${minor}`);
  const loaders = request.versions.map(({ major }) => (major % 10 === 3 ? 'with EDMM' : 'without EDMM'));
  const document = {
    image: out,
    mrenclave,
    mrsigner: signer,
    metadataVersions: versions,
    size: Number(request.enclaveSize),
  };
  terminal.answer(
    document,
    terminal.table([
      ['image', out],
      ['mrenclave', mrenclave],
      ['mrsigner', signer],
      ['metadata', `${versions.join(', ')}: for loaders ${loaders.join(' and ')}`],
      ['size', `0x${request.enclaveSize.toString(16)} bytes`],
    ]),
  );
}
