import { PT_REG, SECINFO_R, SECINFO_W, SVSM_CORE } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { einit } from '../lifecycle/measured-order.js';
import { asKernel } from '../stage/kernel.js';
import { Micro, microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';

const PAGE = 4096;
const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

export const doubleMapping: Attack = Object.freeze({
  name: 'double-mapping',
  group: 'memory',
  by: 'guest OS',
  title: 'use one frame twice, or one address twice',
  tries:
    "EADD and ECREATE of frames that are in use (own, another enclave's, SECS), two frames for one address, ranges that run into frames " +
    'or pages in use or over the end of the EPC, and gates in memory that is EPC',
  control: 'the free frame between them is accepted, and the enclave starts afterwards as it was signed',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const layout = microImage(stage.signer);
    const young = prepare(device, layout);
    const other = Micro.load(device, layout);
    const ram = connection.memory.alloc(2 * PAGE, { alignment: PAGE, zero: true });
    try {
      return await asKernel(connection, async (kernel) => {
        const { secs, base } = young.file;
        const at = base + layout.free + 16 * PAGE;
        const own = young.file.pages.find(layout.data)!;
        const ownData = own.gpa + (layout.data - own.offset);
        const run = kernel.frames(3);
        const free = kernel.frame();
        const middle = kernel.ecreate(
          { SIZE: 2n ** 20n, BASEADDR: BigInt(base), SSAFRAMESIZE: 1, ATTRIBUTES: { FLAGS: 4n, XFRM: 3n } },
          run + PAGE,
        ).code;
        const deposit = kernel.listed(SVSM_CORE.DEPOSIT_MEM, ram.gpa).code;
        const range = (linaddr: number, epc: number, pages: number) =>
          kernel.sgx(
            SGX_CALL.ADD_RANGE,
            kernel.range({
              SECS: secs,
              LINADDR: linaddr,
              SRC: kernel.page(4),
              LENGTH: pages * PAGE,
              SECINFO: kernel.secinfo(READ_WRITE),
              EPC: epc,
            }),
          ).code;
        const broken: (string | null | false)[] = [];
        broken.push(
          middle !== 'success' && `ECREATE in the free frame gave ${middle}, so this shows nothing`,
        );
        broken.push(deposit !== 'success' && `the deposit gave ${deposit}`);
        const { codes } = await refuse(
          [
            {
              what: 'EADD of an own frame at a second address',
              act: () => kernel.eadd(secs, at, ownData, READ_WRITE).code,
            },
            {
              what: "EADD of another enclave's frame",
              act: () => kernel.eadd(secs, at, other.frameOf(layout.data), READ_WRITE).code,
            },
            { what: 'EADD of the SECS as a page', act: () => kernel.eadd(secs, at, secs, READ_WRITE).code },
            {
              what: "EADD of another's SECS as a page",
              act: () => kernel.eadd(secs, at, other.secs, READ_WRITE).code,
            },
            {
              what: 'a second frame for one address',
              act: () => kernel.eadd(secs, base + layout.data, free, READ_WRITE).code,
            },
            {
              what: 'a page below the ELRANGE',
              act: () => kernel.eadd(secs, base - PAGE, free, READ_WRITE).code,
            },
            {
              what: 'a page above the ELRANGE',
              act: () => kernel.eadd(secs, base + 2 ** 20, free, READ_WRITE).code,
            },
            { what: 'a range whose first frame is in use', act: () => range(at, run + PAGE, 1) },
            { what: 'a range over pages that are there', act: () => range(base + layout.data, run, 1) },
            {
              what: 'a range over the end of the EPC',
              act: () => range(at, connection.epc.first + connection.epc.count * PAGE, 1),
            },
            { what: 'gates in EPC', act: () => kernel.sgx(SGX_CALL.BIND_GATES, secs, ownData, 1).code },
            {
              what: 'gates in a deposited page',
              act: () => kernel.sgx(SGX_CALL.BIND_GATES, secs, ram.gpa, 1).code,
            },
            {
              what: 'gates that run into a deposited page',
              act: () => kernel.sgx(SGX_CALL.BIND_GATES, secs, ram.gpa - PAGE, 2).code,
            },
          ],
          undefined,
          broken,
        );
        broken.push(other.enter(OP.NOTHING).kind !== 'EEXIT' && 'the other enclave does not answer');
        const right = einit(kernel, secs, layout.sigstruct);
        broken.push(right !== 'success' && `the enclave is no longer as it was signed: ${right}`);
        kernel.listed(SVSM_CORE.WITHDRAW_MEM, ram.gpa);
        return [finding('the host itself', `${codes.total} requests: ${codes}`, broken)];
      });
    } finally {
      young.give();
      await other.close();
      connection.memory.free(ram);
    }
  },
});
