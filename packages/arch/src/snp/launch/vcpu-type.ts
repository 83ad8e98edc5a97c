/** vCPU types by the names QEMU has for them. What is measured of one is its CPUID signature. */
import { NsgxError } from '../../errors.js';

/** CPUID Fn0000_0001_EAX of a family, model and stepping (AMD 25481). Throws SNP_LAUNCH_OPTION. */
export function vcpuSignature(family: number, model: number, stepping: number): number {
  const fits = (value: number, limit: number) => Number.isInteger(value) && value >= 0 && value <= limit;
  if (!fits(family, 0x10e) || !fits(model, 0xff) || !fits(stepping, 0xf)) {
    throw new NsgxError(
      'SNP_LAUNCH_OPTION',
      `no processor has family ${family}, model ${model}, stepping ${stepping}`,
    );
  }
  const base = Math.min(family, 0xf);
  return ((family - base) << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 0xf) << 4) | stepping;
}

const EPYC = vcpuSignature(23, 1, 2);
const ROME = vcpuSignature(23, 49, 0);
const MILAN = vcpuSignature(25, 1, 1);
const GENOA = vcpuSignature(25, 17, 0);
const TURIN = vcpuSignature(26, 0, 0);

/** Signatures of QEMU's types (target/i386/cpu.c), with every version of each. */
export const VCPU_TYPES: Readonly<Record<string, number>> = Object.freeze({
  EPYC,
  'EPYC-v1': EPYC,
  'EPYC-v2': EPYC,
  'EPYC-IBPB': EPYC,
  'EPYC-v3': EPYC,
  'EPYC-v4': EPYC,
  'EPYC-Rome': ROME,
  'EPYC-Rome-v1': ROME,
  'EPYC-Rome-v2': ROME,
  'EPYC-Rome-v3': ROME,
  'EPYC-Milan': MILAN,
  'EPYC-Milan-v1': MILAN,
  'EPYC-Milan-v2': MILAN,
  'EPYC-Genoa': GENOA,
  'EPYC-Genoa-v1': GENOA,
  'EPYC-Turin': TURIN,
});
