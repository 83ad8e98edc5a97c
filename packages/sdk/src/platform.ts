/** What this machine's processor offers to enclaves. */
import { readFileSync } from 'node:fs';

/** Processor flags as /proc/cpuinfo names them. */
export function cpuFlags(): ReadonlySet<string> {
  cached ??= readFlags();
  return cached;
}

let cached: ReadonlySet<string> | undefined;

function readFlags(): ReadonlySet<string> {
  try {
    const line = /^flags\s*:(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'latin1'));
    return new Set((line?.[1] ?? '').trim().split(/\s+/));
  } catch {
    return new Set();
  }
}

/** State components (XCR0) that enclaves may use here: XFRM ∩ this is what ECREATE accepts. */
export function platformXfrm(flags: ReadonlySet<string> = cpuFlags()): bigint {
  let xfrm = 3n;
  if (!flags.has('xsave')) return xfrm;
  if (flags.has('avx')) xfrm |= 1n << 2n;
  if (flags.has('avx512f') && flags.has('avx')) xfrm |= 7n << 5n;
  if (flags.has('ospke')) xfrm |= 1n << 9n;
  return xfrm;
}

/** Bits of the runtime's INIT structure: what the processor lacks (XGETBV with ECX=1, AES-NI, PCLMULQDQ). */
export function missingFeatures(flags: ReadonlySet<string> = cpuFlags()): number {
  return (flags.has('xgetbv1') ? 0 : 1) | (flags.has('aes') ? 0 : 2) | (flags.has('pclmulqdq') ? 0 : 4);
}
