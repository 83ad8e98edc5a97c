/** Building an enclave: SECS, pages, gates, EINIT. */
import {
  ATTRIBUTES_AEX_NOTIFY,
  ATTRIBUTES_DEBUG,
  ATTRIBUTES_MODE64BIT,
  ATTRIBUTES_PROVISIONKEY,
  mrsigner,
  PT_TCS,
  SECS,
  SGX_ERROR,
  SIGSTRUCT,
  secinfoBytes,
  XFRM_LEGACY,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import {
  type GuestBlock,
  SGX_PAGE_MEASURE,
  type SgxDevice,
  type SgxEnclaveFile,
  SgxIoctlError,
} from '@nestedsgx/guest';
import { IntelImage } from '@nestedsgx/image';
import type { LoadableImage } from './enclave-image.js';
import { sdkError } from './errors.js';
import { platformXfrm } from './platform.js';
import { chooseIntelAttributes } from './urts/intel-attributes.js';

const PAGE = 4096;
/** Pages are read in pieces of this size; while the monitor measures one half, the other is copied. */
const WINDOW = 8 * 2 ** 20;

/** Choices at ECREATE. */
export interface BuildOptions {
  debug: boolean;
  provision: boolean;
  maxThreads: number;
  /** Gates to bind at least: those beyond the image's TCSs are for threads that come later. */
  gates?: number;
  /** BASEADDR, if it matters. */
  address?: number;
  /** The enclave may be granted descriptors. */
  descriptors?: boolean;
}

/** An initialised enclave: its file, gate pages (one per TCS, in order) and MRENCLAVE as signed. */
export interface BuiltEnclave {
  file: SgxEnclaveFile;
  gates: GuestBlock;
  /** TCSs of the image. */
  threads: number;
  /** Gates bound, when there are more than TCSs. */
  gateCount?: number;
  mrenclave: Uint8Array;
  debug: boolean;
  /** Offsets from BASEADDR of the TCSs, in the order of their gates. */
  tcs?: readonly number[];
  /** ATTRIBUTES.AEXNOTIFY. */
  aexNotify?: boolean;
  /** The grant socket of an enclave built with `descriptors`. */
  grants?: number;
}

/**
 * ATTRIBUTES of the SECS: what the signature says, with DEBUG as the caller wants it where the signature leaves it open,
 * and XFRM reduced to what this processor has where the signature's mask allows it.
 */
export function chooseAttributes(
  sigstruct: Uint8Array,
  debug: boolean,
  platform = platformXfrm(),
): { FLAGS: bigint; XFRM: bigint } {
  const { ATTRIBUTES: signed, ATTRIBUTEMASK: mask } = SIGSTRUCT.decode(sigstruct);
  let flags = signed.FLAGS | ATTRIBUTES_MODE64BIT;
  if ((mask.FLAGS & ATTRIBUTES_DEBUG) === 0n)
    flags = debug ? flags | ATTRIBUTES_DEBUG : flags & ~ATTRIBUTES_DEBUG;
  else if (debug && (signed.FLAGS & ATTRIBUTES_DEBUG) === 0n)
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      'the signature does not allow loading this enclave for debugging',
      'sign it without masking DEBUG, or load it without debug',
    );
  const wanted = signed.XFRM | XFRM_LEGACY;
  const missing = wanted & ~platform;
  if ((missing & mask.XFRM) !== 0n)
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      `the enclave needs processor state components 0x${missing.toString(16)} that this machine lacks`,
      'run it on a processor with these extensions, or sign it with a smaller XFRM mask',
    );
  return { FLAGS: flags, XFRM: wanted & platform };
}

/**
 * Builds and initialises an enclave. On failure everything is given back.
 * @throws IMAGE_UNSUPPORTED, LAUNCH_SIGNER_REFUSED, HOST_DESCRIPTORS_REFUSED, SgxIoctlError, the image's errors, ELRANGE_EXHAUSTED, GUEST_MEMORY_EXHAUSTED
 */
