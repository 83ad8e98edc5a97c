/** Enclaves of the stand-in machine for tests of paging and dynamic memory. */
import { ATTRIBUTES_MODE64BIT, SECS, secinfoBytes } from '@nestedsgx/arch';
import { type GuestConnection, type SgxDevice, type SgxEnclaveFile, sgxCall } from '../src/index.js';

const PAGE = 4096;
export const RW = 0x203;

/** A created enclave. */
export function created(device: SgxDevice, size: number): SgxEnclaveFile {
  const file = device.open();
  const base = file.reserve(size);
  file.create(
    SECS.encode({
      SIZE: BigInt(size),
      BASEADDR: BigInt(base),
      SSAFRAMESIZE: 1,
      ATTRIBUTES: { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: 3n },
    }),
  );
  return file;
}

/** Adds `count` pages whose first words are `first`, `first` + 1, … */
export function addNumbered(
  file: SgxEnclaveFile,
  offset: number,
  count: number,
  first: number,
  flags = RW,
): void {
  const src = new Uint8Array(count * PAGE);
  const view = new DataView(src.buffer);
  for (let i = 0; i < count; i++) view.setUint32(i * PAGE, first + i, true);
  file.addPages({ src, offset, length: src.length, secinfo: secinfoBytes(flags), flags: 0 });
}

/** An initialised enclave with `count` numbered pages from offset 0. */
export function running(device: SgxDevice, size: number, count: number, first = 1): SgxEnclaveFile {
  const file = created(device, size);
  addNumbered(file, 0, count, first);
  file.init(new Uint8Array(1808));
  return file;
}

/** First word of the page at an offset, which must be in the EPC. */
export function wordOf(connection: GuestConnection, file: SgxEnclaveFile, offset: number): number {
  return sgxCall(connection.vcpu, 0x1f0, file.pages.frame(offset)).rcx;
}

/** What a thread's access to the page at an offset causes. True when it then succeeds. */
export function touch(file: SgxEnclaveFile, offset: number, gate = 0): boolean {
  for (let tries = 0; tries < 4; tries++) {
    if (file.pages.frame(offset) !== 0 && !file.pages.aged(offset)) return true;
    if (!file.faults.pageFault(gate, 4, file.base + offset)) return false;
  }
  return false;
}
