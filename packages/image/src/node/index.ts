/** The parts of package `image` that need Node: key files, signing, image files. */
export * from './files.js';
export * from './key.js';
export * from './open-image-file.js';
export * from './sign-image.js';
export * from './sign-shared-object.js';
