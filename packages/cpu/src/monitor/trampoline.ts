import { RUNNER_MEMORY } from '../layout/memory.js';
import { THREAD } from '../layout/thread.js';

/** Bytes from one trampoline to the next. */
export const TRAMPOLINE_BYTES = RUNNER_MEMORY.TRAMPOLINE_STRIDE;

/**
 * Code that a patched site jumps to: does what stood between mov and ENCLU (`gap`), finds the thread's block from the
 * limit of its GDT entry, saves RCX, notes the site and ZF (all that LSL changes), and goes on to the stub through the
 * first slot. RAX is free: the replaced mov would have written it, and the gap does not use it.
 */
export function trampoline(site: number, selector: number, gap: Uint8Array = new Uint8Array(0)): Uint8Array {
  const code = Buffer.alloc(TRAMPOLINE_BYTES, 0xcc);
  code.set(gap);
  let at = gap.length;
  const put = (...bytes: number[]) => {
    for (const byte of bytes) code[at++] = byte;
  };
  const put32 = (value: number) => {
    at = code.writeUInt32LE(value >>> 0, at);
  };
  const tail = (zero: number) => {
    put(0x0f, 0x03, 0xc0); // lsl %eax,%eax
    put(0x48, 0x89, 0x88); // mov %rcx, rcx(%rax)
    put32(RUNNER_MEMORY.THREADS + THREAD.at.rcx);
    put(0xc7, 0x80); // movl $site, site(%rax)
    put32(RUNNER_MEMORY.THREADS + THREAD.at.site);
    put32(site * 2 + zero);
    put(0xff, 0x24, 0x25); // jmp *slots[0]
    put32(RUNNER_MEMORY.SLOTS);
  };
  put(0xb8); // mov $selector,%eax
  put32(selector);
  put(0x74, 27); // jz: the second half
  tail(0);
  tail(1);
  return code;
}

/** The five bytes that replace a short mov at `from`, or null when `to` is out of reach. */
export function shortJump(from: number, to: number): Uint8Array | null {
  const distance = to - (from + 5);
  if (distance < -0x8000_0000 || distance > 0x7fff_ffff) return null;
  const code = Buffer.alloc(5);
  code[0] = 0xe9;
  code.writeInt32LE(distance, 1);
  return code;
}

/** The seven bytes that replace a long mov: a jump through a slot below 2 GiB. */
export function slotJump(slot: number): Uint8Array {
  const code = Buffer.from([0xff, 0x24, 0x25, 0, 0, 0, 0]);
  code.writeUInt32LE(slotAddress(slot), 3);
  return code;
}

/** Address of slot `index`; slot 0 leads to the stub. */
export function slotAddress(index: number): number {
  return RUNNER_MEMORY.SLOTS + index * 8;
}
