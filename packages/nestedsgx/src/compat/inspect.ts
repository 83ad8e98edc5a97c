/** What a `.signed.so` says of itself. */
import { ATTRIBUTES_DEBUG, SIGSTRUCT, verifySigstruct } from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import { containsEnclu, type IntelImage, measureImage, trustedRuntimeVersion } from '@nestedsgx/image';
import { hex } from '../cli/files.js';
import type { Inspection } from './report.js';

/** Measures an image and looks at its signature. Throws the image's errors. */
export function inspectFile(image: IntelImage): Inspection {
  const { source, sigstruct } = image;
  const signed = SIGSTRUCT.decode(sigstruct);
  const mrenclave = hex(measureImage(nodeHash, image));
  let added = 0;
  for (const { data } of image.pages()) added += data.length;
  const used = source.chosen;
  return {
    sdk: trustedRuntimeVersion(source),
    metadata: source.blocks
      .map(
        (block) =>
          `${block.version.major}.${block.version.minor}${block === used && source.blocks.length > 1 ? '*' : ''}`,
      )
      .join(', '),
    mode: source.simulation ? 'simulation' : containsEnclu(source) ? 'hardware' : 'no ENCLU',
    threads: image.threads.filter(({ dynamic }) => !dynamic).length,
    size: image.size,
    added,
    mrenclave,
    matches: hex(signed.ENCLAVEHASH) === mrenclave,
    signature: verifies(sigstruct),
    debug:
      (signed.ATTRIBUTES.FLAGS & ATTRIBUTES_DEBUG) !== 0n ||
      (signed.ATTRIBUTEMASK.FLAGS & ATTRIBUTES_DEBUG) === 0n,
  };
}

function verifies(sigstruct: Uint8Array): boolean {
  try {
    verifySigstruct(nodeHash, sigstruct);
    return true;
  } catch {
    return false;
  }
}
