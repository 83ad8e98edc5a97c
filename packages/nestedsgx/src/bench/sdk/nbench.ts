/**
 * The kernels of nbench 2.2.3 in an enclave, begun and timed as the untrusted half of the port to SGX does: what is set up
 * before a kernel is not counted.
 */
import { readFileSync } from 'node:fs';

// biome-ignore lint/suspicious/noExplicitAny: calls of an enclave by name
export type Calls = Record<string, (...values: any[]) => any>;

/** One kernel: `once` prepares and runs it, and gives the seconds it took and the iterations that counts as. */
export interface Kernel {
  readonly name: string;
  /** Its number on the command line of the program in simulation mode. */
  readonly number: number;
  readonly label: RegExp;
  begin(calls: Calls): () => { seconds: number; iterations: number };
}

const SORT = 8111;
const FLOATS = 3000;
const COEFFICIENTS = 100;
const ASSIGN = 101;
const IDEA = 4000;
const LOOPS = 100;
const HUFFMAN = 5000;
const LU = 101;
/** Shortest run that the port takes for enough to time, in seconds. */
const LEAST = 60e-6;
/** Runs until calls from JavaScript are compiled. */
const WARM_UP = 100;

function timed(work: () => void): number {
  const start = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - start) / 1e9;
}

/** `data`: the lines of NNET.DAT, which comes with nbench. */
export function nbenchKernels(data: string | undefined): Kernel[] {
  const value = (number: number, label: string, begin: Kernel['begin']): Kernel => ({
    name: label.toLowerCase(),
    number,
    label: new RegExp(`^${label}\\s*:[\\s\\S]*?:?\\s+([0-9.e+]+)\\s+:`, 'm'),
    begin,
  });
  return [
    value(1, 'NUMERIC SORT', (c) => {
      c.encl_AllocateMemory!(8 * SORT);
      return () => {
        c.encl_LoadNumArrayWithRand!(SORT, 1);
        return { seconds: timed(() => c.encl_NumHeapSort!(0, 0, SORT - 1)), iterations: 1 };
      };
    }),
    value(2, 'STRING SORT', (c) => {
      c.encl_AllocateMemory!(SORT + 100);
      return () => {
        const strings = c.encl_LoadStringArray!(1, SORT);
        const seconds = timed(() => c.encl_call_StrHeapSort!(strings, 1, SORT));
        c.encl_FreeMemory2!();
        return { seconds, iterations: 1 };
      };
    }),
    value(3, 'BITFIELD', bitfield),
    value(4, 'FP EMULATION', (c) => {
      for (const n of ['', '2', '3']) c[`encl_AllocateMemory${n}`]!(FLOATS * 64);
      c.encl_SetupCPUEmFloatArrays!(FLOATS);
      return () => ({ seconds: timed(() => c.encl_DoEmFloatIteration!(FLOATS, 1)), iterations: 1 });
    }),
    value(5, 'FOURIER', (c) => {
      for (const n of ['', '2']) c[`encl_AllocateMemory${n}`]!(COEFFICIENTS * 8);
      const iterations = COEFFICIENTS * 2 - 1;
      return () => ({ seconds: timed(() => c.encl_DoFPUTransIteration!(COEFFICIENTS)), iterations });
    }),
    value(6, 'ASSIGNMENT', (c) => {
      c.encl_AllocateMemory!(8 * ASSIGN * ASSIGN);
      return () => {
        c.encl_LoadAssignArrayWithRand!(1);
        return { seconds: timed(() => c.encl_call_AssignmentTest!(1)), iterations: 1 };
      };
    }),
    value(7, 'IDEA', (c) => {
      for (const n of ['', '2', '3']) c[`encl_AllocateMemory${n}`]!(IDEA);
      c.encl_app_loadIDEA!(IDEA);
      const key = Uint16Array.from({ length: 52 }, (_, i) => 1 + ((i * 40_503) % 60_000));
      return () => ({ seconds: timed(() => c.encl_callIDEA!(IDEA, key, key, LOOPS)), iterations: LOOPS });
    }),
    value(8, 'HUFFMAN', (c) => {
      for (const n of ['', '2', '3']) c[`encl_AllocateMemory${n}`]!(HUFFMAN);
      c.encl_AllocateMemory4!(512 * 32);
      c.encl_buildHuffman!(HUFFMAN);
      return () => ({ seconds: timed(() => c.encl_callHuffman!(LOOPS, HUFFMAN)), iterations: LOOPS });
    }),
    ...(data === undefined ? [] : [value(9, 'NEURAL NET', (c) => neuralNet(c, data))]),
    value(10, 'LU DECOMPOSITION', (c) => {
      c.encl_AllocateMemory!(8 * LU * LU);
      c.encl_AllocateMemory2!(8 * LU);
      c.encl_AllocateMemory3!(8 * LU);
      c.encl_build_problem!();
      c.encl_AllocateMemory4!(8 * LU * LU * 2);
      c.encl_AllocateMemory5!(8 * LU * 2);
      return () => {
        c.encl_moveSeedArrays!(1);
        return { seconds: timed(() => c.encl_call_lusolve!(1)), iterations: 1 };
      };
    }),
  ];
}

/** One ECALL for each operation; more operations until they take long enough. */
function bitfield(c: Calls): () => { seconds: number; iterations: number } {
  c.encl_AllocateMemory!(32_768 * 8);
  let operations = 30;
  const once = () => {
    const bits = Number(c.encl_bitSetup!(32_768, operations));
    const seconds = timed(() => {
      for (let i = 0; i < operations; i++)
        if (i % 3 === 2) c.encl_FlipBitRun!(i + i, i + i + 1);
        else c.encl_ToggleBitRun!(i + i, i + i + 1, 1 - (i % 3));
    });
    return { seconds, iterations: bits };
  };
  for (; ; operations += 100) {
    c.encl_AllocateMemory2!(operations * 2 * 8);
    const seconds = Array.from({ length: WARM_UP }, () => once().seconds);
    if (Math.min(...seconds) > LEAST) return once;
    c.encl_FreeMemory2!();
  }
}

function neuralNet(c: Calls, data: string): () => { seconds: number; iterations: number } {
  const numbers = data.trim().split(/\s+/).map(Number);
  const [columns = 5, rows = 7, outputs = 8, given = 0] = numbers;
  const patterns = Math.min(given, 10);
  let at = 4;
  c.encl_set_numpats!(patterns);
  for (let pattern = 0; pattern < patterns; pattern++) {
    for (let i = 0; i < columns * rows; i++)
      c.encl_set_in_pats!(pattern, i, Math.min(0.9, Math.max(0.1, numbers[at++] as number)));
    for (let i = 0; i < outputs; i++) c.encl_set_out_pats!(pattern, i, numbers[at++]);
  }
  return () => ({ seconds: timed(() => c.encl_DoNNetIteration!(1)), iterations: 1 });
}

/** NNET.DAT, if it is there. */
export function readNnetData(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}
