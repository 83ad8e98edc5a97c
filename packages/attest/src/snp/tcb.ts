/**
 * TCB_VERSION (SEV-SNP ABI, AMD 56860, "TCB_VERSION structure") and what identifies a product.
 * Milan and Genoa: bootloader, tee, 4 reserved, snp, microcode. Turin: fmc, bootloader, tee, snp, 3 reserved, microcode.
 */

/** AMD products whose roots are built in. */
export const SNP_PRODUCTS = ['Milan', 'Genoa', 'Turin'] as const;

/** A product line, named as in the subjects of AMD's certificates. */
export type SnpProduct = (typeof SNP_PRODUCTS)[number];

/** Components of a TCB version; each is a security patch level 0…255. `fmc` exists on Turin only. */
export interface SnpTcb {
  readonly fmc: number | null;
  readonly bootloader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** Names of the components, in the order in which they are reported. */
export const TCB_COMPONENTS = ['fmc', 'bootloader', 'tee', 'snp', 'microcode'] as const;

/** True for the layout that carries the FMC in byte 0. */
export type TcbLayout = 'milan' | 'turin';

/** Decodes the 8 bytes of a TCB_VERSION. `reserved` tells whether its reserved bytes are zero. */
export function decodeTcb(raw: Uint8Array, layout: TcbLayout): SnpTcb & { readonly reservedZero: boolean } {
  const byte = (i: number) => raw[i]!;
  if (layout === 'turin') {
    return {
      fmc: byte(0),
      bootloader: byte(1),
      tee: byte(2),
      snp: byte(3),
      microcode: byte(7),
      reservedZero: byte(4) === 0 && byte(5) === 0 && byte(6) === 0,
    };
  }
  return {
    fmc: null,
    bootloader: byte(0),
    tee: byte(1),
    snp: byte(6),
    microcode: byte(7),
    reservedZero: byte(2) === 0 && byte(3) === 0 && byte(4) === 0 && byte(5) === 0,
  };
}

/** `bootloader 3, tee 0, snp 8, microcode 115`. */
export function tcbText(tcb: SnpTcb): string {
  return TCB_COMPONENTS.filter((name) => tcb[name] !== null)
    .map((name) => `${name} ${tcb[name]}`)
    .join(', ');
}

/** Product of a CPUID family and model as a version 3 report carries them, or null if unknown. */
export function productOfCpu(family: number, model: number): SnpProduct | null {
  if (family === 0x19) {
    if (model <= 0x0f) return 'Milan';
    if ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf)) return 'Genoa';
    return null;
  }
  if (family === 0x1a && model <= 0x1f) return 'Turin';
  return null;
}
