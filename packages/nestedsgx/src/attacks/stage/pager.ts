/** A guest's pager that keeps copies of everything it has ever written out. */
import { ENCLS, PT_VA } from '@nestedsgx/arch';
import type { HostileKernel } from './kernel.js';
import type { Micro } from './micro.js';

const PCMD_BYTES = 128;
/** Pages of the kernel's block: contents, and PCMD. */
const CONTENTS = 12;
const PCMD_PAGE = 13;

/** One page as it was written out. */
export interface Evicted {
  readonly contents: Uint8Array;
  readonly pcmd: Uint8Array;
  /** gPA of the version slot. */
  readonly slot: number;
  readonly linaddr: number;
  /** The frame it left. */
  readonly frame: number;
}

/** Where a page is loaded; what is left out is as it was. */
export interface LoadAs {
  contents?: Uint8Array;
  pcmd?: Uint8Array;
  slot?: number;
  linaddr?: number;
  frame?: number;
  secs?: number;
}

/** Single leaves of paging, with version arrays and copies of its own. */
export class Pager {
  constructor(readonly kernel: HostileKernel) {}

  /** A new version array: gPA of its page. @throws Error with the code */
  versionArray(): number {
    const frame = this.kernel.frame();
    const { code } = this.kernel.sgx(ENCLS.EPA, PT_VA, frame);
    if (code !== 'success') throw new Error(`EPA gave ${code}`);
    return frame;
  }

  block(frame: number): string {
    return this.kernel.sgx(ENCLS.EBLOCK, 0, frame).code;
  }

  track(secs: number): string {
    return this.kernel.sgx(ENCLS.ETRACK, 0, secs).code;
  }

  /** EWB alone. `done` is null unless the page was written out. */
  write(frame: number, slot: number): { code: string; done: Evicted | null } {
    const { kernel } = this;
    const pageinfo = kernel.pageinfo({ source: kernel.page(CONTENTS), secinfo: kernel.page(PCMD_PAGE) });
    const { code } = kernel.sgx(ENCLS.EWB, pageinfo, frame, slot);
    if (code !== 'success') return { code, done: null };
    const at = pageinfo - kernel.block.gpa;
    const linaddr = Number(
      new DataView(kernel.block.bytes.buffer, kernel.block.bytes.byteOffset).getBigUint64(at, true),
    );
    return {
      code,
      done: {
        contents: kernel.bytes(CONTENTS).slice(),
        pcmd: kernel.bytes(PCMD_PAGE).slice(0, PCMD_BYTES),
        slot,
        linaddr,
        frame,
      },
    };
  }

  /** EBLOCK, ETRACK, EWB of a page of an enclave. @throws Error with the code */
  evict(micro: Micro, offset: number, slot: number, frame = micro.frameOf(offset)): Evicted {
    this.block(frame);
    this.track(micro.secs);
    const { code, done } = this.write(frame, slot);
    if (done === null) throw new Error(`EWB gave ${code}`);
    return done;
  }

  /** ELDU. */
  load(evicted: Evicted, secs: number, as: LoadAs = {}, leaf: number = ENCLS.ELDU): string {
    const { kernel } = this;
    kernel.bytes(CONTENTS).set(as.contents ?? evicted.contents);
    kernel.bytes(PCMD_PAGE).set(as.pcmd ?? evicted.pcmd);
    const pageinfo = kernel.pageinfo({
      linaddr: as.linaddr ?? evicted.linaddr,
      source: kernel.page(CONTENTS),
      secinfo: kernel.page(PCMD_PAGE),
      secs: as.secs ?? secs,
    });
    return kernel.sgx(leaf, pageinfo, as.frame ?? evicted.frame, as.slot ?? evicted.slot).code;
  }
}
