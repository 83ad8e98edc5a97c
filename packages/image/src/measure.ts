/** MRENCLAVE of an image. Source: Intel SDM Vol. 3D, operation of ECREATE, EADD, EEXTEND. */
import { EnclaveMeasurement, type HashProvider, secinfoBytes } from '@nestedsgx/arch';
import type { EnclaveImage } from './image.js';
import { SgxsImage } from './sgxs/read.js';

/** MRENCLAVE (32 bytes) of an image in any format. Throws the format's errors when the image is damaged. */
export function measureImage(hash: HashProvider, image: EnclaveImage): Uint8Array {
  if (image instanceof SgxsImage) return image.mrenclave(hash);
  const measurement = new EnclaveMeasurement(hash);
  measurement.ecreate(image.ssaFrameSize, BigInt(image.size));
  const buffer = new Uint8Array(1024 * 1024);
  for (const run of image.pages({ buffer })) {
    measurement.addPages(BigInt(run.offset), secinfoBytes(run.secinfoFlags), run.data, run.measured);
  }
  return measurement.digest();
}
