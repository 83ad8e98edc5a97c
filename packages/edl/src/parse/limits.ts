/** Limits on what the parser of EDL files takes. */

export interface EdlLimits {
  /** Characters of one file, with what it includes by `#include`. */
  readonly fileSize: number;
  /** Files that are read, repetitions included. */
  readonly files: number;
  /** Imports within imports, files within included files, macros within macros. */
  readonly importDepth: number;
  /** Declared functions, types, members, parameters or names in one list. */
  readonly items: number;
  /** Stars of a pointer type. */
  readonly pointerDepth: number;
  /** Dimensions of an array. */
  readonly dimensions: number;
  /** Tokens that the macros of one file make. */
  readonly expansion: number;
}

export const DEFAULT_EDL_LIMITS: EdlLimits = Object.freeze({
  fileSize: 2 ** 20,
  files: 256,
  importDepth: 32,
  items: 4096,
  pointerDepth: 16,
  dimensions: 16,
  expansion: 65536,
});
