import type { MonitorStats } from '@nestedsgx/monitor';

/**
 * What of the machine's figures an account is shown. `all`: the machine's own account, or root. Others see their own
 * enclaves, and that something was refused, not what: the texts name addresses, files and limits that others ran into.
 */
export function visible(stats: MonitorStats, all: boolean, owns: (owner: number) => boolean): MonitorStats {
  if (all) return stats;
  return {
    ...stats,
    failures: { count: stats.failures.count, recent: [] },
    enclaves: visibleOf(stats.enclaves, all, owns),
  };
}

/** The enclaves that an account is shown. */
export function visibleOf<E extends { owner: number }>(
  enclaves: E[],
  all: boolean,
  owns: (owner: number) => boolean,
): E[] {
  return all ? enclaves : enclaves.filter(({ owner }) => owns(owner));
}
