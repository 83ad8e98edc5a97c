/** `/dev/sgx_enclave`: opening it gives a file on which one enclave is built. */
import { ATTRIBUTES_DEBUG, ATTRIBUTES_KSS, ATTRIBUTES_MODE64BIT } from '@nestedsgx/arch';
import type { GuestConnection } from './connection.js';
import { type LinearRanges, processRanges } from './elrange.js';
import { SgxEnclaveFile } from './enclave-file.js';
import type { GuestBlock } from './memory.js';
import { EpcSupply } from './paging/supply.js';
import { SGX_CALL, sgxCall, svsmRefused } from './svsm.js';

/** Attributes an enclave may have without PROVISION, as in Linux: DEBUG, MODE64BIT, KSS, AEX-Notify. */
export const UNPRIVILEGED_ATTRIBUTES = ATTRIBUTES_DEBUG | ATTRIBUTES_MODE64BIT | ATTRIBUTES_KSS | (1n << 10n);

const STAGING = 2 * 2 ** 20;
const PAGE = 4096;

/**
 * Memory in which operands of leaves are put for the monitor, one set per device: leaf calls are synchronous.
 * `pages` are two buffers of `STAGING` bytes, so that one is filled while the monitor works on the other.
 */
export interface Staging {
  readonly operands: GuestBlock;
  pages(): readonly [GuestBlock, GuestBlock];
}

/** Choices of a device. */
export interface DeviceOptions {
  /** Linear ranges to choose from; those of the process. */
  ranges?: LinearRanges;
  /** Write pages back to guest RAM when no EPC page is free. Default true. */
  reclaim?: boolean;
  /** Add absent pages of initialised enclaves on demand, and serve the ioctls of dynamic memory. Default true. */
  edmm?: boolean;
}

/** The SGX driver of one connection. */
export class SgxDevice {
  readonly connection: GuestConnection;
  readonly ranges: LinearRanges;
  readonly staging: Staging;
  /** EPC frames, backing store and reclaiming. */
  readonly supply: EpcSupply;
  readonly edmm: boolean;
  readonly #files = new Set<SgxEnclaveFile>();
  #pages: [GuestBlock, GuestBlock] | null = null;

  constructor(connection: GuestConnection, options: DeviceOptions = {}) {
    this.connection = connection;
    this.ranges = options.ranges ?? processRanges;
    this.edmm = options.edmm ?? true;
    this.supply = new EpcSupply(this, options.reclaim ?? true);
    this.staging = {
      operands: connection.memory.alloc(4 * PAGE, { alignment: PAGE, zero: true }),
      pages: () => {
        this.#pages ??= [
          connection.memory.alloc(STAGING, { alignment: PAGE }),
          connection.memory.alloc(STAGING, { alignment: PAGE }),
        ];
        return this.#pages;
      },
    };
  }

  /** As `open("/dev/sgx_enclave")`: a file for one enclave. */
  open(): SgxEnclaveFile {
    const file = new SgxEnclaveFile(this, () => this.#files.delete(file));
    this.#files.add(file);
    return file;
  }

  /** Enclave files that are open. */
  get files(): ReadonlySet<SgxEnclaveFile> {
    return this.#files;
  }

  /** EPC of the machine: base gPA, bytes, free frames. @throws SVSM_REFUSED, CVM_LOST */
  query(): { base: number; bytes: number; freeFrames: number } {
    const result = sgxCall(this.connection.vcpu, SGX_CALL.QUERY);
    if (result.rax !== 0) throw svsmRefused(result.rax, 'the EPC query');
    return { base: result.rcx, bytes: result.rdx, freeFrames: result.r8 };
  }

  /** Closes every file and frees the staging memory. */
  close(): void {
    for (const file of [...this.#files]) file.close();
    this.supply.close();
    this.connection.memory.free(this.staging.operands);
    for (const block of this.#pages ?? []) this.connection.memory.free(block);
    this.#pages = null;
  }
}
