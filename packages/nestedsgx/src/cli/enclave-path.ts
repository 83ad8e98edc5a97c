import { existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';

const IMAGE = /\.(sgxs|signed\.so)$/;

/** Whether the path names an enclave of Intel's SDK. */
export function isSharedObject(path: string): boolean {
  return /\.so(\.[0-9.]+)?$/.test(path);
}

/**
 * Finds an image from what people type: NAME.sgxs, NAME.signed.so, NAME, or the folder of a project that has been built.
 * @throws NsgxError IMAGE_NOT_FOUND
 */
export function findImage(path: string): string {
  if (existsSync(path) && statSync(path).isDirectory()) {
    for (const folder of [join(path, 'build'), path]) {
      const images = existsSync(folder) ? readdirSync(folder).filter((name) => IMAGE.test(name)) : [];
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
        : 'Name an image (NAME.sgxs, NAME.signed.so) or the folder of an enclave project.',
    });
  }
  if (path.endsWith('.sgxs') || isSharedObject(path) ? existsSync(path) : existsSync(`${path}.sgxs`))
    return path;
  throw new NsgxError('IMAGE_NOT_FOUND', `there is no enclave image ${path}`, {
    advice: 'Name an image (NAME.sgxs, NAME.signed.so) or the folder of an enclave project.',
  });
}
