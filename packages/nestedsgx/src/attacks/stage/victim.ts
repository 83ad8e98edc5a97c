/** Victims: enclaves of the samples with one more page, whose content and place the suite knows. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { PT_REG, SECINFO_R, SECINFO_W, SIGSTRUCT } from '@nestedsgx/arch';
import { type SAMPLES, sampleImage, samplesBuildDirectory } from '@nestedsgx/enclave';
import type { GuestConnection, SgxDevice } from '@nestedsgx/guest';
import type { EnclaveImage, PageRun } from '@nestedsgx/image';
import {
  generateKey,
  loadImageFiles,
  loadSigningKey,
  type SigningKey,
  signImage,
} from '@nestedsgx/image/node';
import { type BuiltEnclave, buildEnclave, Enclave, parseInterface, type SyncFunctions } from '@nestedsgx/sdk';

const PAGE = 4096;
const THREADS = 255;
const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

/** ECALLs of the samples, as the suite uses them. */
export interface Calls {
  // biome-ignore lint/suspicious/noExplicitAny: the interface comes from the sample's description
  [name: string]: (...args: any[]) => any;
}

/** An image ready to be built: its pages, signature and interface. */
export interface VictimImage {
  readonly image: EnclaveImage;
  readonly sigstruct: Uint8Array;
  readonly description: unknown;
  /** Offset of the added page from BASEADDR. */
  readonly page: number;
}

/** A loaded victim. */
export interface Victim {
  readonly enclave: Enclave;
  readonly built: BuiltEnclave;
  readonly calls: Calls;
  /** Linear address of the added page. */
  readonly address: number;
  /** Guest-physical address of the EPC page behind it. */
  readonly gpa: number;
  close(): Promise<void>;
}

/** The key that signed the samples of this clone where it may be read, else a fresh one. */
export async function suiteSigner(): Promise<SigningKey> {
  try {
    return loadSigningKey(readFileSync(join(samplesBuildDirectory(), 'sample-key.pem')));
  } catch {
    return loadSigningKey((await generateKey()).privateKeyPem);
  }
}

/** Sample `name` with one more readable and writable page at the end, signed with `signer`. */
export function victimImage(
  name: (typeof SAMPLES)[number],
  signer: SigningKey,
  content: Uint8Array = new Uint8Array(PAGE),
): VictimImage {
  const image = loadImageFiles(sampleImage(name));
  const page = firstFree(image);
  const { description } = image;
  const extended: EnclaveImage = {
    format: image.format,
    size: image.size,
    ssaFrameSize: image.ssaFrameSize,
    miscselect: image.miscselect,
    attributes: image.attributes,
    tcs: image.tcs,
    description,
    *pages(options): Iterable<PageRun> {
      yield* image.pages(options);
      yield { offset: page, secinfoFlags: READ_WRITE, data: content, measured: true };
    },
  };
  const signed = SIGSTRUCT.decode(image.sigstruct ?? new Uint8Array(SIGSTRUCT.size));
  const sigstruct = signImage(extended, signer, {
    isvProdId: signed.ISVPRODID,
    isvSvn: signed.ISVSVN,
    miscselect: signed.MISCSELECT,
    miscmask: signed.MISCMASK,
    attributes: signed.ATTRIBUTES,
    attributesMask: signed.ATTRIBUTEMASK,
    date: '20260101',
  });
  return { image: extended, sigstruct, description, page };
}

function firstFree(image: EnclaveImage): number {
  let end = 0;
  for (const run of image.pages()) end = Math.max(end, run.offset + run.data.length);
  if (end + PAGE > image.size) throw new RangeError('the sample has no room for one more page');
  return end;
}

/** Builds and initialises a victim. @throws what loading an enclave throws */
export function loadVictim(device: SgxDevice, victim: VictimImage): Victim {
  const { image, sigstruct, description } = victim;
  const built = buildEnclave(
    device,
    { image, sigstruct, description },
    { debug: false, provision: false, maxThreads: THREADS },
  );
  return victimOf(device.connection, built, description, victim.page);
}

/** The same for an enclave that is granted descriptors of its host. @throws what loading an enclave throws */
export async function loadWithDescriptors(device: SgxDevice, victim: VictimImage): Promise<Victim> {
  const { image, sigstruct, description } = victim;
  const built = buildEnclave(
    device,
    { image, sigstruct, description },
    { debug: false, provision: false, maxThreads: THREADS, descriptors: true },
  );
  built.grants = await built.file.takeGrants();
  return victimOf(device.connection, built, description, victim.page);
}

/** The victim of an enclave that has been built already. */
export function victimOf(
  connection: GuestConnection,
  built: BuiltEnclave,
  description: unknown,
  page: number,
): Victim {
  const enclave = new Enclave(
    connection,
    built,
    parseInterface(description),
    { onOcall: () => new Uint8Array(0) },
    () => undefined,
  );
  enclave.initialise();
  const extent = built.file.pages.find(page);
  return {
    enclave,
    built,
    calls: enclave.ecalls as SyncFunctions<readonly never[]> as unknown as Calls,
    address: built.file.base + page,
    gpa: extent === undefined ? 0 : extent.gpa + (page - extent.offset),
    close: () => enclave.close(),
  };
}
