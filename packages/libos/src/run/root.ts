/** The contents of a root, wherever they are: what the host serves to the enclave, which checks it. */

/** Random access to contents. */
export interface RootSource {
  readonly length: number;
  /** Up to `length` bytes from `offset`; fewer at the end. */
  read(offset: number, length: number): Uint8Array;
}

/** Files in memory one after another, or contents elsewhere. */
export type RootContents = readonly Uint8Array[] | RootSource;

/** A root in memory as a source. */
export function rootSource(contents: RootContents): RootSource {
  if ('read' in contents) return contents;
  const starts: number[] = [];
  let total = 0;
  for (const part of contents) {
    starts.push(total);
    total += part.length;
  }
  return {
    length: total,
    read(offset, length) {
      const i = starts.findLastIndex((start) => start <= offset);
      const part = contents[i];
      return part === undefined
        ? new Uint8Array(0)
        : part.subarray(offset - starts[i], offset - starts[i] + length);
    },
  };
}
