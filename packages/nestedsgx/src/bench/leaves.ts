/** ENCLU leaves that the monitor performs: EREPORT and EGETKEY, executed inside an enclave. */
import type { Cvm } from '@nestedsgx/sdk';
import { onCpus, withMachine } from './place.js';
import { PROBE, Probe } from './probe.js';
import type { Bench, BenchContext, Row } from './row.js';
import { averageCycles, median, quantile } from './statistics.js';

const LEAVES = [
  ['ereport', PROBE.EREPORT],
  ['egetkey', PROBE.EGETKEY],
] as const;

async function leafRows(context: BenchContext, cvm: Cvm, form: string): Promise<Row[]> {
  const rounds = context.short ? 3 : 41;
  const leaves = context.short ? 5 : 100;
  using probe = await Probe.load(cvm);
  return LEAVES.map(([name, command]) => {
    probe.call(command, context.short ? 5 : 4000);
    const figures = Array.from(
      { length: rounds },
      () => averageCycles(() => probe.call(command, leaves), 1) / leaves,
    );
    return {
      name,
      form,
      value: median(figures),
      unit: 'cycles',
      p99: quantile(figures, 0.99),
      floor: null,
      peer: null,
      paper: null,
      note: `p99 of averages over ${leaves} leaves`,
    };
  });
}

/** `nsgx bench leaves`. */
export const leaves: Bench = {
  name: 'leaves',
  summary: 'EREPORT and EGETKEY inside an enclave',
  async run(context) {
    context.note('leaves');
    const rows: Row[] = [];
    if (context.cpus.length > 1) rows.push(...(await withMachine((cvm) => leafRows(context, cvm, 'spin'))));
    const oneCpu = () => withMachine((cvm) => leafRows(context, cvm, 'one-cpu'));
    rows.push(...(await onCpus(context.cpus.slice(0, 1), oneCpu)));
    return rows;
  },
};
