/** A second machine of the same software: same launch digest, another chip. */

import type { SgxDevice } from '@nestedsgx/guest';
import { Cvm, type Cvm as CvmType } from '@nestedsgx/sdk';
import { launchOptions } from '../stage/machine.js';
import type { Stage } from '../stage/stage.js';

/** Runs `action` on it and ends it. */
export async function onTwin<T>(
  stage: Stage,
  action: (device: SgxDevice, cvm: CvmType) => T | Promise<T>,
): Promise<T> {
  const twin = await Cvm.launch(launchOptions(stage.cast, stage.options));
  try {
    const { device } = await twin.guest();
    return await action(device, twin);
  } finally {
    await twin.close();
  }
}
