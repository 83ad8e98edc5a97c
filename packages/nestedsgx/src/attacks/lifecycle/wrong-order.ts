import { ENCLS, PT_REG, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Micro, microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { einit } from './measured-order.js';

const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

export const wrongOrder: Attack = Object.freeze({
  name: 'wrong-order',
  group: 'lifecycle',
  by: 'guest OS',
  title: 'leaves in an order that the life of an enclave does not have',
  tries:
    'EADD, EEXTEND, EINIT and gates for pages that are no SECS, EINIT without pages, EREMOVE of a SECS that has pages and of ' +
    'pages while a thread is inside',
  control: 'the thread is really inside, and the right order is accepted',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const layout = microImage(stage.signer);
    const micro = Micro.load(device, layout);
    const young = prepare(device, layout);
    const flag = connection.memory.alloc(64, { zero: true });
    try {
      return await asKernel(connection, async (kernel) => {
        const frame = kernel.frame();
        const empty = kernel.frame();
        const data = micro.frameOf(layout.data);
        const inside = micro.begin(OP.HAMMER, { rsi: micro.base + layout.data, rdx: flag.address });
        await new Promise<void>((resolve) => setTimeout(resolve, 20));
        const { codes, broken } = await refuse([
          { what: 'EADD to a free frame', act: () => kernel.eadd(empty, micro.base, frame, READ_WRITE).code },
          {
            what: 'EADD to a data page as SECS',
            act: () => kernel.eadd(data, micro.base, frame, READ_WRITE).code,
          },
          {
            what: 'EEXTEND of a free frame',
            act: () => kernel.sgx(ENCLS.EEXTEND, young.file.secs, empty).code,
          },
          {
            what: 'EEXTEND of the SECS itself',
            act: () => kernel.sgx(ENCLS.EEXTEND, young.file.secs, young.file.secs).code,
          },
          { what: 'EINIT of a free frame', act: () => einit(kernel, empty, layout.sigstruct) },
          { what: 'EINIT of a data page', act: () => einit(kernel, data, layout.sigstruct) },
          {
            what: 'BIND_GATES of a data page',
            act: () => kernel.sgx(SGX_CALL.BIND_GATES, data, kernel.page(1), 1).code,
          },
          {
            what: 'EREMOVE of a SECS with pages',
            act: () => kernel.sgx(ENCLS.EREMOVE, 0, young.file.secs).code,
          },
          {
            what: 'EREMOVE of a page with a thread inside',
            act: () => kernel.sgx(ENCLS.EREMOVE, 0, data).code,
          },
          {
            what: 'REMOVE_RANGE with a thread inside',
            act: () => kernel.sgx(SGX_CALL.REMOVE_RANGE, data, 1).code,
          },
        ]);
        new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
        const exit = await inside;
        if (exit.kind !== 'EEXIT' || exit.rsi === 0n)
          broken.push('no thread was inside, so this shows little');
        const right = einit(kernel, young.file.secs, layout.sigstruct);
        if (right !== 'success') broken.push(`the right order gave ${right}`);
        return [finding('the host itself', `${codes.total} leaves out of order: ${codes}`, broken)];
      });
    } finally {
      young.give();
      await micro.close();
      connection.memory.free(flag);
    }
  },
});
