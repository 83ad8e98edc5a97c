/**
 * EPC frames for the enclaves of one device. When none is free, pages of these enclaves are written back to the backing
 * store, as Linux's ksgxd does (arch/x86/kernel/cpu/sgx/main.c as documentation).
 */
import type { SgxDevice } from '../device.js';
import type { SgxEnclaveFile } from '../enclave-file.js';
import type { FrameRun } from '../epc-frames.js';
import { guestError } from '../errors.js';
import { AgeingPolicy } from './ageing.js';
import { BackingStore } from './backing-store.js';
import { evictPages } from './evict.js';
import { FrameList, LIST } from './frame-list.js';
import { PageCalls, PTE_ALL } from './page-calls.js';
import { chooseVictims } from './victims.js';

const PAGE = 4096;
/** Pages written back at once. */
const BATCH = 32;
/** Frames that only version arrays may take: without one nothing can be written back. */
const RESERVE = 2;
/** Rounds of reclaiming for one request. */
const MAX_ROUNDS = 8;

/** Figures since the device was opened. */
export interface PagingCounters {
  /** Page faults that the driver answered, of all kinds. */
  faults: number;
  /** Pages written back. */
  evicted: number;
  /** Pages loaded again. */
  reloaded: number;
  /** Pages added by EAUG. */
  augmented: number;
  /** Pages whose entries were made not present, and those of them that were used before they were written back. */
  aged: number;
  rescued: number;
  /** Interrupts sent to make threads leave. */
  kicks: number;
}

/** Frames, backing store and reclaiming of one device. */
export class EpcSupply {
  readonly device: SgxDevice;
  readonly calls: PageCalls;
  readonly store: BackingStore;
  readonly ageing = new AgeingPolicy();
  readonly counters: PagingCounters = {
    faults: 0,
    evicted: 0,
    reloaded: 0,
    augmented: 0,
    aged: 0,
    rescued: 0,
    kicks: 0,
  };
  /** Grows with everything that changes where pages are: a fault seen before may have another cause now. */
  changes = 0;
  readonly #reclaim: boolean;
  /** Frames that were just freed: single, and taken again at once. */
  readonly #hot: number[] = [];
  #list: FrameList | null = null;
  /** Not 0 while {@link untouched}, for native code: in place as long as the device. */
  readonly untouchedWord = new Uint32Array(new ArrayBuffer(4)).fill(1);

  constructor(device: SgxDevice, reclaim: boolean) {
    this.device = device;
    this.#reclaim = reclaim;
    this.calls = new PageCalls(device.connection);
    this.store = new BackingStore(device.connection.memory);
  }

  /** Frames that nobody uses. */
  get free(): number {
    return this.device.connection.epc.free + this.#hot.length;
  }

  /** The reclaimable frames, once there was a need to know them. */
  get list(): FrameList | null {
    return this.#list;
  }

