/**
 * Page faults and refused entries of running enclaves, as the kernel's fault handler answers them
 * (arch/x86/kernel/cpu/sgx/encl.c as documentation): evicted pages are loaded, absent ones added by EAUG.
 */
import { SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import type { SgxEnclaveFile } from '../enclave-file.js';
import { ssaPages } from '../threads.js';
import { evictPages } from './evict.js';
import { loadPages } from './load.js';

const PAGE = 4096;
const REG_RW = 0x200 | SECINFO_R | SECINFO_W;
/** Error code bit SGX: the page is mapped and the EPCM refuses the access. */
const PF_SGX = 0x8000;
const VECTOR_GP = 13;
const VECTOR_PF = 14;
/** Faults at one address in a row, without success, after which it is the enclave's business. */
const MAX_SAME = 16;
/** A thread that ran for this long in between got on: the row has ended. */
const ROW_MS = 2;
/** Refusals of one entry. */
const MAX_ENTRY_TRIES = 8;
/** Most pages that one fault of a scan brings. */
const MAX_AHEAD = 64;
/** Pages added before they are touched: the most by one call of the monitor, and the frames that stay free. */
const MAX_ADD = 512;
const KEEP_FREE = 64;
/** Pages added at once while the thread that will want them goes on. */
const MAX_AHEAD_OF_NEED = 1024;
/** What is free, in `least`s, before so many pages are added at once. */
const ROOMY = 16;

/** Answers exceptions of one enclave on behalf of whoever enters it; `gate` is the thread's. */
export interface FaultServer {
  /** True when the access may be tried again. */
  pageFault(gate: number, errorCode: number, address: number): boolean;
  /** True when the entry may be tried again. `tries` counts refusals of this entry before. */
  entryFault(gate: number, vector: number, tries: number): boolean;
  /** Throws the reason when the enclave has been stopped. */
  check(): void;
  /**
   * A word that is not 0 while a write to an absent page may be offered to the enclave before it is brought here: it will
   * accept it. Undefined where that is never so.
   */
  readonly acceptsFirst?: Uint32Array | undefined;
}

/** What one thread's faults were before. */
interface ThreadFaults {
  offset: number;
  changes: number;
  same: number;
  at: number;
  /** The page was asked for once more. */
  renewed: boolean;
  /** Next page of a scan, and how many pages it gets at once. */
  next: number;
  ahead: number;
}

/** The fault handler of one enclave. */
export class FaultHandler implements FaultServer {
  readonly #file: SgxEnclaveFile;
  readonly #threads: ThreadFaults[] = [];
  readonly #edmm: boolean;
  /** Faults answered. */
  faults = 0;
  /** Pages that EAUG added. */
  augmented = 0;
  /** Pages that it adds at once, at least. */
  least = 1;

  constructor(file: SgxEnclaveFile, edmm: boolean) {
    this.#file = file;
    this.#edmm = edmm;
  }

  get acceptsFirst(): Uint32Array | undefined {
    return this.#edmm && this.least > 1 ? this.#file.device.supply.untouchedWord : undefined;
  }

  check(): void {
    if (this.#file.stopped !== null) throw this.#file.stopped;
  }

  pageFault(gate: number, errorCode: number, address: number): boolean {
    const file = this.#file;
    this.check();
    file.device.supply.settle();
    const offset = Math.floor(address / PAGE) * PAGE - file.base;
    if (!(offset >= 0 && offset < file.size) || !file.initialised) return false;
    const thread = this.#thread(gate);
    const handled = this.#handle(thread, errorCode, offset);
    if (handled) {
      this.faults++;
      file.device.supply.counters.faults++;
    }
    return handled;
  }

  entryFault(gate: number, vector: number, tries: number): boolean {
    const file = this.#file;
    this.check();
    file.device.supply.settle();
    if ((vector !== VECTOR_PF && vector !== VECTOR_GP) || tries >= MAX_ENTRY_TRIES) return false;
    const known = file.threads.known(gate);
    if (known === undefined) return false;
    let changed = false;
    for (const offset of [...ssaPages(known, file.ssaFrameBytes), known.tcs])
      if (this.bringIn(offset) || this.#unblock(offset)) changed = true;
    // The monitor looks at the thread anew when it is asked for its gate: pages may have come back while it was busy.
    if (!changed && (tries > 0 || file.threadSlot(known.tcs) !== gate)) return false;
    this.faults++;
    file.device.supply.counters.faults++;
    return true;
  }

  /** Adds the absent pages of a range by EAUG, as far as frames are free; faults bring the others. Returns how many. */
  addAbsent(offset: number, length: number): number {
    const { pages, device } = this.#file;
    device.supply.settle();
    let added = 0;
    for (let at = offset; at < offset + length; ) {
      const most = pages.absent(at, Math.min(MAX_ADD, (offset + length - at) / PAGE));
      if (most > 0 && device.supply.free <= KEEP_FREE) break;
      const done = most === 0 ? 0 : this.#add(at, Math.min(most, device.supply.free - KEEP_FREE));
      if (most > 0 && done === 0) break;
      added += done;
      at += Math.max(1, done) * PAGE;
    }
    return added;
  }

  /** Makes a page that the enclave has resident and present. True when it was not. */
  bringIn(offset: number): boolean {
    const { pages, device } = this.#file;
    if (pages.slot(offset) >= 0) {
      loadPages(this.#file, [offset]);
      return true;
    }
    if (!pages.aged(offset)) return false;
    device.supply.rescue(this.#file, offset);
    return true;
  }

  /** Writes a page that stayed blocked back and loads it again. True when it was one. */
  #unblock(offset: number): boolean {
    const file = this.#file;
    if (!file.blocked.has(offset)) return false;
    file.device.supply.list?.remove(file.pages.frame(offset));
    if (evictPages(file, [offset]) === 1) loadPages(file, [offset]);
    return true;
  }

  #thread(gate: number): ThreadFaults {
    let thread = this.#threads[gate];
    if (thread === undefined) {
      thread = { offset: -1, changes: 0, same: 0, at: 0, renewed: false, next: -1, ahead: 1 };
      this.#threads[gate] = thread;
    }
    return thread;
  }

  #handle(thread: ThreadFaults, errorCode: number, offset: number): boolean {
    const file = this.#file;
    const { supply } = file.device;
    if (file.pages.slot(offset) >= 0) {
      // The thread got on: faults that found their page there already were no endless row.
      thread.offset = -1;
      this.#load(thread, offset);
      return true;
    }
    if (!file.pages.has(offset)) return this.#edmm && this.#augment(thread, offset);
    if (file.pages.aged(offset)) {
      supply.rescue(file, offset);
      return true;
    }
    // The page is there. Another thread's fault may have brought it since; if not, the EPCM refuses the access.
    if (errorCode & PF_SGX) return false;
    if (this.#unblock(offset)) return true;
    const now = performance.now();
    if (thread.offset !== offset || now - thread.at > ROW_MS) {
      thread.same = 0;
      thread.renewed = false;
    } else if (!thread.renewed) {
      // What the machine itself has lost comes back.
      thread.renewed = true;
      supply.renew(file, offset);
    } else if (thread.changes === supply.changes || ++thread.same >= MAX_SAME) {
      thread.offset = -1;
      return false;
    }
    thread.offset = offset;
    thread.changes = supply.changes;
    thread.at = now;
    return true;
  }

  /** A scan gets more pages with every fault that continues it. */
  #ahead(thread: ThreadFaults, offset: number): number {
    thread.ahead = thread.next === offset ? Math.min(MAX_AHEAD, thread.ahead * 4) : 1;
    return thread.ahead;
  }

  #load(thread: ThreadFaults, offset: number): void {
    const file = this.#file;
    const most = Math.min(this.#ahead(thread, offset), Math.max(1, file.device.connection.epc.count >>> 4));
    const offsets = [offset];
    while (offsets.length < most && file.pages.slot(offset + offsets.length * PAGE) >= 0)
      offsets.push(offset + offsets.length * PAGE);
    thread.next = offset + loadPages(file, offsets) * PAGE;
  }

  /** SGX_ENCL EAUG on fault: regular pages, readable and writable once the enclave accepts them. */
  #augment(thread: ThreadFaults, offset: number): boolean {
    // Nobody's pages are written back for what may not be used.
    const least = this.#file.device.supply.free > ROOMY * this.least ? this.least : 1;
    const scan = thread.next === offset;
    const ahead = Math.max(this.#ahead(thread, offset), least);
    const most = Math.min(ahead, (this.#file.size - offset) / PAGE);
    const done = this.#add(offset, most);
    thread.next = offset + done * PAGE;
    if (scan && least > 1 && done === most) thread.next += this.#addAhead(thread.next) * PAGE;
    // What the access meets now is a page that waits to be accepted: a fault is the enclave's at once.
    thread.offset = offset;
    thread.changes = this.#file.device.supply.changes;
    thread.at = performance.now();
    thread.same = 0;
    thread.renewed = true;
    return done > 0;
  }

  /** EAUG of the absent pages from `offset` on, as many as one run of frames holds. Returns how many. */
  #add(offset: number, most: number): number {
    const file = this.#file;
    const { supply } = file.device;
    const run = supply.take(file.pages.absent(offset, most));
    const outcome = supply.calls.augRange(file.secs, file.base + offset, run.count, run.gpa);
    const { done } = outcome;
    if (done > 0) {
      file.pages.insert({ offset, count: done, gpa: run.gpa, flags: REG_RW });
      supply.entered(file, offset, run.gpa, done);
      supply.counters.augmented += done;
      this.augmented += done;
    }
    if (done < run.count) supply.give(run.gpa + done * PAGE, run.count - done);
    return done;
  }

  /**
   * Begins EAUG of the absent pages that a scan will want next, for an enclave that is known to grow; the thread goes on
   * meanwhile. Never more than it has come to have by faults, nor what others would have to give up. Returns how many.
   */
  #addAhead(offset: number): number {
    const file = this.#file;
    const { supply } = file.device;
    const wanted = Math.min(MAX_AHEAD_OF_NEED, this.augmented, (file.size - offset) / PAGE);
    if (wanted < 1 || !supply.untouched || supply.free < ROOMY * wanted) return 0;
    const pages = file.pages.absent(offset, wanted);
    if (pages === 0) return 0;
    const { gpa, count } = supply.take(pages);
    const settled = (done: number) => {
      supply.counters.augmented += done;
      this.augmented += done;
      if (done === count) return;
      supply.changes++;
      for (let i = done; i < count; i++) file.pages.remove(offset + i * PAGE);
      supply.give(gpa + done * PAGE, count - done);
    };
    try {
      supply.calls.augAhead(file.secs, file.base + offset, count, gpa, settled);
    } catch {
      // Whoever needs the vCPU next is told.
      supply.give(gpa, count);
      return 0;
    }
    file.pages.insert({ offset, count, gpa, flags: REG_RW });
    supply.changes++;
    return count;
  }
}
