/** PCMD and MAC header of an evicted page. Source: Intel SDM Vol. 3D, "Paging Crypto MetaData (PCMD)", "EWB", Operation. */
import { PCMD } from '@nestedsgx/arch';
import { MAC_HEADER_SIZE, MAC_SIZE } from './page-cipher.js';

/** Bytes of a PCMD. */
export const PCMD_SIZE = PCMD.size;
/** Where PCMD.MAC lies. */
const PCMD_MAC = PCMD.offsets.MAC;
/** R, W, X, PENDING, MODIFIED, PR and PT: the bits of an EPCM entry that travel with the page. */
export const EVICTED_BITS = 0xff3f;

// Places in the MAC header: SECINFO, EID, PCMD.RSVD, LINADDR.
const HEADER_EID = PCMD.offsets.ENCLAVEID;
const HEADER_RSVD = 72;
const HEADER_LINADDR = PCMD_MAC;

/** One MAC header, used for page after page. */
export class MacHeader {
  readonly bytes = new Uint8Array(MAC_HEADER_SIZE);
  readonly #view = new DataView(this.bytes.buffer);

  /** The header of EWB: SECINFO from the EPCM entry's bits. `eid` is 0 for pages that belong to no enclave. */
  fromEpcm(bits: number, eid: number, linaddr: number): Uint8Array {
    this.bytes.fill(0);
    this.#view.setUint16(0, bits & EVICTED_BITS, true);
    this.#place(eid, linaddr);
    return this.bytes;
  }

  /** The header of ELD: SECINFO and the reserved bytes as the PCMD at `at` of `pcmd` has them. */
  fromPcmd(pcmd: Uint8Array, at: number, eid: number, linaddr: number): Uint8Array {
    const { bytes } = this;
    bytes.fill(0, HEADER_LINADDR);
    for (let i = 0; i < HEADER_EID; i++) bytes[i] = pcmd[at + i];
    for (let i = HEADER_RSVD; i < HEADER_LINADDR; i++) bytes[i] = pcmd[at + i];
    this.#place(eid, linaddr);
    return bytes;
  }

  #place(eid: number, linaddr: number): void {
    setU64(this.#view, HEADER_EID, eid);
    setU64(this.#view, HEADER_LINADDR, linaddr);
  }
}

/** Writes a PCMD without its MAC at `at`. `enclaveId` is a handle for software. */
export function putPcmd(pcmd: Uint8Array, at: number, bits: number, enclaveId: number): void {
  pcmd.fill(0, at, at + PCMD_SIZE);
  pcmd[at] = bits & EVICTED_BITS & 0xff;
  pcmd[at + 1] = (bits >>> 8) & 0xff;
  for (let i = 0, left = enclaveId; left > 0; i++) {
    pcmd[at + PCMD.offsets.ENCLAVEID + i] = left & 0xff;
    left = Math.floor(left / 256);
  }
}

/** PCMD.SECINFO.FLAGS, low 16 bits. */
export function pcmdBits(pcmd: Uint8Array, at: number): number {
  return pcmd[at] | (pcmd[at + 1] << 8);
}

/** PCMD.MAC. */
export function pcmdMac(pcmd: Uint8Array, at: number): Uint8Array {
  return pcmd.subarray(at + PCMD_MAC, at + PCMD_MAC + MAC_SIZE);
}

function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
