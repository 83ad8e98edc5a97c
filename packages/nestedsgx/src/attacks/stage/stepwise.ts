/** Building a victim step by step, so that attackers can act between EADD, EEXTEND and EINIT. */
import { ADD_RANGE, ENCLS, PT_TCS, SECS, SIGSTRUCT, secinfoBytes } from '@nestedsgx/arch';
import {
  encls,
  type GuestBlock,
  leafOutcome,
  SGX_CALL,
  SGX_PAGE_MEASURE,
  type SgxDevice,
  type SgxEnclaveFile,
  sgxCall,
} from '@nestedsgx/guest';
import type { PageRun } from '@nestedsgx/image';
import { type BuiltEnclave, chooseAttributes } from '@nestedsgx/sdk';
import type { VictimImage } from './victim.js';

const PAGE = 4096;

/** What happens between the steps. */
export interface Steps {
  /** Page of guest RAM from which the last page is added; the caller's. */
  source?: GuestBlock;
  /** BASEADDR, instead of one that the driver chooses. */
  base?: number;
  /** Changes the SECS before ECREATE. */
  secs?: (bytes: Uint8Array) => void;
  /** The last page is added here and not where the image says. */
  lastPageOffset?: number;
  /** Does not add the last page at all. */
  lastPageLeftOut?: boolean;
  /** Adds the last page without EEXTEND. */
  lastPageUnmeasured?: boolean;
  /** Puts the last page of the image into this frame instead of one of the driver's. */
  lastPageFrame?: number;
  /** The block from which the last page is added: its content is there already. */
  beforeLastPage?: (source: GuestBlock) => void;
  /** Right before EINIT; the block still holds what the last page was added from. */
  beforeInit?: (source: GuestBlock) => void;
}

/** An enclave with all its pages, not yet initialised. Close the file when it is not going to be. */
export interface Prepared {
  file: SgxEnclaveFile;
  gates: GuestBlock;
  threads: number;
  source: GuestBlock;
  /** Gives everything back: the enclave was never handed on. */
  give(): void;
  /** Gives back what the enclave no longer needs; file and gates belong to who has it now. */
  handOver(): void;
}

/** ECREATE, all pages, gates. @throws SgxIoctlError */
export function prepare(device: SgxDevice, victim: VictimImage, steps: Steps = {}): Prepared {
  const { image, sigstruct } = victim;
  const { memory } = device.connection;
  const file = device.open();
  const source = steps.source ?? memory.alloc(PAGE, { alignment: PAGE, zero: true });
  const blocks = steps.source === undefined ? [source] : [];
  const give = () => {
    file.close();
    // What could not be removed may still write its gates.
    if (file.gone) for (const block of blocks.splice(0)) memory.free(block);
  };
  const handOver = () => {
    if (steps.source === undefined && blocks.length > 0) memory.free(source);
    blocks.length = 0;
  };
  try {
    const base = steps.base ?? file.reserve(image.size);
    const secs = SECS.encode({
      SIZE: BigInt(image.size),
      BASEADDR: BigInt(base),
      SSAFRAMESIZE: image.ssaFrameSize,
      MISCSELECT: SIGSTRUCT.decode(sigstruct).MISCSELECT,
      ATTRIBUTES: chooseAttributes(sigstruct, false),
    });
    steps.secs?.(secs);
    file.create(secs);
    let threads = 0;
    for (const run of image.pages()) {
      if (run.offset === victim.page && steps.lastPageLeftOut === true) continue;
      if (run.offset === victim.page) addLast(file, run, source, steps);
      else
        file.addPages({
          src: run.data,
          offset: run.offset,
          length: run.data.length,
          secinfo: secinfoBytes(run.secinfoFlags),
          flags: run.measured ? SGX_PAGE_MEASURE : 0,
        });
      if (run.secinfoFlags >> 8 === PT_TCS) threads += run.data.length / PAGE;
    }
    const gates = memory.alloc(threads * PAGE, { alignment: PAGE, zero: true });
    blocks.push(gates);
    file.bindGates(gates, threads);
    return { file, gates, threads, source, give, handOver };
  } catch (error) {
    give();
    throw error;
  }
}

/** Builds and initialises. @throws SgxIoctlError with the code of EINIT */
export function buildStepwise(device: SgxDevice, victim: VictimImage, steps: Steps = {}): BuiltEnclave {
  const { file, gates, threads, source, give, handOver } = prepare(device, victim, steps);
  try {
    steps.beforeInit?.(source);
    file.init(victim.sigstruct);
    handOver();
    const { ENCLAVEHASH } = SIGSTRUCT.decode(victim.sigstruct);
    return { file, gates, gateCount: threads, threads, mrenclave: ENCLAVEHASH, debug: false };
  } catch (error) {
    give();
    throw error;
  }
}

/** The last page comes from guest RAM that others map, and is added where the steps say. */
function addLast(file: SgxEnclaveFile, run: PageRun, source: GuestBlock, steps: Steps): void {
  source.bytes.set(run.data);
  steps.beforeLastPage?.(source);
  if (steps.lastPageFrame === undefined) {
    file.addPages({
      src: source,
      offset: steps.lastPageOffset ?? run.offset,
      length: PAGE,
      secinfo: secinfoBytes(run.secinfoFlags),
      flags: steps.lastPageUnmeasured === true ? 0 : SGX_PAGE_MEASURE,
    });
    return;
  }
  const { vcpu, memory } = file.device.connection;
  const operands = memory.alloc(PAGE, { alignment: PAGE, zero: true });
  operands.bytes.set(
    ADD_RANGE.encode({
      SECS: BigInt(file.secs),
      LINADDR: BigInt(file.base + run.offset),
      SRC: BigInt(source.gpa),
      LENGTH: BigInt(PAGE),
      SECINFO: BigInt(operands.gpa + 512),
      EPC: BigInt(steps.lastPageFrame),
      FLAGS: 1n,
    }),
  );
  operands.bytes.set(secinfoBytes(run.secinfoFlags), 512);
  const outcome = leafOutcome(sgxCall(vcpu, SGX_CALL.ADD_RANGE, operands.gpa), 'ADD_RANGE');
  memory.free(operands);
  if (outcome.fault !== undefined || outcome.code !== 0)
    throw file.leafFailed('EIO', 'adding the page to the deposited frame failed', outcome);
}

/** Removes the page at a frame that the driver does not know. @throws Error with the answer */
export function removeFrame(device: SgxDevice, gpa: number): void {
  const outcome = encls(device.connection.vcpu, ENCLS.EREMOVE, 'EREMOVE', 0, gpa);
  if (outcome.fault !== undefined || outcome.code !== 0) throw new Error(`EREMOVE gave ${outcome.code}`);
}
