/** One figure of a benchmark, and how it stands beside what it is measured against. */

/**
 * `floor` is the least that the mechanism can cost on this machine, measured in the same run; `peer` and `paper` are
 * other people's figures (see anchors.ts). All four are in `unit`; what there is not is null.
 */
export interface Row {
  readonly name: string;
  /** Circumstances of the measurement, such as `spin`; empty when there is only one. */
  readonly form: string;
  /** Median; null when the row was skipped, for the reason in `note`. */
  readonly value: number | null;
  readonly unit: string;
  readonly p99: number | null;
  readonly floor: number | null;
  readonly peer: number | null;
  readonly paper: number | null;
  /** What the floor is, or why the row was skipped. */
  readonly note?: string;
}

/** The machine and the moment of a run. */
export interface Host {
  readonly tscHz: number;
  readonly cpu: string;
  readonly cpus: number;
  readonly kernel: string;
  readonly node: string;
  /** RFC 3339, seconds. */
  readonly date: string;
}

/** The JSON document of `nsgx bench`. */
export interface BenchResult extends Host {
  /** Share of the CPUs (0…1) that other processes used when the benchmarks began: above 0.1 figures are worse than the machine's. */
  readonly busy: number;
  readonly rows: readonly Row[];
}

/** What a benchmark gets. */
export interface BenchContext {
  readonly tscHz: number;
  /** CPUs this process may use, before any benchmark binds itself to one. */
  readonly cpus: readonly number[];
  /** Few repetitions: shows that everything works, not how fast. */
  readonly short: boolean;
  /** Says what is being done. */
  readonly note: (text: string) => void;
}

/** A group of rows that is measured in one go. */
export interface Bench {
  readonly name: string;
  readonly summary: string;
  run(context: BenchContext): Promise<Row[]>;
}