  /**
   * Takes up to `wanted` consecutive frames and at least one. With `idle` only frames that are free already: the vCPU is
   * inside a call; then the answer may be null.
   * @throws EPC_EXHAUSTED when nothing can be written back; GUEST_MEMORY_EXHAUSTED, CVM_LOST
   */
  take(wanted: number): FrameRun;
  take(wanted: number, idle: true): FrameRun | null;
  take(wanted: number, idle = false): FrameRun | null {
    const { epc } = this.device.connection;
    if (!this.#reclaim) return epc.take(wanted);
    if (this.free - RESERVE < 1) {
      if (idle) return null;
      this.#reclaimFor(Math.min(wanted, BATCH));
    }
    if (wanted === 1) return { gpa: this.takeFrame(), count: 1 };
    this.#cool();
    return epc.take(Math.min(wanted, this.free - RESERVE));
  }

  /** Takes one frame. @throws as `take` */
  takeFrame(): number {
    if (!this.#reclaim) return this.device.connection.epc.take(1).gpa;
    if (this.free - RESERVE < 1) this.#reclaimFor(1);
    return this.takeReserved();
  }

  /** Takes one frame for a version array, if need be of those held back for them. @throws EPC_EXHAUSTED */
  takeReserved(): number {
    return this.#hot.pop() ?? this.device.connection.epc.take(1).gpa;
  }

  /** Makes sure that `count` frames are free, as far as the batch allows. @throws as `take` */
  prepare(count: number): void {
    if (this.#reclaim && this.free - RESERVE < count) this.#reclaimFor(count);
  }

  /** Gives one frame back that will be taken again soon. */
  giveHot(gpa: number): void {
    this.#list?.remove(gpa);
    this.#hot.push(gpa);
  }

  /** Gives frames back. */
  give(gpa: number, count: number): void {
    if (this.#list !== null) for (let i = 0; i < count; i++) this.#list.remove(gpa + i * PAGE);
    this.device.connection.epc.give(gpa, count);
  }

  /** Notes pages that came into the EPC. */
  entered(file: SgxEnclaveFile, offset: number, gpa: number, count: number): void {
    this.changes++;
    const list = this.#list;
    if (list === null) return;
    for (let i = 0; i < count; i++) list.add(gpa + i * PAGE, file, offset + i * PAGE);
  }

  /** Notes a page that was loaded again; soon after it was written back, it is kept. */
  reloaded(file: SgxEnclaveFile, offset: number, gpa: number, evictedAt: number): void {
    this.changes++;
    this.counters.reloaded++;
    const soon = this.counters.evicted - evictedAt <= AgeingPolicy.soon(this.device.connection.epc.count);
    this.#list?.add(gpa, file, offset, soon ? LIST.HOT : LIST.ACTIVE);
  }

  /** Makes an aged page present again: it is in use. */
  rescue(file: SgxEnclaveFile, offset: number): void {
    this.calls.setPte(file.secs, [file.base + offset], PTE_ALL);
    file.pages.setAged(offset, false);
    this.#list?.moveGpa(file.pages.frame(offset), LIST.HOT);
    this.ageing.rescued();
    this.counters.rescued++;
    this.changes++;
  }

  /** Makes a page present again that should be: the processor may have lost it. */
  renew(file: SgxEnclaveFile, offset: number): void {
    this.calls.setPte(file.secs, [file.base + offset], PTE_ALL);
  }

  /** Forgets an enclave whose pages have been removed. */
  forget(file: SgxEnclaveFile): void {
    this.#list?.forget(file);
  }

  /** Whether pages were never written back: none of any enclave is anywhere but in the EPC. */
  get untouched(): boolean {
    return this.#list === null;
  }

  /** Collects what was begun and not waited for. Whoever looks at an enclave's pages does so first. */
  settle(): void {
    this.device.connection.vcpu.settle();
  }

  /** Frees everything; the enclaves are closed. */
  close(): void {
    this.#cool();
    this.store.close();
    this.calls.close();
  }

  #cool(): void {
    const { epc } = this.device.connection;
    for (const gpa of this.#hot.splice(0)) epc.give(gpa, 1);
  }

  #reclaimFor(wanted: number): void {
    const list = this.#activate();
    const batch = Math.min(BATCH, Math.max(1, this.device.connection.epc.count >>> 3));
    let skipNeeded = true;
    for (let round = 0; round < MAX_ROUNDS && this.free - RESERVE < wanted; round++) {
      const victims = chooseVictims(this, list, Math.max(batch, wanted), skipNeeded);
      let freed = 0;
      try {
        for (const [file, offsets] of victims) freed += evictPages(file, offsets);
      } catch (error) {
        // Whoever was chosen and stays can be chosen again.
        for (const [file, offsets] of victims)
          for (const offset of offsets) {
            const gpa = file.pages.frame(offset);
            if (gpa !== 0) list.add(gpa, file, offset, file.pages.aged(offset) ? LIST.AGED : LIST.ACTIVE);
          }
        if (freed === 0 && this.free - RESERVE < wanted) throw error;
        break;
      }
      if (freed === 0) {
        if (!skipNeeded) break;
        skipNeeded = false;
      }
    }
    if (this.free - RESERVE < 1)
      throw guestError(
        'EPC_EXHAUSTED',
        `all ${this.device.connection.epc.count} EPC pages of this connection are in use and none can be written back`,
        'close enclaves that are no longer needed, or connect with a larger EPC',
      );
  }

  /** From the first shortage on every frame is on a list; pages of before count as added in order. */
  #activate(): FrameList {
    if (this.#list !== null) return this.#list;
    const { epc } = this.device.connection;
    Atomics.store(this.untouchedWord, 0, 0);
    const list = new FrameList(epc.first, epc.count);
    for (const file of this.device.files)
      file.pages.forEach((offset, gpa) => {
        if (gpa > 0) list.add(gpa, file, offset);
      });
    this.#list = list;
    return list;
  }
}
