import { ATTRIBUTES_MODE64BIT, SECS } from '@nestedsgx/arch';
import { type Attack, finding, Tally } from '../attack.js';
import { asKernel, type HostileKernel } from '../stage/kernel.js';
import { type MicroImage, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { einit } from './measured-order.js';

const ALL = 0xffff_ffff_ffff_ffffn;
const AT = SECS.offsets;

/** One bit of the SECS that says what an enclave may do. */
interface Flip {
  what: string;
  byte: number;
  bit: number;
}

function flips(): Flip[] {
  const bits = (what: string, at: number, count: number): Flip[] =>
    Array.from({ length: count }, (_, i) => ({ what: `${what} bit ${i}`, byte: at + (i >> 3), bit: i & 7 }));
  // INIT (bit 0) is the processor's own: ECREATE clears it whatever the guest says.
  return [
    ...bits('ATTRIBUTES.FLAGS', AT.ATTRIBUTES, 64).filter(({ what }) => !what.endsWith(' 0')),
    ...bits('XFRM', AT.ATTRIBUTES + 8, 64),
    ...bits('MISCSELECT', AT.MISCSELECT, 32),
  ];
}

/** ECREATE and all pages with one bit changed, then EINIT; tells what refused it. */
function build(
  stage: Stage,
  kernel: HostileKernel,
  device: Parameters<typeof prepare>[0],
  layout: MicroImage,
  flip: Flip | null,
): string {
  const change = (secs: Uint8Array) => {
    if (flip !== null) secs[flip.byte]! ^= 1 << flip.bit;
  };
  try {
    const prepared = prepare(device, layout, { secs: change });
    try {
      return einit(kernel, prepared.file.secs, layout.sigstruct);
    } finally {
      prepared.give();
    }
  } catch (error) {
    return (error as { fault?: unknown }).fault === undefined
      ? String((error as { code?: unknown }).code ?? stage.seed)
      : 'ECREATE #GP';
  }
}

export const attributeFlips: Attack = Object.freeze({
  name: 'attribute-flips',
  group: 'lifecycle',
  by: 'guest OS',
  title: 'give an enclave attributes that its signer did not allow',
  tries:
    'flips every bit of ATTRIBUTES, XFRM and MISCSELECT in the SECS of a correctly signed enclave: debug, provisioning, launch ' +
    'keys, other state, other exception information',
  control: 'where the signature leaves DEBUG open, the same flip is accepted, so it does reach EINIT',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const strict = microImage(stage.signer, {
      sign: {
        attributes: { FLAGS: ATTRIBUTES_MODE64BIT, XFRM: 3n },
        attributesMask: { FLAGS: ALL, XFRM: ALL },
        miscmask: 0xffff_ffff,
        isvProdId: 1,
        isvSvn: 1,
      },
    });
    const open = microImage(stage.signer);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    await asKernel(connection, (kernel) => {
      for (const flip of flips()) {
        const code = build(stage, kernel, device, strict, flip);
        codes.add(code);
        broken.push(code === 'success' && `an enclave with ${flip.what} flipped was initialised`);
      }
      const genuine = build(stage, kernel, device, strict, null);
      broken.push(genuine !== 'success' && `the unchanged enclave gave ${genuine}, so this shows nothing`);
      const debug = flips().find(({ what }) => what === 'ATTRIBUTES.FLAGS bit 1')!;
      const allowed = build(stage, kernel, device, open, debug);
      broken.push(
        allowed !== 'success' && `DEBUG where it is allowed gave ${allowed}, so this shows nothing`,
      );
    });
    return [finding('the host itself', `${codes.total} single bits: ${codes}`, broken)];
  },
});
