import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';
import { since } from './enclave.js';

/** Launches the tour's machine and says what it is. */
export async function launchMachine(tour: Tour): Promise<Cvm> {
  tour.begin('Launch a confidential VM');
  const started = performance.now();
  const cvm = await tour.launch('chip');
  const info = await cvm.info();
  tour.record('software SEV-SNP machine and its VMPL0 monitor', `process ${cvm.pid}, ${since(started)}`);
  tour.record('launch digest, measured page by page', `${info.launchDigest.slice(0, 32)}…`);
  tour.record('root of its chip (says it is not AMD’s)', `${info.rootFingerprint.slice(0, 32)}…`);
  tour.record(
    'isolation',
    `${info.isolation}: holds against a hostile guest, not against your own user or root`,
  );
  return cvm;
}
