/** The GHCB MSR protocol (AMD 56421): what a guest without a GHCB page can ask through MSR C001_0130. */
import { GHCB_MSR } from '@nestedsgx/arch';
import type { Machine } from '../machine.js';
import { ghcbGpa, MAX_VCPUS } from '../memory-map.js';
import { GHCB_VERSION } from './ghcb.js';
import { changePageState } from './page-state-change.js';

/** Hypervisor features: SNP, AP creation, multi-VMPL, page state change. */
export const HV_FEATURES = 0b110_0011;
/** Position of the C-bit that SEV_INFO reports. */
const C_BIT = 51n;

/** What the machine answers, and what it must do besides. */
export type MsrAnswer =
  | { kind: 'value'; value: bigint }
  | { kind: 'run-vmpl'; vmpl: number }
  | { kind: 'hold' }
  | { kind: 'terminate'; set: number; code: number };

/**
 * Decodes a value that vCPU `index` wrote to the MSR and executes it. An unknown request, or one with reserved
 * bits set, ends the guest with SEV-ES reason set 0, code 0 (general termination), as the standard asks for.
 */
export function ghcbMsr(machine: Machine, index: number, msr: bigint): MsrAnswer {
  const data = msr >> 12n;
  switch (Number(msr & 0xfffn)) {
    case GHCB_MSR.SEV_INFO_REQUEST:
      if (data !== 0n) break;
      return value(
        (BigInt(GHCB_VERSION) << 48n) | (BigInt(GHCB_VERSION) << 32n) | (C_BIT << 24n),
        GHCB_MSR.SEV_INFO_RESPONSE,
      );
    case GHCB_MSR.CPUID_REQUEST:
      // CPUID comes from the measured CPUID page; the hypervisor's word is not offered.
      return value(0n, GHCB_MSR.CPUID_RESPONSE);
    case GHCB_MSR.AP_RESET_HOLD_REQUEST:
      if (data !== 0n) break;
      return { kind: 'hold' };
    case GHCB_MSR.REGISTER_GHCB_REQUEST: {
      const own =
        index >= 0 && index < MAX_VCPUS && data << 12n === BigInt(ghcbGpa(index, machine.window.gpa));
      return value(own ? data << 12n : 0xf_ffff_ffff_ffffn << 12n, GHCB_MSR.REGISTER_GHCB_RESPONSE);
    }
    case GHCB_MSR.PAGE_STATE_CHANGE_REQUEST: {
      const gfn = data & 0xff_ffff_ffffn;
      const op = Number((msr >> 52n) & 0xfn);
      const done =
        msr >> 56n === 0n && (op === 1 || op === 2) && changePageState(machine, Number(gfn) * 4096, op, 0);
      return value(done ? 0n : 1n << 32n, GHCB_MSR.PAGE_STATE_CHANGE_RESPONSE);
    }
    case GHCB_MSR.RUN_VMPL_REQUEST: {
      const vmpl = Number((msr >> 32n) & 0xffn);
      if (msr >> 40n !== 0n || ((msr >> 12n) & 0xf_ffffn) !== 0n || vmpl !== 0) {
        return value(1n << 32n, GHCB_MSR.RUN_VMPL_RESPONSE);
      }
      return { kind: 'run-vmpl', vmpl };
    }
    case GHCB_MSR.HV_FEATURES_REQUEST:
      if (data !== 0n) break;
      return value(BigInt(HV_FEATURES) << 12n, GHCB_MSR.HV_FEATURES_RESPONSE);
    case GHCB_MSR.TERMINATE_REQUEST:
      return { kind: 'terminate', set: Number((msr >> 12n) & 0xfn), code: Number((msr >> 16n) & 0xffn) };
    default:
  }
  return { kind: 'terminate', set: 0, code: 0 };
}

function value(data: bigint, response: number): MsrAnswer {
  return { kind: 'value', value: data | BigInt(response) };
}
