/** What this project holds itself to. */
import type { Row } from './row.js';

/** One bar: the most that the value, or its ratio to floor or peer, may be; the least for rates. */
export interface Target {
  readonly name: string;
  readonly form: string;
  readonly of: 'value' | 'ratio' | 'peer';
  readonly limit: number;
  /** The figure is a rate: more is better. */
  readonly atLeast?: true;
  /** A value that will do, whatever the ratio is. */
  readonly or?: number;
}

/** Kernels of nbench, as its port to SGX names them. */
const NBENCH = [
  'numeric sort',
  'string sort',
  'bitfield',
  'fp emulation',
  'fourier',
  'assignment',
  'idea',
  'huffman',
  'neural net',
  'lu decomposition',
];

/** Calls that are served inside: no slower than Linux. */
const LIBOS_CALLS = [
  ...['clock_gettime', 'lseek', 'fstat', 'stat', 'open-close', 'read-64', 'read-4096', 'read-262144'],
  ...['write-1', 'write-4096', 'write-262144', 'pipe-1', 'pipe-4096', 'mmap-64K', 'epoll_wait', 'poll'],
  ...['futex-wake', 'futex-round', 'pipe-round'],
];

const least = (name: string, form: string, limit: number): Target => ({
  ...{ name: `libos ${name}`, form, limit },
  ...{ of: 'ratio', atLeast: true },
});

/** Programs in an enclave: shares of what they do natively. */
const LIBOS: readonly Target[] = [
  { name: 'libos calls', form: 'getpid', of: 'value', limit: 60 },
  ...LIBOS_CALLS.map((form): Target => ({ name: 'libos calls', form, of: 'ratio', limit: 1 })),
  ...['busybox', 'command'].map((form): Target => ({ name: 'libos start', form, of: 'value', limit: 150 })),
  ...['aes-256-gcm', 'sha256', 'rsa2048-sign'].map((form) => least('openssl', form, 0.98)),
  { name: 'libos perl', form: 'loop', of: 'ratio', limit: 1.02 },
  ...['floats', 'objects', 'text'].map(
    (form): Target => ({ name: 'libos python', form, of: 'ratio', limit: 1.02 }),
  ),
  ...['memory', 'tmpfs', 'overlay'].map((form) => least('sqlite', form, 0.85)),
  ...['write overlay', 'read overlay'].map((form) => ({ ...least('fio', form, 0.6), or: 1000 })),
  ...['GET, gate', 'SET, gate'].map((form) => least('redis', form, 0.8)),
  ...['lighttpd', 'nginx'].map((name) => least(name, 'page of 10 KiB, gate', 0.8)),
];

