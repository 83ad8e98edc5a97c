import { SECS } from '@nestedsgx/arch';
import { type Attack, finding, Tally } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { type MicroOptions, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare, type Steps } from '../stage/stepwise.js';
import { einit } from './measured-order.js';

const SIZE_AT = SECS.offsets.SIZE;
const FRAME_AT = SECS.offsets.SSAFRAMESIZE;

interface Variant {
  what: string;
  image?: MicroOptions;
  steps?: Steps;
}

/** Enclaves that differ from the signed one in one thing. */
const VARIANTS: readonly Variant[] = [
  { what: 'other data', image: { data: Uint8Array.of(1) } },
  { what: 'a thread more', image: { threads: 2 } },
  { what: 'an SSA frame more', image: { nssa: 3 } },
  { what: 'a page more', image: { dataPages: 2 } },
  { what: 'twice the ELRANGE', image: { size: 2 ** 21 } },
  {
    what: 'a larger SECS.SIZE',
    steps: { secs: (secs) => new DataView(secs.buffer).setBigUint64(SIZE_AT, 2n ** 21n, true) },
  },
  {
    what: 'a larger SSAFRAMESIZE',
    steps: { secs: (secs) => new DataView(secs.buffer).setUint32(FRAME_AT, 2, true) },
  },
];

export const reusedSigstruct: Attack = Object.freeze({
  name: 'reused-sigstruct',
  group: 'lifecycle',
  by: 'app',
  title: "start an enclave under another one's genuine signature",
  tries:
    'EINIT of enclaves with other data, threads, frames, pages or sizes under the SIGSTRUCT of the enclave they pretend to be',
  control: 'the enclave that was signed is accepted under the very same SIGSTRUCT',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const genuine = microImage(stage.signer);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    await asKernel(connection, (kernel) => {
      for (const { what, image, steps = {} } of VARIANTS) {
        // A range of twice the size and alignment, so that a larger SECS.SIZE fits as well.
        const ranges = device.ranges.reserve(2 ** 21);
        const prepared = prepare(device, microImage(stage.signer, image), { ...steps, base: ranges });
        try {
          const code = einit(kernel, prepared.file.secs, genuine.sigstruct);
          codes.add(code);
          broken.push(code === 'success' && `EINIT accepted an enclave with ${what}`);
        } finally {
          prepared.give();
          device.ranges.release(ranges);
        }
      }
      const right = prepare(device, genuine);
      const code = einit(kernel, right.file.secs, genuine.sigstruct);
      broken.push(code !== 'success' && `even the signed enclave gave ${code}, so this shows nothing`);
      right.give();
    });
    return [finding('the host itself', `${codes.total} other enclaves: ${codes}`, broken)];
  },
});
