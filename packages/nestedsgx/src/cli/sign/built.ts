import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mrsigner, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { type EnclaveDescription, signOptionsOf, withSigstruct } from '@nestedsgx/enclave';
import { IntelImage, parseSignedSo, signingDigest } from '@nestedsgx/image';
import { hex } from '../files.js';
import { type Terminal, UsageError } from '../terminal.js';
import { readSigningConfiguration } from './configuration.js';
import { dateOf, needKey, printRequest, type SignCommandOptions, sigstructFor } from './two-step.js';

/**
 * Signs NAME.so that `nsgx build` made of a project with an interface in EDL: writes NAME.signed.so. What enclave.json
 * asks of the signature comes from NAME.json, and a configuration replaces it.
 */
export function signBuiltSharedObject(
  terminal: Terminal,
  path: string,
  bytes: Uint8Array,
  options: SignCommandOptions,
): void {
  if (options.resign || options.ignoreRelError || options.ignoreInitSecError)
    throw new UsageError(
      '--resign, --ignore-rel-error and --ignore-init-sec-error are for enclaves of Intel’s SDK',
    );
  const stem = path.replace(/(\.signed)?\.so$/, '');
  const out = options.out ?? `${stem}.signed.so`;
  needKey(options);
  const request = signingDigest(nodeHash, new IntelImage(parseSignedSo(bytes)), {
    ...wishes(`${stem}.json`),
    ...readSigningConfiguration(options.config),
    date: dateOf(options),
  });
  if (options.printDigest) {
    printRequest(terminal, request, options);
    return;
  }
  const sigstruct = sigstructFor(request, options);
  writeFileSync(out, withSigstruct(bytes, sigstruct));
  const mrenclave = hex(request.mrenclave);
  const signer = hex(mrsigner(nodeHash, SIGSTRUCT.decode(sigstruct).MODULUS));
  terminal.answer({ image: out, mrenclave, mrsigner: signer }, [
    `image      ${out}`,
    `mrenclave  ${mrenclave}`,
    `mrsigner   ${signer}`,
  ]);
}

function wishes(path: string): ReturnType<typeof signOptionsOf> {
  if (!existsSync(path)) return {};
  try {
    const { signing } = JSON.parse(readFileSync(path, 'utf8')) as Pick<EnclaveDescription, 'signing'>;
    return signOptionsOf(signing);
  } catch (cause) {
    throw new UsageError(`${path} is not the description that nsgx build made: ${(cause as Error).message}`);
  }
}
