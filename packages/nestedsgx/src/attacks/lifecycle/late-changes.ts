import { ENCLS, PT_REG, PT_TCS, SECINFO_R, SECINFO_W } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Micro, microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';

const PAGE = 4096;
const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

export const lateChanges: Attack = Object.freeze({
  name: 'late-changes',
  group: 'lifecycle',
  by: 'guest OS',
  title: 'change an enclave after EINIT',
  tries:
    'EADD of pages and threads, ADD_RANGE, EEXTEND, a second EINIT, ECREATE over its SECS, other gates and the provisioning ' +
    'grant, all after EINIT',
  control: 'the same EADD and EEXTEND succeed on an enclave that is not initialised',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const layout = microImage(stage.signer);
    const young = prepare(device, layout);
    const micro = Micro.load(device, layout);
    try {
      return await asKernel(connection, async (kernel) => {
        const { secs, base } = micro;
        const at = base + layout.free;
        const broken: (string | null | false)[] = [];
        const frame = kernel.frame();
        const early = kernel.eadd(young.file.secs, young.file.base + layout.free, frame, READ_WRITE).code;
        const extended = kernel.sgx(ENCLS.EEXTEND, young.file.secs, frame).code;
        if (early !== 'success' || extended !== 'success')
          broken.push(`before EINIT: EADD ${early}, EEXTEND ${extended}, so this shows nothing`);
        const spare = kernel.frame();
        kernel.bytes(5).set(layout.sigstruct);
        const range = () =>
          kernel.range({
            SECS: secs,
            LINADDR: at,
            SRC: kernel.page(1),
            LENGTH: PAGE,
            SECINFO: kernel.secinfo(READ_WRITE),
            EPC: spare,
          });
        const { codes } = await refuse(
          [
            { what: 'EADD of a page', act: () => kernel.eadd(secs, at, spare, READ_WRITE).code },
            { what: 'EADD of a TCS', act: () => kernel.eadd(secs, at, spare, PT_TCS << 8).code },
            {
              what: 'EADD over its data page',
              act: () => kernel.eadd(secs, at, micro.frameOf(layout.data), READ_WRITE).code,
            },
            { what: 'ADD_RANGE', act: () => kernel.sgx(SGX_CALL.ADD_RANGE, range()).code },
            {
              what: 'EEXTEND',
              act: () => kernel.sgx(ENCLS.EEXTEND, secs, micro.frameOf(layout.data)).code,
            },
            {
              what: 'a second EINIT',
              act: () => kernel.sgx(ENCLS.EINIT, kernel.page(5), secs, kernel.page(6)).code,
            },
            {
              what: 'ECREATE over its SECS',
              act: () => {
                const secinfo = kernel.secinfo(0);
                return kernel.sgx(ENCLS.ECREATE, kernel.pageinfo({ source: kernel.page(1), secinfo }), secs)
                  .code;
              },
            },
            {
              what: 'BIND_GATES',
              act: () => kernel.sgx(SGX_CALL.BIND_GATES, secs, kernel.page(7), 1).code,
            },
            {
              what: 'AUTHORIZE_PROVISION',
              act: () => kernel.sgx(SGX_CALL.AUTHORIZE_PROVISION, secs).code,
            },
          ],
          undefined,
          broken,
        );
        if (micro.enter(OP.NOTHING).kind !== 'EEXIT') broken.push('the enclave does not answer any more');
        const there = micro.read(layout.free);
        if (typeof there !== 'string') broken.push('the enclave has a page that was not measured');
        return [
          finding(
            'the host itself',
            `${codes.total} changes: ${codes}; the address stays empty (${String(there)})`,
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
