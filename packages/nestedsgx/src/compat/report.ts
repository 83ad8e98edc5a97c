/** What a compatibility run finds: plain data, sent between processes and written as JSON. */

/** What is known of a file before it is loaded. */
export interface Inspection {
  /** Release of the SDK's trusted runtime. */
  readonly sdk: string | null;
  /** Versions of its metadata; the one in use is marked by `*`. */
  readonly metadata: string;
  readonly mode: 'hardware' | 'simulation' | 'no ENCLU';
  readonly threads: number;
  /** ELRANGE and pages that are added, in bytes. */
  readonly size: number;
  readonly added: number;
  readonly mrenclave: string;
  /** MRENCLAVE is that of SIGSTRUCT, and the signature verifies. */
  readonly matches: boolean;
  readonly signature: boolean;
  readonly debug: boolean;
}

/** The EDL file that was used, relative to the folder, and how surely it is the enclave's. */
export interface EdlChoice {
  readonly file: string;
  /** By the enclave's own symbols, or as the only thing known: its place. */
  readonly fit: 'symbols' | 'place' | 'told';
}

/** A failure: code of the error, the sgx_status_t that it stands for, what was said, and causes. */
export interface Failure {
  readonly code: string;
  readonly status: string | null;
  readonly message: string;
}

/** What came of one call. */
export interface CallOutcome {
  readonly name: string;
  readonly outcome: 'returned' | 'failed' | 'unexpected' | 'hung' | 'crashed';
  /** Told by a plan; else with zeros. */
  readonly told: boolean;
  readonly milliseconds: number;
  readonly result?: unknown;
  readonly out?: unknown;
  readonly printed?: string;
  readonly failure?: Failure;
  /** What was expected and did not come. */
  readonly expected?: string;
}

/** One enclave, or one scenario of several. */
export interface EnclaveReport {
  /** Path relative to the folder. */
  readonly file: string;
  readonly kind: 'enclave' | 'scenario';
  title?: string;
  note?: string;
  inspection?: Inspection;
  edl?: EdlChoice;
  /** Why there is no EDL file. */
  noEdl?: string;
  loaded: boolean;
  /** Why it could not be read, loaded or initialised. */
  failure?: Failure;
  calls: CallOutcome[];
  leftOut: { name: string; why: string }[];
  /** OCALLs that were answered with zeros. */
  zeros: string[];
}

/** Where a run took place. */
export interface RunPlace {
  readonly processor: string;
  readonly kernel: string;
  readonly node: string;
  readonly version: string;
  readonly date: string;
}

/** The whole run. */
export interface CompatReport {
  readonly place: RunPlace;
  readonly enclaves: readonly EnclaveReport[];
}

/** Messages of the process that tries an enclave. */
export type ChildMessage =
  | { readonly kind: 'inspected'; readonly inspection: Inspection }
  | { readonly kind: 'edl'; readonly edl?: EdlChoice; readonly noEdl?: string }
  | {
      readonly kind: 'plan';
      readonly calls: readonly { name: string; seconds?: number }[];
      readonly leftOut: EnclaveReport['leftOut'];
      readonly told: boolean;
      readonly title?: string;
      readonly note?: string;
    }
  | { readonly kind: 'loaded' }
  | { readonly kind: 'calling'; readonly index: number; readonly name?: string }
  | { readonly kind: 'called'; readonly index: number; readonly call: CallOutcome }
  | { readonly kind: 'zeros'; readonly name: string }
  | { readonly kind: 'failed'; readonly failure: Failure }
  | { readonly kind: 'done' };

/** What that process is told. */
export interface ChildTask {
  readonly root: string;
  readonly path: string;
  readonly kind: EnclaveReport['kind'];
  /** Calls before this one were made by an earlier process. */
  readonly from: number;
}
