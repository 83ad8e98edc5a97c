/** The error codes of package `libos`. */
import { NsgxError } from '@nestedsgx/arch';

/** Every error code that package `libos` throws, with its meaning in one line. */
export const LIBOS_ERRORS = Object.freeze({
  KERNEL_BUILD_FAILED: 'The library OS could not be compiled.',
  KERNEL_MISSING: 'The library OS has not been built.',
  PROGRAM_MISSING: 'The program, its interpreter or a library of it does not exist or cannot be read.',
  PROGRAM_MALFORMED: 'A file is not a well-formed ELF program for x86-64.',
  PROGRAM_FIXED_ADDRESS:
    'The program is linked for a fixed address, where no enclave can lie on this machine.',
  LIBOS_HOST_EXHAUSTED: 'The host has no descriptors or no memory for the threads of a program.',
  PROGRAM_TOO_LARGE: 'The program, its files and its memory do not fit an enclave.',
  PROGRAM_NOT_STARTED: 'The library OS refused to start a program, for the reason it gives.',
  APP_IMAGE_UNREADABLE: 'An image of a program cannot be read.',
  APP_IMAGE_MALFORMED: 'A file is no image of a program, or is damaged.',
  APP_IMAGE_VERSION: 'An image of a program has another version than this reads.',
  APP_IMAGE_WRITE: 'An image of a program cannot be written.',
  ENTRY_REFUSED:
    'The program is not in a folder that Occlum.json lets programs be started from, or none is named.',
  SPEC_INVALID: 'A description of an image cannot be read, or says what it cannot say.',
  OCCLUM_UNSUPPORTED: 'Occlum.json wants something that means something else here.',
  PACKAGE_MISSING: 'A Debian package is not installed, or a .deb file cannot be unpacked.',
  STORE_PATH_INVALID: 'Files cannot stay at this place of the root.',
  STORE_UNREADABLE: 'The store of a program cannot be opened or made.',
  KEY_SERVER_INVALID: 'An image cannot name this key server, or this key of it.',
  STORE_BUSY: 'The store of a program is in use.',
  MOUNT_PATH_INVALID:
    'A folder of the host cannot be mounted, or a program start, at this place of the root.',
  MOUNT_UNUSABLE: 'A folder of the host cannot be given to a program.',
  IMAGE_POLICY_INVALID: 'Arguments or environment given for an image cannot be.',
  POLICY_REFUSED: 'The image does not let its host give these arguments or this variable.',
} as const);

/** Codes of {@link LIBOS_ERRORS}. */
export type LibosErrorCode = keyof typeof LIBOS_ERRORS;

/** A typed error of this package. */
export function libosError(
  code: LibosErrorCode,
  message: string,
  options: { cause?: unknown; advice?: string } = {},
): NsgxError {
  return new NsgxError(code, message, options);
}
