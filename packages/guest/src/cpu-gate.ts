/** A TCS's gate of package cpu, in the form that `sgxEnterEnclave` uses. */
import { Gate, type GateOptions } from '@nestedsgx/cpu/host';
import { type EntryGate, type EntryRegisters, ERESUME, type ExitRegisters } from './entry.js';
import type { FaultServer } from './paging/fault.js';

/** Options of a gate: those of package cpu, and who answers its faults. */
export interface CpuEntryGateOptions extends GateOptions {
  /** The enclave's fault handler (`file.faults`), and this gate's number (0 if not given). */
  faults?: FaultServer;
  index?: number;
}

/** Enters natively. The untrusted stack must lie in guest RAM: enclaves write their OCALL frames there. */
export class CpuEntryGate implements EntryGate {
  readonly #gate: Gate;
  readonly faults?: { readonly server: FaultServer; readonly gate: number };

  /** @param address virtual address of the gate page; @param stackTop URSP at entry, 16-byte aligned */
  constructor(address: number, stackTop: number, options: CpuEntryGateOptions = {}) {
    this.#gate = new Gate(address, options);
    this.#gate.setRegisters({ rsp: stackTop, rbp: stackTop });
    if (options.faults !== undefined) this.faults = { server: options.faults, gate: options.index ?? 0 };
  }

  exchange(leaf: number, registers: EntryRegisters): ExitRegisters {
    const gate = this.#gate;
    let kind: number;
    if (leaf === ERESUME) kind = gate.resume();
    else {
      gate.setRegisters({ rdx: registers.rdx, r8: registers.r8, r9: registers.r9 });
      kind = gate.enter(registers.rdi, registers.rsi);
    }
    const exit = gate.exit(kind);
    switch (exit.kind) {
      case 'EEXIT': {
        const { rdi, rsi, rdx, r8, r9 } = exit;
        return { kind, rdi: signed(rdi), rsi: signed(rsi), rdx: signed(rdx), r8: signed(r8), r9: signed(r9) };
      }
      case 'LOST':
        return { kind, rdi: 0, rsi: 0, rdx: 0, r8: 0, r9: 0 };
      default: {
        const rdi = exit.vector + exit.errorCode * 2 ** 32;
        return { kind, rdi, rsi: signed(exit.address), rdx: 0, r8: 0, r9: 0 };
      }
    }
  }

  /** Gives the host's bookkeeping back. */
  close(): void {
    this.#gate.close();
  }
}

/** −1 as enclaves return it has all 64 bits set; addresses and counts stay below 2^53. */
function signed(value: bigint): number {
  return Number(BigInt.asIntN(64, value));
}
