/** CPUID, which enclaves cannot execute. */
import { cpuid } from '@nestedsgx/os';
import type { BuiltinOcalls } from './builtin-host.js';

/**
 * sgx_oc_cpuidex: what the processor says here. Nothing is filtered: any program may execute CPUID, and the trusted runtime
 * does not trust the answer.
 */
export const cpuidOcalls: BuiltinOcalls = {
  sgx_oc_cpuidex: (_cpuinfo: unknown, leaf: number, subleaf: number) => ({
    out: { cpuinfo: cpuid(leaf >>> 0, subleaf >>> 0).map((word) => word | 0) },
  }),
};
