/** Every error code that package `image` throws, with its meaning in one line. */
export const IMAGE_ERRORS = Object.freeze({
  IMAGE_TRUNCATED: 'An image ends inside a structure.',
  IMAGE_TAG: 'An image has an unknown or misplaced chunk; it is damaged or of another format.',
  IMAGE_ECREATE: 'The ECREATE chunk of an image has an impossible size or frame size, or reserved bytes set.',
  IMAGE_EADD: 'An EADD chunk names a page that is misaligned or outside the enclave.',
  IMAGE_DUPLICATE_PAGE: 'An image adds the same page twice.',
  IMAGE_SECINFO: 'An EADD chunk has SECINFO flags that EADD refuses.',
  IMAGE_CHUNK: 'An EEXTEND or UNMEASRD chunk does not follow its page in order, or has reserved bytes set.',
  IMAGE_PARTLY_MEASURED: 'A page is measured in part, which a loader through Linux SGX cannot reproduce.',
  IMAGE_TOO_LARGE: 'An image, signature or description exceeds a size limit.',
  IMAGE_FILE: 'A file of an image cannot be read.',
  IMAGE_CHANGED: 'An image file changed while it was in use.',
  IMAGE_LAYOUT: 'A page that is to be written does not fit the enclave, is misaligned or out of order.',
  IMAGE_SIGNATURE_FILE: 'A signature file does not have the 1808 bytes of a SIGSTRUCT.',
  IMAGE_SIGNATURE_MISMATCH: 'A SIGSTRUCT signs another enclave than this image.',
  IMAGE_DESCRIPTION: 'The description beside an image is not a JSON object.',
  IMAGE_ELF: 'An ELF file has a field that no enclave can have; the message names it.',
  IMAGE_METADATA: 'The metadata of a .signed.so is missing or has a field that no loader accepts.',
  IMAGE_METADATA_VERSION: 'A .signed.so has only metadata of versions that cannot be used here.',
  IMAGE_METADATA_LAYOUT: 'The layout table of a .signed.so has an impossible or overlapping range.',
  IMAGE_METADATA_PATCH: 'A patch of a .signed.so reaches outside of the file or of its metadata.',
  SIGN_OPTION: 'A signing option is out of range.',
  SIGN_KEY_MALFORMED: 'A signing key is not readable PEM.',
  SIGN_KEY_TYPE: 'A signing key is not an RSA key.',
  SIGN_KEY_SIZE: 'A signing key does not have 3072 bits.',
  SIGN_KEY_EXPONENT: 'A signing key has a public exponent other than 3.',
  SIGN_KEY_PUBLIC: 'A public key was given where a private key is needed.',
  SIGN_KEY_PASSPHRASE: 'An encrypted signing key came without its passphrase, or with a wrong one.',
  SIGN_RESULT: 'A signature does not verify under its key.',
} as const);

/** Codes of {@link IMAGE_ERRORS}. */
export type ImageErrorCode = keyof typeof IMAGE_ERRORS;
