/** A world with a version array, and short names for the leaves of paging. Page n of slot n goes to a place of its own. */
import { EVICT_ENTRY, LOAD_ENTRY, PT_VA, writeU64 } from '@nestedsgx/arch';
import { eblock } from '../../src/encls/eblock.js';
import { eldb } from '../../src/encls/eldb.js';
import { eldu } from '../../src/encls/eldu.js';
import { epa } from '../../src/encls/epa.js';
import { etrack } from '../../src/encls/etrack.js';
import { ewb } from '../../src/encls/ewb.js';
import { evict, type LeafOutcome, load } from '../../src/index.js';
import { AT, BASE, gpaOf, must, World } from './world.js';

/** Frame of the version array. */
export const VA = 40;
export const OUT = 0x10_0000;
export const PCMDS = 0x20_0000;
export const LIST = 0x2_0000;

export const contentsAt = (slot: number): number => OUT + slot * 4096;
export const pcmdAt = (slot: number): number => PCMDS + slot * 128;
export const slotAt = (slot: number, va: number = VA): number => gpaOf(va) + slot * 8;

type Eld = (s: World['s'], owner: World['owner'], rbx: number, rcx: number, rdx: number) => LeafOutcome;

export class PagingWorld extends World {
  constructor(...options: ConstructorParameters<typeof World>) {
    super(...options);
    must(this.va());
  }

  va(frame: number = VA): LeafOutcome {
    return epa(this.s, this.owner, PT_VA, gpaOf(frame));
  }

  block(frame: number): LeafOutcome {
    return eblock(this.s, this.owner, 0, gpaOf(frame));
  }

  track(secs = 0): LeafOutcome {
    return etrack(this.s, this.owner, 0, gpaOf(secs));
  }

  /** EWB into the places of `slot`. */
  ewb(frame: number, slot: number, va: number = VA): LeafOutcome {
    this.pageinfo(0, contentsAt(slot), pcmdAt(slot), 0);
    return ewb(this.s, this.owner, AT.PAGEINFO, gpaOf(frame), slotAt(slot, va));
  }

  /** EBLOCK, ETRACK, EWB. */
  out(frame: number, slot: number, va: number = VA, secs = 0): void {
    must(this.block(frame));
    must(this.track(secs));
    must(this.ewb(frame, slot, va));
  }

  /** ELDU (or another of the four) from the places of `slot`. */
  eld(
    frame: number,
    slot: number,
    linaddr: number,
    leaf: Eld = eldu,
    va: number = VA,
    secs = 0,
  ): LeafOutcome {
    this.pageinfo(linaddr, contentsAt(slot), pcmdAt(slot), gpaOf(secs));
    return leaf(this.s, this.owner, AT.PAGEINFO, gpaOf(frame), slotAt(slot, va));
  }

  eldb(frame: number, slot: number, linaddr: number): LeafOutcome {
    return this.eld(frame, slot, linaddr, eldb);
  }

  /** What is in guest memory for `slot`. */
  saved(slot: number): { contents: Uint8Array; pcmd: Uint8Array } {
    const { ram } = this.machine;
    return {
      contents: ram.slice(contentsAt(slot), contentsAt(slot) + 4096),
      pcmd: ram.slice(pcmdAt(slot), pcmdAt(slot) + 128),
    };
  }

  restore(slot: number, saved: { contents: Uint8Array; pcmd: Uint8Array }): void {
    this.machine.ram.set(saved.contents, contentsAt(slot));
    this.machine.ram.set(saved.pcmd, pcmdAt(slot));
  }

  /** EVICT of frames into slots; `change` alters entries. */
  evict(
    frames: number[],
    slots = frames,
    change: (entry: Record<string, bigint>, i: number) => void = () => {},
  ) {
    frames.forEach((frame, i) => {
      const entry = {
        FRAME: BigInt(gpaOf(frame)),
        VASLOT: BigInt(slotAt(slots[i]!)),
        SRCPGE: BigInt(contentsAt(slots[i]!)),
        PCMD: BigInt(pcmdAt(slots[i]!)),
      };
      change(entry, i);
      EVICT_ENTRY.encodeInto(entry, this.machine.ram, LIST + i * EVICT_ENTRY.size);
    });
    return evict(this.s, this.owner, { secs: gpaOf(0), list: LIST, count: frames.length });
  }

  /** LOAD of slots into frames, frame n at page n unless `change` says otherwise. */
  load(
    frames: number[],
    slots = frames,
    change: (entry: Record<string, bigint>, i: number) => void = () => {},
  ) {
    frames.forEach((frame, i) => {
      const entry = {
        FRAME: BigInt(gpaOf(frame)),
        VASLOT: BigInt(slotAt(slots[i]!)),
        SRCPGE: BigInt(contentsAt(slots[i]!)),
        PCMD: BigInt(pcmdAt(slots[i]!)),
        LINADDR: BigInt(BASE + frame * 4096),
      };
      change(entry, i);
      LOAD_ENTRY.encodeInto(entry, this.machine.ram, LIST + i * LOAD_ENTRY.size);
    });
    return load(this.s, this.owner, { secs: gpaOf(0), list: LIST, count: frames.length });
  }

  /** Entries of SET_PTE. */
  ptes(entries: number[]): void {
    entries.forEach((entry, i) => {
      writeU64(this.machine.ram, LIST + i * 8, BigInt(entry));
    });
  }
}
