/** Builds, signs and keeps the image of a program of this machine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { signImage } from '@nestedsgx/image/node';
import {
  buildProgramImage,
  factOf,
  KERNEL_PATH,
  Layers,
  type ProgramImageOptions,
  writeAppImage,
} from '@nestedsgx/libos';
import type { KeptImages } from '@nestedsgx/libos/run';
import { defaultStateDir } from '@nestedsgx/sdk';

/**
 * Returns the path of the image; in a temporary folder that ends with this process where it cannot be kept.
 * @throws the errors of `buildProgramImage`, `signImage`, `writeAppImage`
 */
export function buildKept(
  kept: KeptImages,
  identity: unknown,
  request: ProgramImageOptions,
  key: Uint8Array,
  note: (text: string) => void,
): string {
  const layers = new Layers();
  const kernel = factOf(KERNEL_PATH);
  const cache = join(defaultStateDir(), 'sites');
  const program = buildProgramImage({ ...request, layers, cache, onNote: note });
  const sigstruct = signImage(program.image, key, program.signOptions);
  const { rewritten, trapping } = program;
  const write = (path: string) => writeAppImage(path, program, sigstruct, { rewritten, trapping });
  const path = kept.keep(identity, [[KERNEL_PATH, kernel], ...layers.seen], write);
  if (path !== undefined) return path;
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-exec-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  write(join(folder, 'program.img'));
  return join(folder, 'program.img');
}
