import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';
import { type Calc, loadCalc, type TourImages } from './enclave.js';

const SECRET = new TextEncoder().encode('the launch code is 0000');

/** Seals inside, restarts the machine, unseals; shows who else cannot. Returns the restarted machine. */
export async function sealAndRestart(tour: Tour, cvm: Cvm, calc: Calc, images: TourImages): Promise<Cvm> {
  tour.begin('Seal data, restart the machine, unseal');
  const blob = calc.ecalls.seal(SECRET) as Uint8Array;
  tour.record(
    'sealed inside under a key from EGETKEY',
    `${blob.length} bytes, plaintext not among them`,
    !includes(blob, SECRET),
  );
  await cvm.close();
  const restarted = await tour.launch('chip');
  const again = await loadCalc(restarted, images);
  const back = again.ecalls.unseal(blob) as Uint8Array;
  tour.record('unsealed after a restart', new TextDecoder().decode(back), includes(back, SECRET));
  const tampered = Uint8Array.from(blob);
  tampered[tampered.length >> 1]! ^= 1;
  await tour.refused('the blob with one bit changed', () => again.ecalls.unseal(tampered));
  await again.close();
  const foreign = await loadCalc(restarted, images, images.otherSigner);
  await tour.refused('the same blob, same code, another MRSIGNER', () => foreign.ecalls.unseal(blob));
  await foreign.close();
  const otherChip = await tour.launch('other-chip');
  const elsewhere = await loadCalc(otherChip, images);
  await tour.refused('the same blob on another machine', () => elsewhere.ecalls.unseal(blob));
  await otherChip.close();
  return restarted;
}

function includes(haystack: Uint8Array, needle: Uint8Array): boolean {
  return Buffer.from(haystack).includes(Buffer.from(needle));
}
