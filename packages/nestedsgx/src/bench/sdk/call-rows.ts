/** Transitions and buffers of an enclave with an interface in EDL: natively, and from Node beside our own runtime. */
import { join } from 'node:path';
import { sampleDirectory, samplesBuildDirectory } from '@nestedsgx/enclave';
import { type Cvm, type IntelEnclave, openEdl } from '@nestedsgx/sdk';
import { Partner } from '../floor.js';
import { onCpus, withMachine } from '../place.js';
import type { Bench, BenchContext, Row } from '../row.js';
import { interleaved, median, quantile, singleCycles } from '../statistics.js';
import { benchSample } from '../transitions.js';
import { NativeCalls } from './native-calls.js';

const KIB = 1024;
const OCALLS = 100;
/** Where `ecall_ocalls(n)` finds its parameter: without a result at the beginning of the structure, else behind it. */
const operand = (offset: number, value: number): Uint8Array => {
  const bytes = new Uint8Array(offset + 8);
  new DataView(bytes.buffer).setBigUint64(offset, BigInt(value), true);
  return bytes;
};

/** An enclave with `ecall_empty`, `ecall_add`, `ecall_ocalls` and one that takes a buffer in and out. */
export interface CallSubject {
  /** First word of the rows' names. */
  readonly name: string;
  readonly image: `${string}.signed.so`;
  readonly edl: string;
  /** ECALL with `[in, out, size=n] buffer, n`. */
  readonly buffer: string;
  /** Bytes of that buffer. */
  readonly bytes: number;
  /** The OCALL without parameters that `ecall_ocalls` makes. */
  readonly ocall: string;
}

/** Measures the other side of a comparison; one round of it. All in cycles. */
export interface PeerRound {
  readonly ecall: number;
  readonly ocall: number;
  /** Of one call with the buffer. */
  readonly buffer: number;
}

// biome-ignore lint/suspicious/noExplicitAny: calls of a sample by name
type Calls = Record<string, (...values: any[]) => any>;

