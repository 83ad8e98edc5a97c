import { writeFileSync } from 'node:fs';
import { mrsigner, SIGSTRUCT } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { signingDigest } from '@nestedsgx/image';
import { imageFilePaths, loadImageFiles } from '@nestedsgx/image/node';
import { hex } from '../files.js';
import type { Terminal } from '../terminal.js';
import { readSigningConfiguration } from './configuration.js';
import { dateOf, needKey, printRequest, type SignCommandOptions, sigstructFor } from './two-step.js';

/** Signs NAME.sgxs: the SIGSTRUCT goes to NAME.sig. */
export function signSgxs(terminal: Terminal, path: string, options: SignCommandOptions): void {
  const image = loadImageFiles({ sgxs: imageFilePaths(path).sgxs });
  const configuration = readSigningConfiguration(options.config);
  needKey(options);
  const request = signingDigest(nodeHash, image, { ...configuration, date: dateOf(options) });
  if (options.printDigest) {
    printRequest(terminal, request, options);
    return;
  }
  const sigstruct = sigstructFor(request, options);
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
