/** The entries of mounted folders, in pieces and in ascending order: a piece begins behind the last name of the one before. */
import { closeSync } from 'node:fs';
import { type Beneath, done, O } from './beneath.js';

/** Bytes of a piece at most, and of what Linux lists at once. */
const PIECE = 60_000;
const ROOM = 65_536;
const MOST = 200_000;
/** Folders of which the rest is kept until it is asked for. */
const KEPT = 8;
/** An entry of the answer: u64 number, u8 type, u8 length, name. */
const HEAD = 10;
const NAME_MAX = 255;

interface Entry {
  readonly number: bigint;
  readonly type: number;
  readonly name: Buffer;
}

/** Lists folders; remembers where it stopped. */
export class Lists {
  readonly #rests = new Map<string, readonly Entry[]>();

  /** The piece behind a name; nothing at the end. @throws Refusal */
  next(files: Beneath, mount: string, path: Uint8Array, after: Uint8Array): Uint8Array {
    const key = (name: Uint8Array) =>
      [mount, ...[path, name].map((text) => Buffer.from(text).toString('latin1'))].join('\0');
    const kept = after.length === 0 ? undefined : this.#rests.get(key(after));
    this.#rests.delete(key(after));
    const entries = kept ?? read(files, path).filter(({ name }) => Buffer.compare(name, after) > 0);
    const parts: Uint8Array[] = [];
    let bytes = 0;
    let count = 0;
    for (const { number, type, name } of entries) {
      if (bytes + HEAD + name.length > PIECE) break;
      const part = new Uint8Array(HEAD + name.length);
      new DataView(part.buffer).setBigUint64(0, number, true);
      part[8] = type;
      part[9] = name.length;
      part.set(name, HEAD);
      parts.push(part);
      bytes += part.length;
      count++;
    }
    if (count > 0) {
      if (this.#rests.size >= KEPT) this.#rests.delete([...this.#rests.keys()][0]);
      this.#rests.set(key(entries[count - 1].name), entries.slice(count));
    }
    return Buffer.concat(parts);
  }
}

/** Everything that a folder has, in order. @throws Refusal */
function read(files: Beneath, path: Uint8Array): Entry[] {
  return files.at(path, (place) => {
    const fd = files.open(place, O.RDONLY | O.DIRECTORY);
    try {
      const { device } = files.facts(fd);
      const entries: Entry[] = [];
      const piece = Buffer.alloc(ROOM);
      for (let got = -1; got !== 0 && entries.length < MOST; ) {
        got = done(files.calls.list(fd, piece, ROOM));
        for (let at = 0; at < got; at += piece.readUInt16LE(at + 16)) {
          const end = piece.indexOf(0, at + 19);
          const name = Buffer.from(piece.subarray(at + 19, end));
          if (name.length > NAME_MAX || name.equals(Buffer.from('.')) || name.equals(Buffer.from('..')))
            continue;
          const number = files.identity({ device, number: piece.readBigUInt64LE(at) });
          entries.push({ number, type: piece[at + 18], name });
        }
      }
      return entries.sort((x, y) => Buffer.compare(x.name, y.name));
    } finally {
      closeSync(fd);
    }
  });
}
