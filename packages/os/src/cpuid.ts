import { checkInteger } from './errors.js';
import { native } from './native.js';

/** EAX, EBX, ECX and EDX of CPUID for a leaf and subleaf, as the processor (or its hypervisor) gives them here. */
export function cpuid(leaf: number, subleaf = 0): [eax: number, ebx: number, ecx: number, edx: number] {
  const out = new Uint32Array(4);
  native().cpuid(
    checkInteger(leaf, 'leaf', 0, 0xffffffff),
    checkInteger(subleaf, 'subleaf', 0, 0xffffffff),
    out,
  );
  return [out[0]!, out[1]!, out[2]!, out[3]!];
}

/** XCR0[31:0], the state components that the system has enabled. CPUID.1:ECX.OSXSAVE must be set. */
export function enabledState(): number {
  return native().enabledState();
}