/** Every target. A row may have several. */
export const TARGETS: readonly Target[] = Object.freeze([
  { name: 'ecall', form: 'spin', of: 'value', limit: 1300 },
  { name: 'ecall', form: 'spin', of: 'ratio', limit: 2.3 },
  { name: 'ecall', form: 'one-cpu', of: 'ratio', limit: 1.35 },
  { name: 'ecall', form: 'cold', of: 'value', limit: 32000 },
  { name: 'async', form: 'latency', of: 'value', limit: 15 },
  { name: 'aex-eresume', form: 'spin', of: 'value', limit: 9000 },
  { name: 'aex-eresume', form: 'one-cpu', of: 'value', limit: 26000 },
  { name: 'aex-eresume #UD', form: 'spin', of: 'value', limit: 26000 },
  { name: 'ereport', form: 'one-cpu', of: 'value', limit: 45000 },
  { name: 'egetkey', form: 'one-cpu', of: 'value', limit: 45000 },
  { name: 'eadd-eextend', form: 'batched', of: 'ratio', limit: 0.45, atLeast: true },
  { name: 'eadd-eextend', form: 'batched, one CPU', of: 'ratio', limit: 0.45, atLeast: true },
  { name: 'ewb-eldu', form: 'batched', of: 'ratio', limit: 0.4, atLeast: true },
  { name: 'ewb-eldu', form: 'batched, one CPU', of: 'ratio', limit: 0.4, atLeast: true },
  { name: 'epc fault', form: 'sequential, one CPU', of: 'value', limit: 45 },
  { name: 'epc fault', form: 'random, one CPU', of: 'value', limit: 45 },
  { name: 'compute', form: '', of: 'value', limit: 1.02 },
  { name: 'memory', form: '', of: 'value', limit: 1.02 },
  { name: 'load', form: '256 MiB', of: 'ratio', limit: 1.4 },
  { name: 'load', form: '256 MiB, one CPU', of: 'ratio', limit: 2.2 },
  { name: 'load memory', form: '256 MiB', of: 'value', limit: 256 + 200 },
  { name: 'load', form: 'small', of: 'value', limit: 5 },
  { name: 'launch', form: 'to first ECALL', of: 'value', limit: 800 },
  { name: 'churn left over', form: 'processes', of: 'value', limit: 0 },
  { name: 'churn left over', form: 'descriptors', of: 'value', limit: 0 },
  { name: 'edl ecall', form: 'from Node', of: 'ratio', limit: 1.6 },
  { name: 'edl ocall', form: 'from Node', of: 'ratio', limit: 2.5 },
  { name: 'edl buffer', form: '256 KiB in and out', of: 'value', limit: 2, atLeast: true },
  { name: 'vm ecall', form: 'one-cpu', of: 'value', limit: 15 },
  { name: 'vm compute', form: '', of: 'value', limit: 1.03 },
  { name: 'vm boot', form: 'to first command', of: 'value', limit: 5 },
  ...['attest dcap sgx', 'attest dcap tdx'].flatMap((name): Target[] => [
    { name, form: 'parsed', of: 'peer', limit: 8, atLeast: true },
    { name, form: 'prepared', of: 'peer', limit: 30, atLeast: true },
  ]),
  { name: 'attest snp milan', form: 'parsed', of: 'value', limit: 1500, atLeast: true },
  { name: 'sdk ecall', form: 'native', of: 'peer', limit: 1.1 },
  { name: 'sdk ocall', form: 'native', of: 'peer', limit: 1.6 },
  { name: 'sdk ecall', form: 'from Node', of: 'ratio', limit: 1.3 },
  { name: 'sdk ocall', form: 'from Node', of: 'ratio', limit: 2.5 },
  { name: 'sdk buffer', form: '1024 KiB in and out', of: 'value', limit: 2, atLeast: true },
  { name: 'sdk hashjoin', form: '', of: 'peer', limit: 0.97, atLeast: true },
  { name: 'sdk sqlite', form: 'YCSB A', of: 'peer', limit: 0.97, atLeast: true },
  ...LIBOS,
  ...NBENCH.map((form): Target => ({ name: 'sdk nbench', form, of: 'peer', limit: 0.97, atLeast: true })),
]);

/** A target held against its row. */
export interface Judgement {
  readonly target: Target;
  /** What is compared with the limit. */
  readonly found: number;
  readonly met: boolean;
}

/** The targets of a row that can be judged. */
export function judge(row: Row): Judgement[] {
  const judgements: Judgement[] = [];
  for (const target of TARGETS) {
    if (target.name !== row.name || target.form !== row.form || row.value === null) continue;
    const beside = target.of === 'ratio' ? row.floor : target.of === 'peer' ? row.peer : 1;
    if (beside === null || beside <= 0) continue;
    const found = row.value / beside;
    const judged = (of: Target, value: number): Judgement => {
      const met = of.atLeast ? value >= of.limit : value <= of.limit;
      return { target: of, found: value, met };
    };
    const first = judged(target, found);
    const other = target.or && judged({ ...target, of: 'value', limit: target.or }, row.value);
    // Where neither is met, what it comes nearer to.
    const nearer = other && (other.met || other.found / other.target.limit > first.found / target.limit);
    judgements.push(!first.met && other && nearer ? other : first);
  }
  return judgements;
}
