import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';

/**
 * Finds an image from what people type: NAME.sgxs, NAME, or the folder of a project that has been built.
 * @throws NsgxError IMAGE_NOT_FOUND
 */
export function findImage(path: string): string {
  if (existsSync(path) && statSync(path).isDirectory()) {
    for (const folder of [join(path, 'build'), path]) {
      const images = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.sgxs')) : [];
      if (images.length === 1) return join(folder, images[0]!);
      if (images.length > 1)
        throw new NsgxError(
          'IMAGE_NOT_FOUND',
          `${folder} has ${images.length} images: ${images.join(', ')}`,
          {
            advice: 'Name one of them.',
          },
        );
    }
    const isProject = existsSync(join(path, 'enclave.json'));
    throw new NsgxError('IMAGE_NOT_FOUND', `there is no built enclave in ${path}`, {
      advice: isProject
        ? `Build it first: nsgx build ${path}`
        : 'Name an image (NAME.sgxs) or the folder of an enclave project.',
    });
  }
  if (path.endsWith('.sgxs') ? existsSync(path) : existsSync(`${path}.sgxs`)) return path;
  throw new NsgxError('IMAGE_NOT_FOUND', `there is no enclave image ${path}`, {
    advice: 'Name an image (NAME.sgxs) or the folder of an enclave project.',
  });
}
