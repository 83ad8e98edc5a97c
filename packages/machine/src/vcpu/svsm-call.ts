/** A request in the SVSM calling convention (AMD 58019): RAX = protocol << 32 | call, arguments in RCX, RDX, R8, R9. */
import type { Ghcb, GhcbField } from './ghcb.js';

/** Outputs of a call. Missing registers keep what the guest wrote. */
export interface SvsmAnswer {
  rax: number | bigint;
  rcx?: number | bigint;
  rdx?: number | bigint;
  r8?: number | bigint;
}

/**
 * One call, read from the private copy of the GHCB. Valid until the vCPU's next exit. Numbers are exact below
 * 2^53 and no safe integers above, so that address checks refuse them; `big` is always exact.
 */
export class SvsmCall {
  readonly #ghcb: Ghcb;

  constructor(ghcb: Ghcb) {
    this.#ghcb = ghcb;
  }

  get protocol(): number {
    return this.#ghcb.high('RAX');
  }
  get call(): number {
    return this.#ghcb.low('RAX');
  }
  get rcx(): number {
    return this.#ghcb.number('RCX');
  }
  get rdx(): number {
    return this.#ghcb.number('RDX');
  }
  get r8(): number {
    return this.#ghcb.number('R8');
  }
  get r9(): number {
    return this.#ghcb.number('R9');
  }
  /** The exact 64 bits of an argument. */
  big(register: 'rcx' | 'rdx' | 'r8' | 'r9'): bigint {
    return this.#ghcb.big(register.toUpperCase() as GhcbField);
  }
}
