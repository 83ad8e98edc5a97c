/** The monitor's calls over lists of pages, and the leaves around them, with their operands in guest RAM. */
import { AUG_RANGE, ENCLS, EVICT_ENTRY, LOAD_ENTRY, PT_VA } from '@nestedsgx/arch';
import type { GuestConnection } from '../connection.js';
import { guestError } from '../errors.js';
import type { GuestBlock } from '../memory.js';
import { encls, type LeafOutcome, leafOutcome, SGX_CALL, SGX_PROTOCOL, sgxCall } from '../svsm.js';
import { SVSM_RESULT, type SvsmResult } from '../vcpu.js';

const PAGE = 4096;
/** Pages of one EVICT or LOAD; the protocol allows 512. */
export const PAGES_AT_ONCE = 64;
/** Entries of one SET_PTE. */
const ENTRIES_AT_ONCE = 512;
/** R | W | X: whatever the EPCM gives. */
export const PTE_ALL = 7;
/** Place of the operand of a call that nobody waits for: what other calls write must not reach it. */
const AHEAD_AT = PAGE;
/** Rounds of a call that the monitor interrupts. */
const MAX_ROUNDS = 4096;

/** One page of EVICT or LOAD: gPAs, and its linear address (LOAD). */
export interface PageEntry {
  frame: number;
  vaSlot: number;
  page: number;
  pcmd: number;
  linaddr: number;
}

/** How far a call over a list came, and what stopped it. */
export interface ListOutcome extends LeafOutcome {
  /** Entries done. */
  done: number;
}

/** Operand memory and calls of one device; calls are synchronous. */
export class PageCalls {
  readonly #connection: GuestConnection;
  readonly #operands: GuestBlock;
  readonly #view: DataView;

