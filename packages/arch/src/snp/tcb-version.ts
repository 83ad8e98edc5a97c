/** TCB_VERSION. Source: AMD 56860, "TCB_VERSION Structure" (family 19h and family 1Ah layouts). */
import { u8 } from '../codec/field.js';
import { at, type StructValue, struct } from '../codec/struct.js';

/** TCB_VERSION of Milan and Genoa (family 19h), 8 bytes. */
export const TCB_VERSION = struct('TCB_VERSION', 8, {
  BOOT_LOADER: at(0, u8),
  TEE: at(1, u8),
  SNP: at(6, u8),
  MICROCODE: at(7, u8),
});

/** TCB_VERSION of Turin (family 1Ah), 8 bytes. */
export const TCB_VERSION_TURIN = struct('TCB_VERSION_TURIN', 8, {
  FMC: at(0, u8),
  BOOT_LOADER: at(1, u8),
  TEE: at(2, u8),
  SNP: at(3, u8),
  MICROCODE: at(7, u8),
});

/** A TCB version of any product; FMC exists on Turin only. */
export type TcbVersion = StructValue<typeof TCB_VERSION> & { FMC?: number };

/** Products whose TCB_VERSION layout is known. */
export type SnpProduct = 'Milan' | 'Genoa' | 'Turin';

/** Decodes a TCB_VERSION quadword in the layout of `product`. */
export function decodeTcbVersion(raw: bigint, product: SnpProduct): TcbVersion {
  const b = new Uint8Array(8);
  for (let i = 0; i < 8; i++) b[i] = Number((raw >> BigInt(8 * i)) & 0xffn);
  return product === 'Turin' ? TCB_VERSION_TURIN.decode(b) : TCB_VERSION.decode(b);
}

/** Encodes a TCB version as a quadword in the layout of `product`. Throws CODEC_FIELD_RANGE. */
export function encodeTcbVersion(tcb: TcbVersion, product: SnpProduct): bigint {
  const { FMC, ...common } = tcb;
  const b =
    product === 'Turin' ? TCB_VERSION_TURIN.encode({ ...common, FMC: FMC ?? 0 }) : TCB_VERSION.encode(common);
  return b.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
}

/**
 * The product of a CPU family and model (combined extended values, as in report version 3 and later), or
 * undefined for an unknown one. AMD 57230, "Determining the Product Name".
 */
export function snpProduct(family: number, model: number): SnpProduct | undefined {
  if (family === 0x19 && model <= 0x0f) return 'Milan';
  if (family === 0x19 && ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf)))
    return 'Genoa';
  if (family === 0x1a && model <= 0x11) return 'Turin';
  return undefined;
}

/** Whether every component of `have` is at least that of `need` (components `need` leaves out are not asked for). */
export function tcbAtLeast(have: TcbVersion, need: Partial<TcbVersion>): boolean {
  return Object.entries(need).every(([k, v]) => v === undefined || (have[k as keyof TcbVersion] ?? 0) >= v);
}
