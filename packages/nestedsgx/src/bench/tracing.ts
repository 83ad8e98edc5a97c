/** What being traced costs a call: the same doorbell to a machine with a tracer and to one without. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TraceSession } from '../trace/session.js';
import { LeafBed } from './leaf-bed.js';
import { onCpus, withMachine } from './place.js';
import type { BenchContext, Row } from './row.js';
import { median, quantile } from './statistics.js';

/** Runs `work` while machines that are launched connect to the session. */
async function whileTracing<T>(session: TraceSession, work: () => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-bench-'));
  const before = process.env.NSGX_TRACE;
  try {
    process.env.NSGX_TRACE = join(folder, 'trace.sock');
    session.listen(process.env.NSGX_TRACE);
    return await work();
  } finally {
    if (before === undefined) delete process.env.NSGX_TRACE;
    else process.env.NSGX_TRACE = before;
    rmSync(folder, { recursive: true });
  }
}

/** The row `tracing`. */
export async function tracingRow(context: BenchContext): Promise<Row> {
  const rounds = context.short ? 2 : 31;
  const calls = context.short ? 20 : 500;
  let seen = 0;
  using session = new TraceSession(() => {
    seen++;
  });
  return await withMachine(async (plain) => {
    const { connection: without } = await plain.guest();
    return await whileTracing(session, () =>
      withMachine(async (traced) => {
        const { connection: with_ } = await traced.guest();
        using plainBed = new LeafBed(without);
        using tracedBed = new LeafBed(with_);
        return await onCpus(context.cpus.slice(0, 1), async () => {
          const batch = (bed: LeafBed) => median(Array.from({ length: calls }, () => bed.doorbell()));
          for (const bed of [plainBed, tracedBed]) for (let i = 0; i < 4; i++) batch(bed);
          const ratios: number[] = [];
          const floors: number[] = [];
          for (let round = 0; round < rounds; round++) {
            const floor = batch(plainBed);
            floors.push(floor);
            ratios.push(batch(tracedBed) / floor);
            session.poll();
          }
          await session.run(() => true);
          if (seen === 0) throw new Error('the traced machine sent no record');
          return {
            name: 'tracing',
            form: 'doorbell',
            value: median(ratios),
            unit: 'ratio',
            p99: quantile(ratios, 0.99),
            floor: 1,
            peer: null,
            paper: null,
            note: `the doorbell of a traced machine by that of one which is not, ${Math.round(median(floors))} cycles`,
          };
        });
      }),
    );
  });
}
