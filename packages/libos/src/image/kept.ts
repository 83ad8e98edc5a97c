/**
 * Images of programs of this machine that were built before. One is used again while every path that was looked at
 * for it, found or not, is as it was, and so is what builds them. What is kept lies in a folder of the account that
 * signs: whoever may write there has its key, too.
 */
import { createHash } from 'node:crypto';
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { builderIdentity } from './builder.js';
import { type Fact, factOf } from './fact.js';

/** What is kept at most, if nothing else is said. */
const MAX_IMAGES = 32;
const MAX_BYTES = 2 ** 30;
/** A file of a process that ended before it was whole, after this time. */
const TORN_MS = 10 * 60_000;

/** Images, and bytes of them. */
export interface KeptLimits {
  readonly images?: number;
  readonly bytes?: number;
}

/** A folder of images by what they were asked for with. */
export class KeptImages {
  /** @param builder what builds them: nothing that another one built is found */
  constructor(
    readonly folder: string,
    readonly builder: string = builderIdentity(),
    readonly limits: KeptLimits = {},
  ) {}

  #path(request: unknown, end: string): string {
    const digest = createHash('sha256')
      .update(JSON.stringify([this.builder, request]))
      .digest('hex');
    return join(this.folder, `${digest.slice(0, 40)}.${end}`);
  }

  /** Path of the image for this request, if nothing of it has changed. */
  find(request: unknown): string | undefined {
    const image = this.#path(request, 'img');
    try {
      const facts = JSON.parse(readFileSync(this.#path(request, 'json'), 'utf8')) as Fact[];
      if (!facts.every(([path, fact]) => factOf(path) === fact)) return undefined;
      const now = new Date();
      utimesSync(image, now, now);
      return image;
    } catch {
      return undefined;
    }
  }

  /**
   * Keeps what `write` puts at a path; returns the path, or undefined when it cannot be kept. `sources` are of
   * before the files were read: what changed meanwhile is then found out.
   */
  keep(request: unknown, sources: readonly Fact[], write: (path: string) => void): string | undefined {
    const image = this.#path(request, 'img');
    try {
      mkdirSync(this.folder, { recursive: true, mode: 0o700 });
      write(image);
      const list = this.#path(request, 'json');
      writeFileSync(`${list}.${process.pid}`, JSON.stringify(sources));
      renameSync(`${list}.${process.pid}`, list);
      this.#forget();
      return image;
    } catch {
      return undefined;
    }
  }

  /** Removes what was not used for longest, and what has no image. */
  #forget(): void {
    const { images: most = MAX_IMAGES, bytes: room = MAX_BYTES } = this.limits;
    const names = readdirSync(this.folder);
    const remove = (name: string) => rmSync(join(this.folder, name), { force: true });
    const images = names
      .filter((name) => name.endsWith('.img'))
      .map((name) => ({ name, ...pick(statSync(join(this.folder, name))) }))
      .sort((a, b) => b.used - a.used);
    let bytes = 0;
    images.forEach(({ name, size }, i) => {
      bytes += size;
      // The newest is about to be used.
      if (i > 0 && (i >= most || bytes > room))
        for (const end of ['json', 'img']) remove(name.replace(/img$/, end));
    });
    for (const name of names)
      if (!/\.(img|json)$/.test(name)) {
        const status = statSync(join(this.folder, name), { throwIfNoEntry: false });
        if (status !== undefined && Date.now() - status.mtimeMs > TORN_MS) remove(name);
      }
  }
}

function pick({ size, mtimeMs }: { size: number; mtimeMs: number }) {
  return { size, used: mtimeMs };
}
