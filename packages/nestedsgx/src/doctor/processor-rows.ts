/** Rows about the processor, and what the runner finds when it starts. */
import type { Probes } from './probes.js';
import { fatal, info, missing, ok, type Row } from './row.js';

/** HWCAP2_FSGSBASE of x86. */
const FSGSBASE = 2;

function cpuInfo(probes: Probes): { model: string; flags: ReadonlySet<string> } {
  const text = probes.text('/proc/cpuinfo') ?? '';
  const field = (name: string) => new RegExp(`^${name}\\s*:(.*)$`, 'm').exec(text)?.[1]?.trim() ?? '';
  return {
    model: `${field('vendor_id')} ${field('model name')}`.trim() || 'unknown',
    flags: new Set(field('flags').split(/\s+/)),
  };
}

export function processorRow(probes: Probes): Row {
  return info('processor', cpuInfo(probes).model);
}

export function fsgsbaseRow(probes: Probes): Row {
  return (probes.hwcap2() & FSGSBASE) !== 0
    ? ok('fsgsbase', 'enabled (AT_HWCAP2)')
    : fatal(
        'fsgsbase',
        'not enabled for user code (AT_HWCAP2)',
        'use an Ivy Bridge, Zen or newer processor, Linux 5.9 or newer, and no "nofsgsbase" on its command line',
      );
}

export function xsaveRow(probes: Probes): Row {
  const { flags } = cpuInfo(probes);
  if (!flags.has('xsave'))
    return missing(
      'xsave',
      'no XSAVE',
      'enclaves have x87 and SSE state only; images signed for AVX are refused',
      'use a processor (or a virtual CPU model) with XSAVE, such as qemu -cpu host',
    );
  const sets = ['avx', 'avx512f', 'pku'].filter((name) => flags.has(name));
  if (!flags.has('avx'))
    return missing(
      'xsave',
      'XSAVE without AVX',
      'images signed for AVX (XFRM 0x7) are refused',
      'let the hypervisor pass AVX through',
    );
  return ok('xsave', `XSAVE with ${sets.join(', ')}`);
}

export function cryptoRow(probes: Probes): Row {
  const { flags } = cpuInfo(probes);
  const lacking = ['aes', 'pclmulqdq'].filter((name) => !flags.has(name));
  return lacking.length === 0
    ? ok('aes', 'AES and PCLMULQDQ instructions')
    : missing(
        'aes',
        `no ${lacking.join(', no ')}`,
        'sealing and keys in enclaves are computed in software, slower',
        'let the hypervisor pass these instructions through',
      );
}

export function cpusRow(probes: Probes): Row {
  const { length } = probes.usableCpus();
  return length >= 2
    ? ok('cpus', `${length} usable: host and enclave may spin for each other`)
    : missing(
        'cpus',
        `${length} usable`,
        'nobody spins: each call costs two context switches (about 15,000 cycles instead of 1,300)',
        'give the machine, container or process (taskset, cpuset) a second CPU',
      );
}

/** The rows that only a started runner can tell. */
export function runnerRows(probes: Probes): Row[] {
  let facts: ReturnType<Probes['runner']>;
  try {
    facts = probes.runner();
  } catch (error) {
    return [fatal('runner', (error as Error).message, cureOf(error) ?? 'see the other rows')];
  }
  return [
    ok('runner', `starts; XCR0 0x${facts.xcr0.toString(16)}, XSAVE image ${facts.xsaveBytes} bytes`),
    facts.threadLookup
      ? ok('enclu-patching', 'threads are found by descriptor limit: ENCLU sites are patched')
      : missing(
          'enclu-patching',
          'no per-thread descriptor (IA32 emulation is off or refused)',
          'every ENCLU traps: about 20,000 cycles more for each exit from an enclave',
          'boot without ia32_emulation=0, on a kernel with CONFIG_IA32_EMULATION; allow int 0x80 in the container',
        ),
    facts.notDumpableFromStart
      ? ok('runner-memory', 'runners cannot be read or traced from their first instruction on')
      : missing(
          'runner-memory',
          probes.uid === 0 ? 'started as root' : 'a runner is dumpable until it has started',
          'for a moment while it starts, before it gets any enclave memory, a runner could be traced',
          probes.uid === 0
            ? 'run as an ordinary user; root sees everything in any case'
            : 'check that the kernel honours the mode of memory files',
        ),
  ];
}

/** The advice that an error carries. */
export function cureOf(error: unknown): string | undefined {
  return error instanceof Error && 'advice' in error && typeof error.advice === 'string'
    ? error.advice
    : undefined;
}
