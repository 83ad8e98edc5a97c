import {
  AUG_RANGE,
  ENCLS,
  ENCLU,
  PT_REG,
  PT_TCS,
  SECINFO_PENDING,
  SECINFO_R,
  SECINFO_W,
  SECINFO_X,
  secinfoBytes,
  sgxErrorName,
} from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel, type HostileKernel } from '../stage/kernel.js';
import { type Micro, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';

const PAGE = 4096;
/** Where micro enclaves keep SECINFOs, in their first data page. */
const SECINFO_AT = 0x200;
const NEW = SECINFO_R | SECINFO_W | SECINFO_PENDING | (PT_REG << 8);

/** EAUG of one page. */
export function eaug(kernel: HostileKernel, secs: number, linaddr: number, frame: number): string {
  return kernel.sgx(ENCLS.EAUG, kernel.pageinfo({ linaddr, secs }), frame).code;
}

/** A leaf that takes a SECINFO and a page of the enclave: `success`, the code, or the exception. */
export function accept(micro: Micro, leaf: number, flags: number, offset: number, thread = 0): string {
  const { data } = micro.layout;
  micro.writeBytes(data + SECINFO_AT, secinfoBytes(flags), thread);
  const result = micro.leaf(leaf, micro.base + data + SECINFO_AT, micro.base + offset, 0, thread);
  if (typeof result === 'string') return result;
  return result === 0 ? 'success' : sgxErrorName(result);
}

export const augOver: Attack = Object.freeze({
  name: 'aug-over',
  group: 'dynamic',
  by: 'guest OS',
  title: 'add pages where there are pages, or with contents',
  tries:
    'EAUG and AUG_RANGE over addresses and frames in use, outside of the ELRANGE, with a source page or SECINFO, to an enclave that is not ' +
    'initialised and to frames that are no SECS',
  control: 'an honest EAUG is accepted by the enclave, which finds zeros there and its old pages unchanged',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const micro = await stage.micro();
    const young = prepare(device, microImage(stage.signer));
    const { data, free } = micro.layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const frame = kernel.frame();
        const { base, secs } = micro;
        kernel.bytes(1).fill(0x5a);
        micro.write(data, 77n);
        const aug = (fields: Parameters<HostileKernel['pageinfo']>[0], target = frame) =>
          kernel.sgx(ENCLS.EAUG, kernel.pageinfo(fields), target).code;
        const range = (linaddr: number, length: number, epc: number) =>
          kernel.sgx(
            SGX_CALL.AUG_RANGE,
            kernel.put(
              AUG_RANGE.encode({
                SECS: BigInt(secs),
                LINADDR: BigInt(linaddr),
                LENGTH: BigInt(length),
                EPC: BigInt(epc),
              }),
            ),
          ).code;
        const { codes, broken } = await refuse([
          { what: 'EAUG over a data page', act: () => aug({ linaddr: base + data, secs }) },
          { what: 'EAUG over the code', act: () => aug({ linaddr: base, secs }) },
          { what: 'EAUG over a TCS', act: () => aug({ linaddr: base + micro.layout.tcs(0), secs }) },
          {
            what: 'EAUG into a frame in use',
            act: () => aug({ linaddr: base + free, secs }, micro.frameOf(data)),
          },
          { what: 'EAUG into the SECS', act: () => aug({ linaddr: base + free, secs }, secs) },
          { what: 'EAUG below the ELRANGE', act: () => aug({ linaddr: base - PAGE, secs }) },
          { what: 'EAUG above the ELRANGE', act: () => aug({ linaddr: base + 2 ** 20, secs }) },
          {
            what: 'EAUG with a source',
            act: () => aug({ linaddr: base + free, secs, source: kernel.page(1) }),
          },
          {
            what: 'EAUG with a SECINFO',
            act: () =>
              aug({
                linaddr: base + free,
                secs,
                secinfo: kernel.secinfo(SECINFO_R | SECINFO_X | (PT_REG << 8)),
              }),
          },
          {
            what: 'EAUG as a TCS',
            act: () => aug({ linaddr: base + free, secs, secinfo: kernel.secinfo(PT_TCS << 8) }),
          },
          {
            what: 'EAUG before EINIT',
            act: () => aug({ linaddr: young.file.base + free, secs: young.file.secs }),
          },
          {
            what: 'EAUG of a data page as SECS',
            act: () => aug({ linaddr: base + free, secs: micro.frameOf(data) }),
          },
          { what: 'AUG_RANGE over the image', act: () => range(base + data, PAGE, frame) },
          { what: 'AUG_RANGE of nothing', act: () => range(base + free, 0, frame) },
          { what: 'AUG_RANGE that wraps around', act: () => range(2 ** 52, 2 ** 24, frame) },
          { what: 'AUG_RANGE over the end', act: () => range(base + 2 ** 20, PAGE, frame) },
        ]);
        const honest = eaug(kernel, secs, base + free, frame);
        const accepted = accept(micro, ENCLU.EACCEPT, NEW, free);
        broken.push(
          (honest !== 'success' || accepted !== 'success') &&
            `an honest page: EAUG ${honest}, EACCEPT ${accepted}`,
        );
        broken.push(micro.read(free) !== 0n && 'the new page is not empty');
        broken.push(micro.read(data) !== 77n && 'an old page was changed');
        return [
          finding(
            'the host itself',
            `${codes.total} pages: ${codes}; an honest one is accepted, and empty`,
            broken,
          ),
        ];
      });
    } finally {
      young.give();
      await micro.close();
    }
  },
});

