/** What a conformance case is, and what it has at hand. */
import type { SigningKey } from '@nestedsgx/image/node';
import type { Feature, Platform } from './platform.js';
import type { ProbeOptions } from './probe/image.js';
import { Probe } from './probe/probe.js';

/** One behaviour that the manual demands. */
export interface ConformanceCase {
  /** Leaf function, or EXCEPTION. */
  readonly leaf: string;
  /** Unique within the leaf, kebab-case. */
  readonly id: string;
  /** What must hold, in a sentence. */
  readonly title: string;
  /** What the platform must offer. */
  readonly needs?: readonly Feature[];
  /** Where software cannot do as the manual says: id of the deviation in deviations.ts. */
  readonly deviation?: string;
  /** Throws when the platform behaves otherwise. */
  run(c: CaseContext): void;
}

/** Platform and probes of one case; what was opened is closed after it. */
export class CaseContext {
  readonly platform: Platform;
  readonly key: SigningKey;
  readonly #open: { close(): void }[] = [];

  constructor(platform: Platform, key: SigningKey) {
    this.platform = platform;
    this.key = key;
  }

  /** A loaded probe. */
  probe(options: ProbeOptions = {}, slots?: number): Probe {
    return this.closing(Probe.load(this.platform, this.key, options, slots));
  }

  /** Closes this after the case. */
  closing<T extends { close(): void }>(what: T): T {
    this.#open.push(what);
    return what;
  }

  /** Closes everything the case opened. */
  end(): void {
    for (const what of this.#open.splice(0).reverse()) what.close();
  }
}
