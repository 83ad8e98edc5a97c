/** What an adversary process has: nothing but what it was given and what it could take. */
import type { RawGuest, RawShare, RawSocket } from './raw-guest.js';

/** State of one adversary process. */
export interface World {
  /** Guest RAM, once mapped. */
  ram: RawGuest | null;
  sockets: RawSocket[];
  share: RawShare | null;
}

/** Guest RAM. @throws Error before it was mapped */
export function ramOf(world: World): RawGuest {
  if (world.ram === null) throw new Error('guest RAM is not mapped yet');
  return world.ram;
}

/** The attached share. @throws Error before it was attached */
export function shareOf(world: World): RawShare {
  if (world.share === null) throw new Error('not attached yet');
  return world.share;
}

/** The name of an error as the kernel gives it, else its message. */
export function nameOf(error: unknown): string {
  const code = (error as { code?: unknown }).code;
  return typeof code === 'string' ? code : error instanceof Error ? error.message : String(error);
}

/** Bytes to base64, for messages. */
export function text64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** Bytes from base64. */
export function bytes64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'));
}

/** A small seeded generator (mulberry32): the same seed gives the same attack. */
export function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  };
}