export const augUnaccepted: Attack = Object.freeze({
  name: 'aug-unaccepted',
  group: 'dynamic',
  by: 'guest OS',
  title: 'slip pages under an enclave that it did not accept',
  tries:
    'lets the enclave use a page before EACCEPT, and takes away accepted pages and puts empty ones in their place, while it reads; the ' +
    'enclave accepts with other attributes than the page has',
  control: 'after EACCEPT the same reads and writes succeed',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro();
    const { data, free } = micro.layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const frame = kernel.frame();
        const { base, secs } = micro;
        const { broken } = await refuse([]);
        const honest = eaug(kernel, secs, base + free, frame);
        broken.push(honest !== 'success' && `EAUG gave ${honest}, so this shows nothing`);
        // Each of these ends with a fault that leaves the SSA frame in use: two frames, so a new enclave is not needed.
        const key = micro.leaf(ENCLU.EGETKEY, base + free, base + data + 0x400);
        broken.push(typeof key !== 'string' && 'EGETKEY read its request from a pending page');
        const seen: string[] = [`EGETKEY: ${String(key)}`];
        const other = await stage.micro();
        const otherFrame = kernel.frame();
        eaug(kernel, other.secs, other.base + free, otherFrame);
        const wrong = [
          ['without PENDING', SECINFO_R | SECINFO_W | (PT_REG << 8)],
          ['as executable', NEW | SECINFO_X],
          ['as read-only', NEW & ~SECINFO_W],
          ['as a TCS', SECINFO_PENDING | (PT_TCS << 8)],
        ] as const;
        for (const [what, flags] of wrong) {
          const probe = await stage.micro();
          const at = kernel.frame();
          eaug(kernel, probe.secs, probe.base + free, at);
          const code = accept(probe, ENCLU.EACCEPT, flags, free);
          seen.push(`EACCEPT ${what}: ${code}`);
          broken.push(code === 'success' && `EACCEPT ${what} succeeded`);
          kernel.sgx(ENCLS.EREMOVE, 0, at);
          await probe.close();
        }
        const before = other.read(free);
        broken.push(typeof before !== 'string' && 'a page was readable before it was accepted');
        seen.push(`read: ${String(before)}`);
        const third = await stage.micro();
        const thirdFrame = kernel.frame();
        eaug(kernel, third.secs, third.base + free, thirdFrame);
        const accepted = accept(third, ENCLU.EACCEPT, NEW, free);
        third.write(free, 99n);
        broken.push((accepted !== 'success' || third.read(free) !== 99n) && 'an accepted page is not usable');
        const removed = kernel.sgx(ENCLS.EREMOVE, 0, thirdFrame).code;
        const again = eaug(kernel, third.secs, third.base + free, thirdFrame);
        const after = third.read(free);
        broken.push(
          (removed !== 'success' || again !== 'success') && `the exchange gave ${removed}, ${again}`,
        );
        broken.push(
          typeof after !== 'string' && `an accepted page was exchanged for an empty one: it reads ${after}`,
        );
        seen.push(`exchanged: ${String(after)}`);
        for (const gpa of [frame, otherFrame, thirdFrame]) kernel.sgx(ENCLS.EREMOVE, 0, gpa);
        await other.close();
        await third.close();
        return [finding('the host itself', `${seen.join(', ')}; an accepted page works`, broken)];
      });
    } finally {
      await micro.close();
    }
  },
});
