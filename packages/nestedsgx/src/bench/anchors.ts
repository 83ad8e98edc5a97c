/** Figures of other systems, with their sources. They were measured on other machines: orders of magnitude, not rivals. */

/** One published figure. */
export interface Anchor {
  readonly value: number;
  readonly unit: string;
  readonly what: string;
  readonly source: string;
}

const HOTCALLS = 'Weisse et al., Regaining Lost Cycles with HotCalls, ISCA 2017';
const PAPER = 'NestedSGX, NDSS 2025 (arXiv 2402.11438v3), abstract: 32,000–34,000 cycles';

/** By name of the row and, where they differ, its form. */
export const PEERS: Readonly<Record<string, Anchor>> = Object.freeze({
  ecall: { value: 8200, unit: 'cycles', what: 'SGX hardware, warm ECALL', source: HOTCALLS },
  'ecall cold': { value: 17000, unit: 'cycles', what: 'SGX hardware, cold ECALL', source: HOTCALLS },
  ocall: { value: 8200, unit: 'cycles', what: 'SGX hardware, warm OCALL', source: HOTCALLS },
  'ocall cold': { value: 17000, unit: 'cycles', what: 'SGX hardware, cold OCALL', source: HOTCALLS },
  'eenter-eexit': {
    value: 16000,
    unit: 'cycles',
    what: 'SGX hardware, EENTER and EEXIT at 8,000 each at least',
    source: 'Gramine documentation, performance',
  },
});

/** The paper's figures. It gives none for single leaves. */
export const PAPER_FIGURES: Readonly<Record<string, Anchor>> = Object.freeze({
  ecall: { value: 33000, unit: 'cycles', what: 'context switch, middle of the range', source: PAPER },
  ocall: { value: 33000, unit: 'cycles', what: 'context switch, middle of the range', source: PAPER },
  'eenter-eexit': {
    value: 33000,
    unit: 'cycles',
    what: 'context switch, middle of the range',
    source: PAPER,
  },
  compute: { value: 1.02, unit: 'ratio', what: 'overhead below 2 %', source: PAPER },
  memory: { value: 1.02, unit: 'ratio', what: 'overhead below 2 %', source: PAPER },
});

/** The figure of a table for a row. */
export function anchor(table: Readonly<Record<string, Anchor>>, name: string, form: string): number | null {
  return (table[`${name} ${form}`] ?? table[name])?.value ?? null;
}