/** Rows of one subject. `peer` is asked once a round, beside the native calls. */
export async function callRows(
  context: BenchContext,
  cvm: Cvm,
  subject: CallSubject,
  peer?: () => PeerRound,
): Promise<Row[]> {
  const rounds = context.short ? 2 : 9;
  const batch = context.short ? 50 : 2000;
  const [here, there = here] = context.cpus as [number, number?];
  const description = openEdl(subject.edl);
  const index = (name: string) => description.ecalls.findIndex((call) => call.name === name);
  const ocalls = description.ecalls[index('ecall_ocalls')]?.parameters[0];
  const structure = operand(ocalls?.pass === 'value' ? ocalls.offset : 0, batch + 1);
  using native = await NativeCalls.load(cvm, subject.image);
  await using enclave = (await cvm.load(subject.image, {
    edl: description,
    ocalls: { [subject.ocall]: () => undefined },
  })) as IntelEnclave;
  await using own = await cvm.load(benchSample(), { ocalls: { host_nothing: () => undefined } as never });
  await using calc = await cvm.load(join(samplesBuildDirectory(), 'calc', 'calc.sgxs'), {
    ocalls: {} as never,
  });
  const calls = enclave.ecalls as Calls;
  const ours = own.ecalls as unknown as Calls;
  const calcs = calc.ecalls as unknown as Calls;
  using partner = new Partner(there, true);
  const bytes = new Uint8Array(subject.bytes).fill(1);
  const other = new Uint8Array(subject.bytes).fill(2);
  return await onCpus([here], async () => {
    const peers: PeerRound[] = [];
    const times = interleaved(rounds, {
      word: () => singleCycles(partner.spin, batch),
      ecall: () => warm(() => native.ecalls(index('ecall_empty'), batch)),
      ocall: () => warm(() => native.ocalls(index('ecall_ocalls'), structure, batch)),
      peer: () => {
        if (peer !== undefined) peers.push(peer());
        return [];
      },
    });
    const node = interleaved(rounds, {
      ownEmpty: () => warm(() => singleCycles(() => ours.empty!(), batch)),
      empty: () => warm(() => singleCycles(() => calls.ecall_empty!(), batch)),
      ownAdd: () => warm(() => singleCycles(() => calcs.add!(40, 2), batch)),
      add: () => warm(() => singleCycles(() => calls.ecall_add!(40, 2), batch)),
      ownOcall: () => each(() => ours.call_host!(OCALLS), batch / 10),
      ocall: () => each(() => calls.ecall_ocalls!(OCALLS), batch / 10),
      copy: () => singleCycles(() => bytes.set(other), Math.ceil(batch / 100)),
      buffer: () => singleCycles(() => calls[subject.buffer]!(bytes, bytes.length), Math.ceil(batch / 100)),
    });
    const of = (pick: (round: PeerRound) => number) => (peers.length === 0 ? null : median(peers.map(pick)));
    const simulated = peer === undefined ? '' : '; peer: the same source in simulation mode, in the same run';
    const row = (
      what: string,
      form: string,
      cycles: readonly number[],
      floor: readonly number[] | null,
      peerCycles: number | null,
      note: string,
    ): Row => ({
      name: `${subject.name} ${what}`,
      form,
      value: median(cycles),
      unit: 'cycles',
      p99: quantile(cycles, 0.99),
      floor: floor === null ? null : median(floor),
      peer: peerCycles,
      paper: null,
      note,
    });
    const spread = (figures: readonly number[]) =>
      `middle half ${Math.round(quantile(figures, 0.25))}–${Math.round(quantile(figures, 0.75))}`;
    const rate = (cycles: number) => (bytes.length * context.tscHz) / cycles / 1e9;
    const peerBuffer = of(({ buffer }) => buffer);
    const word = `two processes, one shared word${simulated}`;
    return [
      row(
        'ecall',
        'native',
        times.ecall,
        times.word,
        of(({ ecall }) => ecall),
        `from C, empty; ${spread(times.ecall)}; floor: ${word}`,
      ),
      row(
        'ocall',
        'native',
        times.ocall,
        times.word,
        of(({ ocall }) => ocall),
        `answered by C, empty; ${spread(times.ocall)}; floor: ${word}`,
      ),
      row(
        'ecall',
        'from Node',
        node.empty,
        node.ownEmpty,
        null,
        `empty; ${spread(node.empty)}; floor: the same with our own runtime`,
      ),
      row(
        'ecall add',
        'from Node',
        node.add,
        node.ownAdd,
        null,
        `two integers and a result; ${spread(node.add)}; floor: the same with our own runtime`,
      ),
      row(
        'ocall',
        'from Node',
        node.ocall,
        node.ownOcall,
        null,
        `empty, answered by JavaScript, ${OCALLS} in a call; ${spread(node.ocall)}; floor: the same with our own runtime`,
      ),
      {
        name: `${subject.name} buffer`,
        form: `${subject.bytes / KIB} KiB in and out`,
        value: rate(median(node.buffer)),
        unit: 'GB/s',
        p99: rate(quantile(node.buffer, 0.99)),
        floor: rate(median(node.copy)),
        peer: peerBuffer === null ? null : rate(peerBuffer),
        paper: null,
        note: `from Node, counted once; ${spread(node.buffer)} cycles; floor: one copy of it${simulated}`,
      },
    ];
  });

  function each(call: () => void, count: number): number[] {
    call();
    return singleCycles(call, Math.max(3, Math.ceil(count))).map((cycles) => cycles / OCALLS);
  }
}

/** What is measured a second time, so that both sides are in their stride. */
function warm(measure: () => number[]): number[] {
  measure();
  return measure();
}

/** `nsgx bench edl`: the sample with an interface in EDL. */
export const edlCalls: Bench = {
  name: 'edl',
  summary: "calls with the protocol of Intel's SDK, natively and from Node, on a sample of this project",
  async run(context) {
    context.note('calls with an interface in EDL');
    return withMachine((cvm) =>
      callRows(context, cvm, {
        name: 'edl',
        image: `${join(samplesBuildDirectory(), 'marshal', 'marshal')}.signed.so`,
        edl: join(sampleDirectory('marshal'), 'marshal.edl'),
        buffer: 'ecall_reverse',
        bytes: 256 * KIB,
        ocall: 'ocall_nothing',
      }),
    );
  },
};