  constructor(connection: GuestConnection) {
    this.#connection = connection;
    this.#operands = connection.memory.alloc(AHEAD_AT + AUG_RANGE.size, { alignment: PAGE, zero: true });
    const { bytes } = this.#operands;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** EBLOCK, ETRACK and EWB of at most 64 pages of one enclave. @throws SVSM_REFUSED, CVM_LOST */
  evict(secs: number, entries: readonly PageEntry[]): ListOutcome {
    const at = EVICT_ENTRY.offsets;
    return this.#list(SGX_CALL.EVICT, 'EVICT', secs, entries.length, (i) => {
      const entry = entries[i];
      const base = i * EVICT_ENTRY.size;
      this.#put(base + at.FRAME, entry.frame);
      this.#put(base + at.VASLOT, entry.vaSlot);
      this.#put(base + at.SRCPGE, entry.page);
      this.#put(base + at.PCMD, entry.pcmd);
      return EVICT_ENTRY.size;
    });
  }

  /** ELDU of at most 64 pages of one enclave. @throws SVSM_REFUSED, CVM_LOST */
  load(secs: number, entries: readonly PageEntry[]): ListOutcome {
    const at = LOAD_ENTRY.offsets;
    return this.#list(SGX_CALL.LOAD, 'LOAD', secs, entries.length, (i) => {
      const entry = entries[i];
      const base = i * LOAD_ENTRY.size;
      this.#put(base + at.FRAME, entry.frame);
      this.#put(base + at.VASLOT, entry.vaSlot);
      this.#put(base + at.SRCPGE, entry.page);
      this.#put(base + at.PCMD, entry.pcmd);
      this.#put(base + at.LINADDR, entry.linaddr);
      return LOAD_ENTRY.size;
    });
  }

  /** Sets page table entries to R | W | X (or 0: not present). @throws SVSM_REFUSED, CVM_LOST */
  setPte(secs: number, linaddrs: readonly number[], rights: number): void {
    for (let from = 0; from < linaddrs.length; from += ENTRIES_AT_ONCE) {
      const count = Math.min(ENTRIES_AT_ONCE, linaddrs.length - from);
      const outcome = this.#list(SGX_CALL.SET_PTE, 'SET_PTE', secs, count, (i) => {
        this.#put(i * 8, linaddrs[from + i] + rights);
        return 8;
      });
      if (outcome.done < count)
        throw guestError('SVSM_REFUSED', `SET_PTE stopped after ${outcome.done} of ${count} entries`);
    }
  }

  /** EAUG of consecutive pages into consecutive frames; `done` counts pages. @throws SVSM_REFUSED, CVM_LOST */
  augRange(secs: number, linaddr: number, pages: number, frame: number): ListOutcome {
    this.#putRange(0, secs, linaddr, pages, frame);
    const result = sgxCall(this.#connection.vcpu, SGX_CALL.AUG_RANGE, this.#operands.gpa);
    const rdx = result.rdx;
    return { ...leafOutcome(result, 'AUG_RANGE'), done: Math.min(pages, Math.floor(rdx / PAGE)) };
  }

  /**
   * The same without waiting for it: `settled` gets the number of pages before the next call, or when the driver settles.
   * @throws CVM_LOST
   */
  augAhead(
    secs: number,
    linaddr: number,
    pages: number,
    frame: number,
    settled: (done: number) => void,
  ): void {
    this.#putRange(AHEAD_AT, secs, linaddr, pages, frame);
    const operand = this.#operands.gpa + AHEAD_AT;
    this.#connection.vcpu.defer(SGX_PROTOCOL, SGX_CALL.AUG_RANGE, operand, (rdx) => {
      settled(Math.min(pages, Math.floor(rdx / PAGE)));
    });
  }

  #putRange(base: number, secs: number, linaddr: number, pages: number, frame: number): void {
    const at = AUG_RANGE.offsets;
    this.#put(base + at.SECS, secs);
    this.#put(base + at.LINADDR, linaddr);
    this.#put(base + at.LENGTH, pages * PAGE);
    this.#put(base + at.EPC, frame);
  }

  /** EMODPR of at most 512 consecutive pages, which keep these rights of theirs; `done` counts pages. @throws SVSM_REFUSED, CVM_LOST */
  restrict(secs: number, linaddr: number, pages: number, rights: number): ListOutcome {
    return this.#list(SGX_CALL.RESTRICT, 'RESTRICT', secs, pages, (i) => {
      this.#put(i * 8, linaddr + i * PAGE + rights);
      return 8;
    });
  }

  /** EPA. @throws SVSM_REFUSED, CVM_LOST */
  makeVersionArray(frame: number): LeafOutcome {
    return encls(this.#connection.vcpu, ENCLS.EPA, 'EPA', PT_VA, frame);
  }

  /** ETRACK. @throws SVSM_REFUSED, CVM_LOST */
  track(secs: number): LeafOutcome {
    return encls(this.#connection.vcpu, ENCLS.ETRACK, 'ETRACK', 0, secs);
  }

  /** EMODPR or EMODT of one page with SECINFO.FLAGS `flags`. @throws SVSM_REFUSED, CVM_LOST */
  modify(leaf: number, what: string, flags: number, frame: number): LeafOutcome {
    this.#operands.bytes.fill(0, 0, 64);
    this.#put(0, flags);
    return encls(this.#connection.vcpu, leaf, what, this.#operands.gpa, frame);
  }

  /** Frees the operand memory. */
  close(): void {
    this.#connection.memory.free(this.#operands);
  }

  /** Writes the entries from one on and calls, until all are done or the monitor says why not. */
  #list(
    call: number,
    what: string,
    secs: number,
    count: number,
    write: (index: number) => number,
  ): ListOutcome {
    let done = 0;
    for (let round = 0; ; round++) {
      let size = 0;
      for (let i = done; i < count; i++) size = write(i);
      const result: SvsmResult = sgxCall(
        this.#connection.vcpu,
        call,
        secs,
        this.#operands.gpa + done * size,
        count - done,
      );
      const progress = Math.min(result.rdx, count - done);
      if (result.rax === SVSM_RESULT.INCOMPLETE && round < MAX_ROUNDS) {
        done += progress;
        if (done < count) continue;
        return { code: 0, rdx: 0, done };
      }
      const outcome = leafOutcome(result, what);
      return { ...outcome, done: done + progress };
    }
  }

  #put(at: number, value: number): void {
    this.#view.setUint32(at, value % 2 ** 32, true);
    this.#view.setUint32(at + 4, value / 2 ** 32, true);
  }
}
