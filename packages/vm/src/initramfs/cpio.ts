/** Archives in the format that the kernel unpacks as its first root file system (cpio, "newc"; see cpio(5)). */
import { vmError } from '../errors.js';

const MAGIC = '070701';
const TRAILER = 'TRAILER!!!';
const FORMAT_LIMIT = 0xffff_ffff;
const PATH_LIMIT = 4096;

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

/** One entry; `path` has no leading slash. `mode` has the permission bits only. */
export type CpioEntry = { path: string; mode: number } & (
  | { kind: 'directory' }
  | { kind: 'file'; bytes: Uint8Array }
  | { kind: 'link'; target: string }
  | { kind: 'device'; major: number; minor: number }
);

const TYPES: Readonly<Record<CpioEntry['kind'], number>> = {
  directory: S_IFDIR,
  file: S_IFREG,
  link: S_IFLNK,
  device: S_IFCHR,
};

/** Collects an archive's pieces. All entries belong to root; times are zero, so equal content gives equal bytes. */
export class CpioWriter {
  readonly #text = new TextEncoder();
  readonly #pieces: Uint8Array[] = [];
  #length = 0;
  #inode = 0;

  /** Bytes so far. */
  get length(): number {
    return this.#length;
  }

  /** @throws VM_FILE for a path that cannot be in an archive, or a file that is too large for the format */
  add(entry: CpioEntry): void {
    checkPath(entry.path);
    const data =
      entry.kind === 'file'
        ? entry.bytes
        : entry.kind === 'link'
          ? this.#text.encode(entry.target)
          : new Uint8Array(0);
    if (data.length > FORMAT_LIMIT)
      throw vmError('VM_FILE', `${entry.path} is larger than a file of the guest's image can be`);
    const device = entry.kind === 'device' ? entry : { major: 0, minor: 0 };
    this.#put(entry.path, TYPES[entry.kind] | (entry.mode & 0o7777), data, device);
  }

  /** Ends the archive and returns its pieces in order. */
  finish(): readonly Uint8Array[] {
    this.#put(TRAILER, 0, new Uint8Array(0), { major: 0, minor: 0 });
    return this.#pieces;
  }

  #put(path: string, mode: number, data: Uint8Array, device: { major: number; minor: number }): void {
    const name = this.#text.encode(`${path}\0`);
    const fields = [
      path === TRAILER ? 0 : ++this.#inode,
      mode,
      0,
      0,
      1,
      0,
      data.length,
      0,
      0,
      device.major,
      device.minor,
      name.length,
      0,
    ];
    const head = MAGIC + fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    this.#append(this.#text.encode(head));
    this.#append(name);
    this.#pad();
    if (data.length > 0) this.#append(data);
    this.#pad();
  }

  #append(bytes: Uint8Array): void {
    this.#pieces.push(bytes);
    this.#length += bytes.length;
  }

  #pad(): void {
    const missing = -this.#length & 3;
    if (missing > 0) this.#append(new Uint8Array(missing));
  }
}

function checkPath(path: string): void {
  const parts = path.split('/');
  if (
    path === TRAILER ||
    path.includes('\0') ||
    path.length > PATH_LIMIT ||
    parts.some((part) => part === '' || part === '.' || part === '..')
  )
    throw vmError('VM_FILE', `"${path.slice(0, 100)}" cannot be a path in the guest's image`);
}
