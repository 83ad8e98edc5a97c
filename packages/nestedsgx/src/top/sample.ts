/** Figures of a machine at one moment, and the rates between two. */
import { NsgxError } from '@nestedsgx/arch';
import { z } from 'zod';

/** Printable, so that nothing in it reaches the terminal as a control sequence. */
const text = z.string().regex(/^\P{C}{0,300}$/u);
const count = z.number().int().min(0);
const leafCounts = z.record(text, z.object({ executed: count, refused: count }));

const pagingSchema = z.object({ evicted: count, loaded: count, augmented: count.optional() });

const enclaveSchema = z.object({
  id: count,
  owner: count,
  state: text,
  pid: count.nullable(),
  pages: count,
  threads: count,
  mrenclave: z.string().regex(/^[0-9a-f]{0,64}$/),
  transitions: z.object({ eenter: count, eresume: count, eexit: count, aex: z.record(text, count) }),
  leaves: leafCounts,
  paging: pagingSchema.optional(),
});

const sampleSchema = z.object({
  /** Milliseconds on the machine's clock. */
  clock: z.number(),
  machine: z.object({
    epc: z.object({ frames: count, used: count }),
    calls: count,
    leaves: leafCounts,
  }),
  enclaves: z.array(enclaveSchema),
  omitted: count.optional(),
});

/** The answer to the control request `stats`. */
export type Sample = z.output<typeof sampleSchema>;
/** One enclave of a sample. */
export type EnclaveSample = z.output<typeof enclaveSchema>;

/** Checks an answer to `stats`. @throws NsgxError STATS_UNREADABLE naming the field */
export function parseSample(value: unknown): Sample {
  const result = sampleSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new NsgxError(
    'STATS_UNREADABLE',
    `field ${issue?.path.join('.')} of the machine's figures: ${issue?.message}`,
    { advice: 'use the nsgx of the version that the machine was started with' },
  );
}

/** What an enclave did in a second, and has. */
export interface EnclaveRates {
  readonly id: number;
  readonly owner: number;
  readonly state: string;
  readonly mrenclave: string;
  readonly threads: number;
  readonly pages: number;
  /** EENTERs: ECALLs, and returns from OCALLs. */
  readonly entries: number;
  readonly exits: number;
  readonly resumes: number;
  /** Asynchronous exits by cause. */
  readonly aex: Readonly<Record<string, number>>;
  /** Pages that came into the EPC for a fault: loaded or added at run time. */
  readonly epcFaults: number;
  readonly evicted: number;
  readonly loaded: number;
  /** Leaves on its pages and by its threads. */
  readonly leaves: number;
}

/** Rates of every enclave of `now`, per second. One that `before` does not have began at nothing. */
export function rates(before: Sample, now: Sample): EnclaveRates[] {
  const seconds = Math.max((now.clock - before.clock) / 1000, 1e-6);
  const earlier = new Map(before.enclaves.map((enclave) => [enclave.id, enclave]));
  return now.enclaves.map((enclave) => {
    const was = earlier.get(enclave.id);
    const rate = (figure: (of: EnclaveSample) => number) =>
      (figure(enclave) - (was === undefined ? 0 : figure(was))) / seconds;
    const aex = Object.fromEntries(
      Object.keys(enclave.transitions.aex).map((cause) => [
        cause,
        rate((of) => of.transitions.aex[cause] ?? 0),
      ]),
    );
    const { id, owner, state, mrenclave, threads, pages } = enclave;
    return {
      id,
      owner,
      state,
      mrenclave,
      threads,
      pages,
      entries: rate((of) => of.transitions.eenter),
      exits: rate((of) => of.transitions.eexit),
      resumes: rate((of) => of.transitions.eresume),
      aex,
      epcFaults: rate((of) => (of.paging?.loaded ?? 0) + (of.paging?.augmented ?? 0)),
      evicted: rate((of) => of.paging?.evicted ?? 0),
      loaded: rate((of) => of.paging?.loaded ?? 0),
      leaves: rate((of) => Object.values(of.leaves).reduce((sum, { executed }) => sum + executed, 0)),
    };
  });
}
