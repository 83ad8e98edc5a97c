/** The sample `elastic` in machines of its own, for tests of paging and dynamic memory. */
import { join } from 'node:path';
import { samplesBuildDirectory } from '@nestedsgx/enclave';
import type { SgxDevice, SgxEnclaveFile } from '@nestedsgx/guest';
import { type AnyInterface, type ConnectOptions, Cvm, type Enclave } from '../src/index.js';

const MIB = 2 ** 20;
export const PAGE = 4096;
/** Pages of the image: 16 MiB of heap and little else. */
export const IMAGE_PAGES = 4096;

/** A machine whose driver has this much EPC. */
export function machine(epcMiB: number, options: ConnectOptions = {}): Promise<Cvm> {
  return Cvm.launch(
    { stateDir: null, ramBytes: 512 * MIB, epcBytes: 128 * MIB, stderr: 'ignore' },
    { epcBytes: epcMiB * MIB, ...options },
  );
}

/** Loads the sample, with room for four more threads. */
export function elastic(cvm: Cvm): Promise<Enclave<AnyInterface>> {
  const path = join(samplesBuildDirectory(), 'elastic', 'elastic');
  return cvm.load(path, { threads: 8 }) as Promise<Enclave<AnyInterface>>;
}

/** The driver, and its file of an enclave. */
export async function driverOf(
  cvm: Cvm,
  enclave: Enclave<AnyInterface>,
): Promise<{ device: SgxDevice; file: SgxEnclaveFile }> {
  const { device } = await cvm.guest();
  const file = [...device.files].find((candidate) => candidate.base === enclave.range.base);
  if (file === undefined) throw new Error('the driver does not know the enclave');
  return { device, file };
}
