/** Rows about the operating system: kernel, what it or a container allows, and limits. */
import type { Probes } from './probes.js';
import { cureOf } from './processor-rows.js';
import { fatal, info, missing, ok, type Row } from './row.js';

const MIB = 2 ** 20;
/** The kernel's default; one large enclave stays well below it. */
const USUAL_MAP_COUNT = 65_530;
/** Open files of a process with a few hundred enclaves. */
const COMFORTABLE_FILES = 1024;
const COMFORTABLE_MEMORY = 1024 * MIB;

/** True when dotted `version` is at least `wanted`. */
function atLeast(version: string, wanted: readonly number[]): boolean {
  const parts = version.split(/[.-]/).map((part) => Number.parseInt(part, 10));
  for (const [at, want] of wanted.entries()) {
    const have = parts[at] ?? 0;
    if (have !== want) return have > want;
  }
  return true;
}

export function platformRow(probes: Probes): Row {
  const found = `${probes.arch} ${probes.platform}`;
  return probes.platform === 'linux' && probes.arch === 'x64'
    ? ok('platform', found)
    : fatal(
        'platform',
        found,
        'use an x86-64 Linux machine; sign, inspect, measure and verify work here all the same',
      );
}

export function nodeRow(probes: Probes): Row {
  return atLeast(probes.nodeVersion, [20, 19])
    ? ok('node', probes.nodeVersion)
    : fatal('node', probes.nodeVersion, 'install Node 20.19 or newer');
}

export function kernelRow(probes: Probes): Row {
  const release = probes.kernelRelease();
  if (!atLeast(release, [5, 13])) return fatal('kernel', release, 'use Linux 5.13 or newer');
  return atLeast(release, [6, 4])
    ? ok('kernel', release)
    : missing(
        'kernel',
        release,
        'pages of a running enclave cannot be mapped read-only (needs UFFDIO_CONTINUE with write protection)',
        'use Linux 6.4 or newer',
      );
}

export function userfaultfdRow(probes: Probes): Row {
  const result = probes.userfaultfd();
  return result.supported
    ? ok('userfaultfd', 'allowed, with minor faults and write protection of memory files')
    : missing(
        'userfaultfd',
        result.reason,
        'mappings are fixed at EINIT: pages of a running enclave cannot be restricted or removed',
        'allow userfaultfd in the container’s seccomp profile; Linux 5.19 or newer',
      );
}

export function seccompRow(probes: Probes): Row {
  const actions = probes.text('/proc/sys/kernel/seccomp/actions_avail');
  if (actions === undefined)
    return fatal(
      'seccomp',
      'the kernel does not list seccomp actions',
      'use a kernel with CONFIG_SECCOMP_FILTER',
    );
  const lacking = ['kill_process', 'trap'].filter((action) => !actions.split(/\s+/).includes(action));
  return lacking.length === 0
    ? ok('seccomp', 'filters with kill_process and trap')
    : fatal('seccomp', `no action ${lacking.join(', ')}`, 'use a kernel with CONFIG_SECCOMP_FILTER');
}

export function memfdRow(probes: Probes): Row {
  const sysctl = probes.text('/proc/sys/vm/memfd_noexec')?.trim();
  const setting = sysctl === undefined ? '' : ` (vm.memfd_noexec = ${sysctl})`;
  try {
    probes.executableMemoryFile();
    return ok('memory-files', `executable memory files allowed${setting}`);
  } catch (error) {
    return fatal(
      'memory-files',
      `${(error as Error).message}${setting}`,
      'sysctl vm.memfd_noexec=1 (or 0): enclaves and runners execute from memory files',
    );
  }
}

export function pidfdRow(probes: Probes): Row {
  try {
    probes.pidfd();
    return ok('pidfd', 'allowed');
  } catch (error) {
    return fatal(
      'pidfd',
      (error as Error).message,
      cureOf(error) ?? 'allow pidfd_open in the container’s seccomp profile',
    );
  }
}

export function mapCountRow(probes: Probes): Row {
  const value = Number(probes.text('/proc/sys/vm/max_map_count') ?? Number.NaN);
  if (Number.isNaN(value)) return info('max-map-count', 'unknown');
  return value >= USUAL_MAP_COUNT
    ? ok('max-map-count', String(value))
    : missing(
        'max-map-count',
        String(value),
        'enclaves with many separate page ranges may fail to start (ENOMEM)',
        `sysctl vm.max_map_count=${USUAL_MAP_COUNT}`,
      );
}

export function openFilesRow(probes: Probes): Row {
  const { soft, hard } = probes.openFiles();
  return soft >= COMFORTABLE_FILES
    ? ok('open-files', `${soft} (hard limit ${hard})`)
    : missing(
        'open-files',
        `${soft} (hard limit ${hard})`,
        'a machine uses a handful for each enclave: with many, EMFILE',
        `ulimit -n ${COMFORTABLE_FILES}`,
      );
}

/** RAM, or less when the cgroup allows less. Memory files count as memory. */
export function memoryRow(probes: Probes): Row {
  const limit = Number(probes.text('/sys/fs/cgroup/memory.max')?.trim() ?? Number.NaN);
  const total = Math.min(probes.totalMemory(), Number.isNaN(limit) ? Number.POSITIVE_INFINITY : limit);
  const found = `${Math.floor(total / MIB)} MiB${total === limit ? ' (limit of the cgroup)' : ''}`;
  return total >= COMFORTABLE_MEMORY
    ? ok('memory', found)
    : missing(
        'memory',
        found,
        'a machine needs about 150 MiB beside its enclaves; large ones will not fit',
        'give it 1 GiB or more, or choose a smaller EPC (nsgx cvm start --epc 256)',
      );
}

/** The directory that keeps the chip's keys must be closed to other users. */
export function stateRow(probes: Probes): Row {
  const facts = probes.path(probes.stateDir);
  const elsewhere = 'set NSGX_HOME to a directory of yours';
  if (facts === undefined)
    return probes.canMake(probes.stateDir)
      ? ok('state', `${probes.stateDir} (will be made, mode 0700, by the first machine)`)
      : fatal('state', `${probes.stateDir} does not exist and cannot be made`, elsewhere);
  if (!facts.directory) return fatal('state', `${probes.stateDir} is no directory`, elsewhere);
  const cure = `chmod 700 ${probes.stateDir}, or ${elsewhere}`;
  if (facts.uid !== probes.uid)
    return fatal(
      'state',
      `${probes.stateDir} belongs to user ${facts.uid}, this is user ${probes.uid}`,
      cure,
    );
  const mode = facts.mode.toString(8).padStart(4, '0');
  return (facts.mode & 0o077) === 0
    ? ok('state', `${probes.stateDir}, mode ${mode}`)
    : fatal('state', `${probes.stateDir} has mode ${mode}: other users may read the chip’s keys`, cure);
}
