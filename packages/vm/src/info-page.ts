/** The first page of the window: what the guest module has to know. */
import {
  RELAY,
  RUNNER_MEMORY,
  VM_INFO,
  VM_INFO_MAGIC,
  VM_INFO_VERSION,
  writeFields,
} from '@nestedsgx/cpu/host';
import type { KernelGuestShare } from '@nestedsgx/guest';
import { WINDOW } from './options.js';
import { IRQ_NUMBER, IRQ_PORT, KICK_PORT } from './qemu.js';

const PAGE = 4096;
/** Where the relay page lies in the window. */
export const RELAY_AT = 0x2000;
/** Addresses from here up are another world's: the kernel's half of runners. */
const LOWEST_FREE = 0x1_0000;

/** Writes the page into `page`. */
export function writeInfoPage(share: KernelGuestShare, page: Uint8Array): void {
  page.fill(0);
  const { ram, vcpus, slice, epc } = share;
  writeFields(
    VM_INFO,
    {
      signature: VM_INFO_MAGIC,
      formatVersion: VM_INFO_VERSION,
      vcpus: vcpus.count,
      ramBytes: ram.size,
      ramBase: ram.base,
      windowGpa: WINDOW.gpa,
      windowBytes: WINDOW.bytes,
      doorbellGpa: share.doorbell,
      relayGpa: WINDOW.gpa + RELAY_AT,
      vcpuGpa: vcpus.gpa,
      vcpuStride: vcpus.stride,
      sliceGpa: slice.gpa,
      sliceBytes: slice.length,
      epcGpa: epc.first,
      epcPages: epc.count,
      trampolineBytes: RUNNER_MEMORY.TRAMPOLINES_MAX,
      kickPort: KICK_PORT,
      irqPort: IRQ_PORT,
      irq: IRQ_NUMBER,
    },
    page,
  );
  const ranges = reservedRanges(ram);
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  view.setUint32(VM_INFO.at.reserved, ranges.length, true);
  ranges.flat().forEach((address, at) => {
    view.setBigUint64(VM_INFO.at.reservedRanges + at * 8, BigInt(address), true);
  });
}

/** Start and end of what runners have in their address space whatever the guest does. */
export function reservedRanges(ram: { base: number; size: number }): [number, number][] {
  return [
    [Math.max(LOWEST_FREE, RUNNER_MEMORY.IMAGE), RUNNER_MEMORY.END],
    [ram.base, ram.base + Math.ceil(ram.size / PAGE) * PAGE],
  ];
}

/** Offsets in the relay page, from the layout that the module is compiled with. */
export const RELAY_PAGE = Object.freeze({
  bitmap: RELAY.at.bitmap,
  summary: RELAY.at.summary,
  asleep: RELAY.at.relayAsleep,
  irq: RELAY.at.irqWord,
});
