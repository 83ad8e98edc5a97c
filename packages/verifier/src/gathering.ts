/** The files of one fetch: what was there and still serves, what was fetched, what cannot be had. */
import type { CollateralFiles } from './cache.js';
import { type Answer, get, type HttpOptions } from './http.js';

/** A file that was fetched. */
export interface Fetched {
  readonly file: string;
  readonly url: string;
}

/** A file that no service gives. */
export interface Missing {
  readonly file: string;
  readonly reason: string;
}

/** What {@link fetchCollateral} returns. */
export interface FetchResult {
  /** All files there are now, for `collateralFromFiles`: those given and those fetched. */
  readonly files: CollateralFiles;
  readonly fetched: readonly Fetched[];
  /** Names of files that were there and still serve. */
  readonly kept: readonly string[];
  readonly missing: readonly Missing[];
}

/** Collects a {@link FetchResult}. */
export class Gathering {
  readonly files: CollateralFiles;
  readonly fetched: Fetched[] = [];
  readonly kept: string[] = [];
  readonly missing: Missing[] = [];

  constructor(
    have: CollateralFiles,
    readonly http: HttpOptions,
  ) {
    this.files = new Map(have);
  }

  /** True, and noted, when the file is there and `serves`. */
  keeps(file: string, serves: (bytes: Uint8Array) => boolean): boolean {
    const bytes = this.files.get(file);
    if (bytes === undefined || !serves(bytes)) return false;
    this.kept.push(file);
    return true;
  }

  /** GETs; see `get`. @throws VerifierError */
  async ask(url: string, limit: number, headers?: Record<string, string>): Promise<Answer> {
    return (await get(url, limit, this.http, { headers }))!;
  }

  /** GETs; null for status 404. @throws VerifierError */
  async askPerhaps(url: string, limit: number): Promise<Answer | null> {
    return get(url, limit, this.http, { absent: true });
  }

  put(file: string, bytes: Uint8Array, url: string): void {
    this.files.set(file, bytes);
    this.fetched.push({ file, url });
  }

  lacks(file: string, reason: string): void {
    this.missing.push({ file, reason });
  }
}
