/**
 * Memory of the heap for what grows again and again: by powers of two, and what is given back fits the next of its size.
 * (The heap itself finds a block of just the size that is wanted only by chance.)
 */
const SMALLEST: usize = 512;
const CLASSES: i32 = 22;
const HEAD: usize = 16;

const free = new StaticArray<usize>(CLASSES);

/** Memory for so many bytes at least, with whatever it has. */
export function takeBuffer(bytes: usize): usize {
  let room = SMALLEST;
  let kind = 0;
  while (room < bytes) {
    room *= 2;
    kind++;
  }
  let at = free[kind];
  if (at !== 0) {
    free[kind] = load<usize>(at);
    return at;
  }
  at = heap.alloc(room + HEAD) + HEAD;
  store<u32>(at - HEAD, kind);
  return at;
}

/** Gives it back; 0 is nothing. */
export function giveBuffer(at: usize): void {
  if (at === 0) return;
  const kind = load<u32>(at - HEAD);
  store<usize>(at, free[kind]);
  free[kind] = at;
}
