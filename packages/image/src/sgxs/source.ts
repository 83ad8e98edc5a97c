/** Where the bytes of an image come from: memory or a file, read by windows. */

/** Random access to the bytes of an image. */
export interface ByteSource {
  /** Total length in bytes. */
  readonly length: number;
  /** Fills `into` from byte `offset`; the caller asks only for bytes below `length`. Throws when it cannot. */
  readInto(into: Uint8Array, offset: number): void;
}

/** Opens a source for one pass; `close` ends it. */
export interface SourceOpener {
  open(): { readonly source: ByteSource; close(): void };
}

/** A source over bytes in memory (not copied). */
export function memorySource(bytes: Uint8Array): SourceOpener {
  const source: ByteSource = {
    length: bytes.length,
    readInto: (into, offset) => into.set(bytes.subarray(offset, offset + into.length)),
  };
  return { open: () => ({ source, close: () => undefined }) };
}
