/** What this machine's processor offers to enclaves. */
import { readFileSync } from 'node:fs';
import { cpuid, enabledState } from '@nestedsgx/os';

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

/** The flags that the functions below ask for, from the processor itself: the kernel takes 4 ms for /proc/cpuinfo. */
function stateFlags(): ReadonlySet<string> {
  const [, , features] = cpuid(1);
  const xsave = (features & (1 << 27)) !== 0;
  const enabled = xsave ? enabledState() : 0;
  const [extended] = xsave ? cpuid(0xd, 1) : [0];
  const named: readonly [string, boolean][] = [
    ['xsave', xsave],
    ['avx', (enabled & 4) !== 0],
    ['avx512f', (enabled & 0xe0) === 0xe0],
    ['ospke', (enabled & 0x200) !== 0],
    ['xgetbv1', (extended & 4) !== 0],
    ['aes', (features & (1 << 25)) !== 0],
    ['pclmulqdq', (features & 2) !== 0],
  ];
  return new Set(named.filter(([, there]) => there).map(([name]) => name));
}

/** State components (XCR0) that enclaves may use here: XFRM ∩ this is what ECREATE accepts. */
export function platformXfrm(flags: ReadonlySet<string> = stateFlags()): bigint {
  let xfrm = 3n;
  if (!flags.has('xsave')) return xfrm;
  if (flags.has('avx')) xfrm |= 1n << 2n;
  if (flags.has('avx512f') && flags.has('avx')) xfrm |= 7n << 5n;
  if (flags.has('ospke')) xfrm |= 1n << 9n;
  return xfrm;
}

/** Bits of the runtime's INIT structure: what the processor lacks (XGETBV with ECX=1, AES-NI, PCLMULQDQ). */
export function missingFeatures(flags: ReadonlySet<string> = stateFlags()): number {
  return (flags.has('xgetbv1') ? 0 : 1) | (flags.has('aes') ? 0 : 2) | (flags.has('pclmulqdq') ? 0 : 4);
}
