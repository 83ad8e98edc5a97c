/** Choosing where a machine's guest RAM lies: at the same address in the machine, its runners and this process. */
import { readFileSync } from 'node:fs';

/** Slot n begins at SLOT_BASE + n × SLOT_STRIDE (docs/ARCHITECTURE.md, "Guest-physical addresses"). */
const SLOT_BASE = 0x1000_0000_0000;
const SLOT_STRIDE = 2 ** 40;
const SLOTS = 64;

const handedOut = new Set<number>();

/** A slot that nothing is mapped in here and that no machine of this process has; null when there is none. */
export function freeRamSlot(): number | null {
  const taken = mappedSlots();
  for (let slot = 0; slot < SLOTS; slot++) {
    if (taken.has(slot) || handedOut.has(slot)) continue;
    handedOut.add(slot);
    return slot;
  }
  return null;
}

/** Gives back the slot of a machine that has not started, or has ended. */
export function releaseRamSlot(slot: number | null): void {
  if (slot !== null) handedOut.delete(slot);
}

function mappedSlots(): Set<number> {
  const slots = new Set<number>();
  for (const line of readFileSync('/proc/self/maps', 'latin1').split('\n')) {
    const slot = Math.floor((Number.parseInt(line, 16) - SLOT_BASE) / SLOT_STRIDE);
    if (slot >= 0 && slot < SLOTS) slots.add(slot);
  }
  return slots;
}
