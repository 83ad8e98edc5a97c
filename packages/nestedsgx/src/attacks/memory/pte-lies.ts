import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { exitName, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const R = 1;
const W = 2;
const X = 4;

export const pteLies: Attack = Object.freeze({
  name: 'pte-lies',
  group: 'memory',
  by: 'guest OS',
  title: 'give an enclave more than its EPCM allows, by its page table',
  tries:
    "SET_PTE with W on code, X on data and all rights on TCS and SSA; pages outside of the ELRANGE, not there, another enclave's; bits " +
    'that no entry has; pages taken away and given back',
  control:
    'taking rights away does fault the enclave, and giving them back lets it go on with the same content',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const vault = await stage.vault();
    const micro = await stage.micro({ threads: 2, nssa: 8 });
    const { base, secs } = micro;
    const { data, tcs, free } = micro.layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const set = (linaddr: number, rights: number, of = secs) => {
          const entry = new Uint8Array(new BigUint64Array([BigInt(linaddr) + BigInt(rights)]).buffer);
          return kernel.sgx(SGX_CALL.SET_PTE, of, kernel.put(entry), 1).code;
        };
        micro.write(data, 41n);
        const { codes, broken } = await refuse([
          { what: 'an entry outside of the ELRANGE', act: () => set(base - 4096, R | W | X) },
          { what: 'an entry above the ELRANGE', act: () => set(base + 2 ** 20, R | W | X) },
          { what: 'an entry without a page', act: () => set(base + free, R | W | X) },
          { what: 'bits that no entry has', act: () => set(base + data, 8) },
          { what: "an entry of another enclave's page", act: () => set(vault.address, R | W | X) },
          { what: 'an entry in the kernel half', act: () => set(2 ** 63, R | W | X) },
          { what: 'a data page as SECS', act: () => set(base + data, R | W, micro.frameOf(data)) },
          { what: 'a list of 513', act: () => kernel.sgx(SGX_CALL.SET_PTE, secs, kernel.page(2), 513).code },
          { what: 'an empty list', act: () => kernel.sgx(SGX_CALL.SET_PTE, secs, kernel.page(2), 0).code },
        ]);
        const told: string[] = [];
        const must = (what: string, exit: string, right: readonly string[]) => {
          told.push(`${what}: ${exit}`);
          broken.push(!right.includes(exit) && `${what} gave ${exit}`);
        };
        for (const offset of [0, data, tcs(0)]) set(base + offset, R | W | X);
        must('a write to code', exitName(micro.enter(OP.WRITE, { rsi: base + 0xf00, rdx: 1 })), ['#PF']);
        must('a jump to data', exitName(micro.enter(OP.CALL, { rsi: base + data })), ['#PF']);
        must('a read of a TCS', exitName(micro.enter(OP.READ, { rsi: base + tcs(0) })), ['#PF']);
        must('a write to a TCS', exitName(micro.enter(OP.WRITE, { rsi: base + tcs(1), rdx: 1 })), ['#PF']);
        set(base + data, 0);
        must('a read of a page taken away', exitName(micro.enter(OP.READ, { rsi: base + data }, 1)), ['#PF']);
        set(base + data, R);
        must(
          'a write to a page made read-only',
          exitName(micro.enter(OP.WRITE, { rsi: base + data, rdx: 9 }, 1)),
          ['#PF'],
        );
        const seen = micro.read(data, 1);
        broken.push(seen !== 41n && `given back, the page holds ${String(seen)}`);
        set(base + data, R | W);
        broken.push(!micro.write(data, 42n, 1) && 'given back, the page cannot be written');
        broken.push(!vault.intact() && 'the other enclave was changed');
        return [
          finding(
            'the host itself',
            `${codes.total} entries refused: ${codes}; ${told.join(', ')}; given back, it is as before`,
            broken,
          ),
        ];
      });
    } finally {
      await micro.close();
    }
  },
});