export function buildEnclave(
  device: SgxDevice,
  loadable: LoadableImage,
  options: BuildOptions,
): BuiltEnclave {
  const { image, sigstruct } = loadable;
  const dynamic = image instanceof IntelImage ? dynamicThreads(image, device.edmm) : 0;
  const { ENCLAVEHASH, MISCSELECT: signedMiscselect } = SIGSTRUCT.decode(sigstruct);
  const { attributes, miscselect } =
    image instanceof IntelImage
      ? chooseIntelAttributes(image, options.debug)
      : { attributes: chooseAttributes(sigstruct, options.debug), miscselect: signedMiscselect };
  const { memory } = device.connection;
  const file = device.open();
  let gates: GuestBlock | null = null;
  try {
    if (options.provision || (attributes.FLAGS & ATTRIBUTES_PROVISIONKEY) !== 0n) file.provision();
    const elrange = image instanceof IntelImage ? image.elrange : null;
    const base = file.reserve(
      image.size,
      elrange === null ? options.address : Number(elrange.elrange_start_address),
    );
    file.create(
      SECS.encode({
        SIZE: BigInt(image.size),
        BASEADDR: BigInt(base),
        SSAFRAMESIZE: image.ssaFrameSize,
        MISCSELECT: miscselect,
        ATTRIBUTES: attributes,
      }),
    );
    file.authorizeProvision();
    const tcs = addPages(file, image, options.maxThreads);
    const threads = tcs.length;
    const gateCount = Math.min(options.maxThreads, Math.max(threads, dynamic, options.gates ?? 0));
    gates = memory.alloc(gateCount * PAGE, { alignment: PAGE, zero: true });
    file.bindGates(gates, gateCount, options.descriptors);
    initialise(file, sigstruct);
    if (image instanceof IntelImage) takeAwayUnused(file, image);
    const debug = (attributes.FLAGS & ATTRIBUTES_DEBUG) !== 0n;
    const aexNotify = (attributes.FLAGS & ATTRIBUTES_AEX_NOTIFY) !== 0n;
    return { file, gates, threads, gateCount, mrenclave: ENCLAVEHASH, debug, tcs, aexNotify };
  } catch (error) {
    file.close();
    if (gates !== null) memory.free(gates);
    throw error;
  }
}

/**
 * Threads that an enclave of Intel's SDK may have, with those made at run time; 0 when none are.
 * @throws IMAGE_UNSUPPORTED when it was signed for dynamic memory, which the device lacks
 */
function dynamicThreads({ edmm, threads }: IntelImage, available: boolean): number {
  if (edmm && !available)
    throw sdkError(
      'IMAGE_UNSUPPORTED',
      'the enclave was opened with its metadata for dynamic memory (EDMM, version 3.x), which is switched off here',
      'connect with edmm: true, or open the image with edmm: false if it was signed for SGX1 too',
    );
  return edmm && threads.some(({ dynamic }) => dynamic) ? threads.length : 0;
}

/**
 * Ranges with EREMOVE are measured, and never used afterwards: the runtime knows them as reserved and without access.
 * Source: Intel SGX SDK for Linux, psw/urts/loader.cpp (set_context_protection), sdk/trts/ema_init.cpp.
 */
function takeAwayUnused(file: SgxEnclaveFile, image: IntelImage): void {
  for (const { offset, size, removed } of image.dynamic) if (removed) file.takeAway(offset, size);
}

/** EINIT; a signer that the launch policy does not accept is named, with the cure. */
function initialise(file: SgxEnclaveFile, sigstruct: Uint8Array): void {
  try {
    file.init(sigstruct);
  } catch (error) {
    // There is no EINITTOKEN, so this code has one reason.
    if (!(error instanceof SgxIoctlError) || error.sgxCode !== SGX_ERROR.SGX_INVALID_EINITTOKEN) throw error;
    const signer = Buffer.from(mrsigner(nodeHash, SIGSTRUCT.decode(sigstruct).MODULUS)).toString('hex');
    throw sdkError(
      'LAUNCH_SIGNER_REFUSED',
      `the confidential VM does not accept enclaves of signer ${signer}`,
      `start it with --launch-signer ${signer} (Cvm.launch: launchSigners), or sign the enclave with an accepted key`,
      error,
    );
  }
}

/** Kept from one load to the next: memory that is reserved anew for each would have to be collected each time. */
let window: Uint8Array | undefined;

/** Adds every page; returns the offsets of the TCSs. */
function addPages(file: SgxEnclaveFile, image: LoadableImage['image'], maxThreads: number): number[] {
  window ??= new Uint8Array(Buffer.allocUnsafeSlow(WINDOW).buffer);
  const buffer = window;
  const tcs: number[] = [];
  for (const run of image.pages({ buffer })) {
    file.addPages({
      src: run.data,
      offset: run.offset,
      length: run.data.length,
      secinfo: secinfoBytes(run.secinfoFlags),
      flags: run.measured ? SGX_PAGE_MEASURE : 0,
    });
    if (run.secinfoFlags >> 8 === PT_TCS)
      for (let at = 0; at < run.data.length; at += PAGE) tcs.push(run.offset + at);
  }
  if (tcs.length === 0) throw sdkError('IMAGE_UNSUPPORTED', 'the image has no TCS, so it cannot be entered');
  if (tcs.length > maxThreads)
    throw sdkError('IMAGE_UNSUPPORTED', `the image has ${tcs.length} TCSs; the limit is ${maxThreads}`);
  return tcs;
}
