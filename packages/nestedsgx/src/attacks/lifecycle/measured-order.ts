import { ENCLS } from '@nestedsgx/arch';
import { type Attack, finding, Tally } from '../attack.js';
import { asKernel, type HostileKernel } from '../stage/kernel.js';
import { type MicroImage, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { type Prepared, prepare } from '../stage/stepwise.js';

const CHUNK = 256;
const CHUNKS = 16;
const IN_ORDER = Array.from({ length: CHUNKS }, (_, i) => i);

interface Variant {
  what: string;
  /** Chunks of the last page in the order of EEXTEND. */
  chunks: readonly number[];
  right: boolean;
  /** Done after the chunks. */
  more?: (kernel: HostileKernel, prepared: Prepared, layout: MicroImage) => void;
}

const frameAt = (prepared: Prepared, offset: number) => {
  const extent = prepared.file.pages.find(offset)!;
  return extent.gpa + (offset - extent.offset);
};

const VARIANTS: readonly Variant[] = [
  { what: 'the signed order', chunks: IN_ORDER, right: true },
  { what: 'a chunk twice', chunks: [...IN_ORDER, 15], right: false },
  { what: 'all chunks twice', chunks: [...IN_ORDER, ...IN_ORDER], right: false },
  { what: 'the reverse order', chunks: [...IN_ORDER].reverse(), right: false },
  { what: 'two chunks exchanged', chunks: [1, 0, ...IN_ORDER.slice(2)], right: false },
  { what: 'one chunk left out', chunks: IN_ORDER.slice(0, 15), right: false },
  { what: 'nothing measured', chunks: [], right: false },
  {
    what: 'one more chunk of the code page',
    chunks: IN_ORDER,
    right: false,
    more: (kernel, prepared) => {
      kernel.sgx(ENCLS.EEXTEND, prepared.file.secs, frameAt(prepared, 0));
    },
  },
];

/** EINIT by hand, without the driver's checks. */
export function einit(kernel: HostileKernel, secs: number, sigstruct: Uint8Array): string {
  kernel.bytes(20).set(sigstruct);
  kernel.bytes(21).fill(0);
  return kernel.sgx(ENCLS.EINIT, kernel.page(20), secs, kernel.page(21)).code;
}

export const measuredOrder: Attack = Object.freeze({
  name: 'measured-order',
  group: 'lifecycle',
  by: 'guest OS',
  title: 'measure an enclave otherwise than its signer did',
  tries:
    "EEXTEND twice, in another order, left out, and with another enclave's SECS; the last page at another address or not added",
  control: 'the signed order, made of the same single EEXTENDs, is accepted',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const layout = microImage(stage.signer);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    await asKernel(connection, async (kernel) => {
      for (const { what, chunks, right, more } of VARIANTS) {
        const prepared = prepare(device, layout, { lastPageUnmeasured: true });
        try {
          const frame = frameAt(prepared, layout.page);
          for (const chunk of chunks) kernel.sgx(ENCLS.EEXTEND, prepared.file.secs, frame + chunk * CHUNK);
          more?.(kernel, prepared, layout);
          const code = einit(kernel, prepared.file.secs, layout.sigstruct);
          if (right) broken.push(code !== 'success' && `even ${what} gave ${code}, so this shows nothing`);
          else {
            codes.add(code);
            broken.push(code === 'success' && `EINIT accepted ${what}`);
          }
        } finally {
          prepared.give();
        }
      }
      const moved = prepare(device, layout, { lastPageOffset: layout.free });
      const other = prepare(device, layout);
      try {
        const code = einit(kernel, moved.file.secs, layout.sigstruct);
        codes.add(code);
        broken.push(code === 'success' && 'EINIT accepted a page at another address');
        const crossed = kernel.sgx(ENCLS.EEXTEND, moved.file.secs, frameAt(other, layout.page)).code;
        codes.add(`${crossed} for EEXTEND with another SECS`);
        broken.push(crossed === 'success' && "EEXTEND measured one enclave's page into another");
        const still = einit(kernel, other.file.secs, layout.sigstruct);
        broken.push(still !== 'success' && `the other enclave is no longer accepted: ${still}`);
      } finally {
        moved.give();
        other.give();
      }
    });
    return [finding('the host itself', `${codes.total} wrong measurements: ${codes}`, broken)];
  },
});
