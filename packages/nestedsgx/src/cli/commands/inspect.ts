import { existsSync } from 'node:fs';
import { mrsigner, SIGSTRUCT, SIGSTRUCT_HEADER, SIGSTRUCT_HEADER2, verifySigstruct } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { decodeEvidence, evidenceFormat } from '@nestedsgx/attest';
import { type EnclaveImage, measureImage } from '@nestedsgx/image';
import { isElfFile, loadImageFiles, loadSignedSoFile } from '@nestedsgx/image/node';
import type { Command } from 'commander';
import { fieldLines, plain } from '../fields.js';
import { hex, readLimited } from '../files.js';
import { inspectCertificates, inspectFirmware, looksLikeCertificates } from '../inspect-snp.js';
import { intelFields, layoutCells, layoutTable } from '../intel-fields.js';
import type { ActionWrapper, CommandModule } from '../program.js';
import type { Terminal } from '../terminal.js';

/** Guest firmware is the largest that is inspected; evidence has its own limit. */
const FIRMWARE_LIMIT = 64 * 1024 * 1024;

export const inspectCommand: CommandModule = {
  name: 'inspect',
  register(program: Command, act: ActionWrapper): void {
    program
      .command('inspect')
      .description(
        'every field of an image, SIGSTRUCT, quote, SNP report, evidence, certificate or guest firmware',
      )
      .argument('<file>')
      .addHelpText('after', '\nExamples:\n  $ nsgx inspect hello.sgxs\n  $ nsgx inspect enclave.signed.so')
      .action(act(runInspect));
  },
};

function runInspect(terminal: Terminal, path: string): void {
  if (isElfFile(path)) {
    const image = loadSignedSoFile(path);
    const document = { ...inspectImage(image), ...intelFields(image) };
    terminal.answer({ ...document, layout: layoutTable(image) }, [
      ...fieldLines(document),
      'layout',
      ...terminal.table(layoutCells(image)).map((line) => `  ${line}`),
    ]);
    return;
  }
  const document =
    path.endsWith('.sgxs') || existsSync(`${path}.sgxs`)
      ? inspectImage(loadImageFiles(path))
      : inspectBytes(path);
  terminal.answer(document, fieldLines(document));
}

function inspectImage(image: EnclaveImage): Record<string, unknown> {
  const attributes = new Uint8Array(16);
  new DataView(attributes.buffer).setBigUint64(0, image.attributes.FLAGS, true);
  new DataView(attributes.buffer).setBigUint64(8, image.attributes.XFRM, true);
  const common = {
    format: image.format,
    mrenclave: hex(measureImage(nodeHash, image)),
    attributes: hex(attributes),
    miscselect: image.miscselect,
    size: image.size,
    ssaFrameSize: image.ssaFrameSize,
    tcs: image.tcs,
  };
  if (image.sigstruct === undefined) return { ...common, signed: false };
  const fields = SIGSTRUCT.decode(image.sigstruct);
  return {
    ...common,
    signed: true,
    mrsigner: hex(mrsigner(nodeHash, fields.MODULUS)),
    isvProdId: fields.ISVPRODID,
    isvSvn: fields.ISVSVN,
    signatureMatches: hex(fields.ENCLAVEHASH) === common.mrenclave,
    signatureValid: signatureProblem(image.sigstruct) === null,
  };
}

/** HEADER and HEADER2 of every SIGSTRUCT (SDM 3D, 34.14); an SNP report with certificates may be as long. */
function isSigstruct(bytes: Uint8Array): boolean {
  if (bytes.length !== SIGSTRUCT.size) return false;
  const { HEADER, HEADER2 } = SIGSTRUCT.decode(bytes);
  return Buffer.from(SIGSTRUCT_HEADER).equals(HEADER) && Buffer.from(SIGSTRUCT_HEADER2).equals(HEADER2);
}

function inspectBytes(path: string): Record<string, unknown> {
  const bytes = readLimited(path, FIRMWARE_LIMIT, 'file');
  const firmware = bytes.length % 4096 === 0 ? inspectFirmware(bytes) : null;
  if (firmware !== null) return firmware;
  if (isSigstruct(bytes)) {
    const fields = SIGSTRUCT.decode(bytes);
    return {
      format: 'sigstruct',
      mrenclave: hex(fields.ENCLAVEHASH),
      mrsigner: hex(mrsigner(nodeHash, fields.MODULUS)),
      valid: signatureProblem(bytes) ?? true,
      fields: plain(fields),
    };
  }
  if (evidenceFormat(bytes) === null && looksLikeCertificates(bytes)) return inspectCertificates(bytes);
  return decodeEvidence(bytes);
}

/** Why a SIGSTRUCT does not verify, or null. */
function signatureProblem(sigstruct: Uint8Array): string | null {
  try {
    verifySigstruct(nodeHash, sigstruct);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}
