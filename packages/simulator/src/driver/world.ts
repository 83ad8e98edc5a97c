/** The monitor's side: its state over the simulated ports, made anew for each sequence at little cost. */
import { nodeHash } from '@nestedsgx/arch/node';
import {
  checkInvariants,
  DEFAULT_PLATFORM,
  type EnclaveRecord,
  type FrameOwner,
  KeyHierarchy,
  type MonitorState,
  newState,
  type Platform,
} from '@nestedsgx/monitor';
import { AT, FOREIGN_FRAMES, FRAMES, OWN_FRAMES, PAGE, SWAP_PAGES } from '../layout.js';
import type { ModelParameters } from '../model/parameters.js';
import { SimMachine } from '../ports/machine.js';
import type { SimMemory } from '../ports/memory.js';
import { SimProcessor, type SimRunning } from '../ports/processor.js';
import { SimMeasurement } from './measurement.js';
import { simSigners } from './sigstructs.js';
import { writeSources } from './sources.js';

/** The connection whose guest acts, and another one. */
export const OWNER: FrameOwner = Object.freeze({ id: 1, first: 0, count: OWN_FRAMES });
const OTHER: FrameOwner = Object.freeze({ id: 2, first: OWN_FRAMES, count: FOREIGN_FRAMES });

const hashing = { hash: nodeHash, measurement: () => new SimMeasurement() };

/** Machine, processor and monitor state. */
export class World {
  readonly machine = new SimMachine();
  readonly #keys = KeyHierarchy.fromSealSecret(new Uint8Array(32).fill(7));
  #fresh: MonitorState | null = null;
  state!: MonitorState;
  processor!: SimProcessor;
  /** True when EWB or the guest wrote to the swap pages. */
  swapped = true;

  constructor() {
    writeSources(this.machine.ram);
  }

  /** Begins a sequence on a platform of these parameters. */
  reset(p: ModelParameters): void {
    this.#dispose();
    const { machine } = this;
    if (this.swapped) {
      machine.ram.fill(0, AT.SWAP, AT.SWAP + SWAP_PAGES * PAGE);
      machine.ram.fill(0, AT.PCMD, AT.PCMD + PAGE);
      this.swapped = false;
    }
    machine.ram.fill(0, AT.READ_ONLY, AT.READ_ONLY + PAGE);
    machine.written.length = 0;
    this.processor = new SimProcessor();
    const platform: Platform = {
      ...DEFAULT_PLATFORM,
      attributesMask: BigInt(p.attributes),
      xfrmMask: BigInt(p.xfrm),
      launchKeyHash: p.launchSigner === null ? null : simSigners()[p.launchSigner].mrsigner,
      provisionNeedsAuthorization: p.provisionNeedsAuthorization,
      // Half of a machine’s enclaves are one guest’s at most, and there is one guest.
      maxEnclaves: 2 * p.maxEnclaves,
      maxThreads: p.maxThreads,
    };
    const parts = { platform, machine, processor: this.processor, hashing, keys: this.#keys };
    const before = this.#fresh;
    // An EPCM allocates for 16,384 frames; an empty one is as good as a new one.
    this.state =
      before === null
        ? newState(parts)
        : { ...newState({ ...parts, pageCipher: before.pageCipher }), epcm: before.epcm };
    this.#fresh = this.state;
  }

  #dispose(): void {
    const s = this.#fresh;
    if (s === null) return;
    for (const enclave of s.enclaves.values()) enclave.memory.close();
    for (let frame = 0; frame < FRAMES; frame++) if (s.epcm.valid(frame)) s.epcm.clear(frame);
  }

  /** Throws when EPCM, enclaves and owners do not fit together. */
  checkInvariants(): void {
    checkInvariants(this.state, [OWNER, OTHER]);
  }

  enclave(secsFrame: number): EnclaveRecord | undefined {
    return this.state.enclaves.get(secsFrame);
  }
}

/** The simulated execution of an enclave, or null before EINIT and after its end. */
export function runningOf(enclave: EnclaveRecord): SimRunning | null {
  return enclave.running as SimRunning | null;
}

/** The simulated memory of an enclave. */
export function memoryOf(enclave: EnclaveRecord): SimMemory {
  return enclave.memory as SimMemory;
}
