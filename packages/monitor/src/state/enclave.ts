/** One enclave: its SECS at architectural offsets, and what the processor keeps in the SECS's hidden part. */
import { ATTRIBUTES_INIT, type GateArea, readU32, readU64, SECS, writeU64 } from '@nestedsgx/arch';
import { LeafCounters } from '../leaf/counters.js';
import type { EnclaveMemory, MeasurementPort, RunningEnclave } from '../ports.js';
import { EnclavePages } from './page-table.js';

const ATTRIBUTES_AT = SECS.offsets.ATTRIBUTES;

/** Reasons for ENCLAVE_STATUS. */
export const LOST_REASON = Object.freeze({ NONE: 0, RUNNER: 1, START: 2, DETACHED: 3, STOPPED: 4 } as const);

/** The TCS of a thread slot: its page, and how many SSA frames the processor was told of. */
export interface TcsRecord {
  readonly offset: number;
  readonly frame: number;
  nssa: number;
}

/** State of one enclave from ECREATE to the EREMOVE of its SECS. */
export class EnclaveRecord {
  /** SECS.EID. */
  readonly id: number;
  readonly owner: number;
  /** Frame of the SECS; NO_FRAME while it is evicted. */
  secsFrame: number;
  /** The SECS page, 4096 bytes. */
  readonly secs: Uint8Array;
  readonly base: number;
  readonly size: number;
  readonly memory: EnclaveMemory;
  readonly measurement: MeasurementPort;
  readonly pages = new EnclavePages();
  /**
   * Thread slots; index = runner thread = gate. In the order of EADD up to EINIT; afterwards a slot whose TCS went is
   * null, and threads.ts gives it away again.
   */
  readonly tcs: (TcsRecord | null)[] = [];
  /** Slot by frame of its TCS. */
  readonly slotByFrame = new Map<number, number>();
  /** Offset of the TCS that each slot had last: one that comes back gets its slot again when it can. */
  readonly slotOffset: number[] = [];
  /** Set by EINIT. SDM keeps these in SECS fields it does not place. */
  isvExtProdId = new Uint8Array(16);
  isvFamilyId = new Uint8Array(16);
  gates: GateArea | null = null;
  provisionAuthorized = false;
  running: RunningEnclave | null = null;
  /** Current tracking epoch, and the one in which the processor started (see tracking.ts). */
  epoch = 1;
  epochAtStart = 1;
  /** From EINIT on: page numbers whose state can change who may enter. */
  readonly admissionPages = new Set<number>();
  /** With more of them than this those of threads that are gone are forgotten (threads.ts). */
  admissionBound = 4096;
  /** Pages that EWB took out, ELD brought back and EAUG added, and how often either was refused for what the page is or was. */
  readonly paging = { evicted: 0, loaded: 0, augmented: 0, refused: 0 };
  /** Leaves that were executed on its pages or by its threads. */
  readonly leaves = new LeafCounters();
  /** Why the enclave can never run again, or null. */
  lost: string | null = null;
  lostReason: number = LOST_REASON.NONE;

  constructor(
    id: number,
    owner: number,
    secsFrame: number,
    secs: Uint8Array,
    memory: EnclaveMemory,
    measurement: MeasurementPort,
  ) {
    this.id = id;
    this.owner = owner;
    this.secsFrame = secsFrame;
    this.secs = secs;
    this.base = Number(readU64(secs, SECS.offsets.BASEADDR));
    this.size = Number(readU64(secs, SECS.offsets.SIZE));
    this.memory = memory;
    this.measurement = measurement;
  }

  /** Pages added and not removed (the SECS has children). */
  get children(): number {
    return this.pages.count;
  }

  /** SECS.ATTRIBUTES.FLAGS. */
  get flags(): bigint {
    return readU64(this.secs, ATTRIBUTES_AT);
  }

  /** SECS.ATTRIBUTES.XFRM. */
  get xfrm(): bigint {
    return readU64(this.secs, ATTRIBUTES_AT + 8);
  }

  /** SECS.MISCSELECT. */
  get miscselect(): number {
    return readU32(this.secs, SECS.offsets.MISCSELECT);
  }

  /** SECS.SSAFRAMESIZE in bytes. */
  get ssaFrameBytes(): number {
    return readU32(this.secs, SECS.offsets.SSAFRAMESIZE) * 4096;
  }

  /** ATTRIBUTES.INIT. */
  get initialized(): boolean {
    return (this.secs[ATTRIBUTES_AT] & 1) !== 0;
  }

  /** ATTRIBUTES.KSS. */
  get kss(): boolean {
    return (this.secs[ATTRIBUTES_AT] & 0x80) !== 0;
  }

  /** Sets ATTRIBUTES.INIT. */
  markInitialized(): void {
    writeU64(this.secs, ATTRIBUTES_AT, this.flags | ATTRIBUTES_INIT);
  }
}

/** Ends the execution of an enclave for good; its pages stay until EREMOVE. */
export function loseEnclave(enclave: EnclaveRecord, why: string, reason: number): void {
  if (enclave.lost !== null) return;
  enclave.lost = why;
  enclave.lostReason = reason;
  const running = enclave.running;
  enclave.running = null;
  if (running !== null) running.stop();
}
