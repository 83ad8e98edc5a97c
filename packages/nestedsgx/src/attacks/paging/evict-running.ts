import { ENCLS, EVICT_ENTRY } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { exitName, interrupt, OP } from '../stage/micro.js';
import { Pager } from '../stage/pager.js';
import type { Stage } from '../stage/stage.js';

export const evictRunning: Attack = Object.freeze({
  name: 'evict-running',
  group: 'paging',
  by: 'guest OS',
  title: 'write pages out under a running thread',
  tries:
    'EWB without EBLOCK, without ETRACK and with the thread inside, EVICT of its data, TCS and SSA, EBLOCK of SECS and version array, ' +
    'and ERESUME while SSA or TCS are out',
  control:
    'once the thread has left, the same pages go out and come back, and the interrupted computation ends rightly',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro({ threads: 2, dataPages: 2 });
    const flag = connection.memory.alloc(64, { zero: true });
    const { data, tcs, ssa } = micro.layout;
    // The thread works on the first data page; the leaves take the second one, which it could use at any time.
    const other = data + 4096;
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const frame = micro.frameOf(other);
        const inside = micro.begin(OP.HAMMER, { rsi: micro.base + data, rdx: flag.address });
        await new Promise<void>((resolve) => setTimeout(resolve, 10));
        const evict = (offset: number, slot: number) => {
          const entry = EVICT_ENTRY.encode({
            FRAME: BigInt(micro.frameOf(offset)),
            VASLOT: BigInt(slot),
            SRCPGE: BigInt(kernel.page(15)),
            PCMD: BigInt(kernel.page(16)),
          });
          return kernel.sgx(SGX_CALL.EVICT, micro.secs, kernel.put(entry), 1).code;
        };
        const { codes, broken } = await refuse([
          { what: 'EWB without EBLOCK', act: () => pager.write(frame, va).code },
          {
            what: 'EWB without ETRACK',
            act: () => {
              pager.block(frame);
              return pager.write(frame, va).code;
            },
          },
          {
            what: 'EWB with the thread inside',
            act: () => {
              pager.track(micro.secs);
              return pager.write(frame, va).code;
            },
          },
          { what: 'EBLOCK twice', act: () => pager.block(frame) },
          { what: 'EBLOCK of the SECS', act: () => pager.block(micro.secs) },
          { what: 'EBLOCK of the version array', act: () => pager.block(va) },
          { what: 'EWB of the SECS', act: () => pager.write(micro.secs, va).code },
          { what: 'EVICT of its data', act: () => evict(other, va) },
          { what: 'EVICT of its SSA', act: () => evict(ssa(0), va) },
          { what: 'EVICT of its TCS', act: () => evict(tcs(0), va) },
          { what: 'EREMOVE of its TCS', act: () => kernel.sgx(ENCLS.EREMOVE, 0, micro.frameOf(tcs(0))).code },
        ]);
        const counted = Number(micro.read(data, 1));
        await new Promise<void>((resolve) => setTimeout(resolve, 5));
        broken.push(
          !(Number(micro.read(data, 1)) > counted) && 'no thread was inside, so this shows nothing',
        );
        const left = exitName(await interrupt(micro, inside));
        broken.push(left !== 'interrupt' && `the thread left with ${left}`);
        const out = [other, ssa(0), tcs(0)].map((offset, i) => pager.evict(micro, offset, va + 8 + 8 * i));
        const without = exitName(micro.resume(0));
        broken.push(!without.startsWith('entry') && `ERESUME without SSA and TCS gave ${without}`);
        const entered = exitName(micro.enter(OP.NOTHING));
        broken.push(!entered.startsWith('entry') && `EENTER without SSA and TCS gave ${entered}`);
        const back = out.map((page) => pager.load(page, micro.secs));
        broken.push(back.some((code) => code !== 'success') && `loading gave ${back.join(', ')}`);
        const before = micro.read(data, 1);
        const resumed = micro.beginResume(0);
        await new Promise<void>((resolve) => setTimeout(resolve, 10));
        new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
        const exit = await resumed;
        const ok = exit.kind === 'EEXIT' && typeof before === 'bigint' && exit.rsi > before;
        broken.push(!ok && `the interrupted computation ended with ${exitName(exit)}`);
        return [
          finding(
            'the host itself',
            `${codes.total} leaves under a running thread: ${codes}; while SSA and TCS are out: ${without}; it ends rightly afterwards`,
            broken,
          ),
        ];
      });
    } finally {
      new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
      await micro.close();
      connection.memory.free(flag);
    }
  },
});

export const loadTwice: Attack = Object.freeze({
  name: 'load-twice',
  group: 'paging',
  by: 'guest OS',
  title: 'load one page twice, or over another',
  tries:
    'ELDU of a page that is loaded already, into frames and addresses in use, with slots that are empty, in use or in no version array, ' +
    'and EWB over a slot in use',
  control: 'the first load succeeds, and the enclave finds its content',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro({ dataPages: 2 });
    const { data } = micro.layout;
    const second = data + 4096;
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const spare = kernel.frame();
        micro.write(data, 5n);
        micro.write(second, 6n);
        const out = pager.evict(micro, data, va);
        const broken: (string | null | false)[] = [];
        const busy = await refuse(
          [
            {
              what: 'a load into a frame in use',
              act: () => pager.load(out, micro.secs, { frame: micro.frameOf(second) }),
            },
            { what: 'a load over the SECS', act: () => pager.load(out, micro.secs, { frame: micro.secs }) },
            { what: 'a load over the version array', act: () => pager.load(out, micro.secs, { frame: va }) },
            {
              what: 'a slot in no version array',
              act: () => pager.load(out, micro.secs, { slot: micro.frameOf(second) }),
            },
            { what: 'a slot in a free frame', act: () => pager.load(out, micro.secs, { slot: spare }) },
            { what: 'a page as SECS', act: () => pager.load(out, micro.frameOf(second)) },
            { what: 'a misaligned slot', act: () => pager.load(out, micro.secs, { slot: va + 4 }) },
            {
              what: 'EWB over the slot in use',
              act: () => {
                pager.block(micro.frameOf(second));
                pager.track(micro.secs);
                const entry = EVICT_ENTRY.encode({
                  FRAME: BigInt(micro.frameOf(second)),
                  VASLOT: BigInt(va),
                  SRCPGE: BigInt(kernel.page(15)),
                  PCMD: BigInt(kernel.page(16)),
                });
                return kernel.sgx(SGX_CALL.EVICT, micro.secs, kernel.put(entry), 1).code;
              },
            },
          ],
          undefined,
          broken,
        );
        const once = pager.load(out, micro.secs);
        broken.push(once !== 'success' && `the first load gave ${once}, so this shows nothing`);
        const { codes } = await refuse(
          [
            { what: 'a second load', act: () => pager.load(out, micro.secs, { frame: spare }) },
            {
              what: 'a second load at another address',
              act: () =>
                pager.load(out, micro.secs, { frame: spare, linaddr: micro.base + micro.layout.free }),
            },
            { what: 'a second load into the same frame', act: () => pager.load(out, micro.secs) },
          ],
          busy.codes,
          broken,
        );
        broken.push(micro.read(data) !== 5n && 'the enclave does not find its content');
        return [finding('the host itself', `${codes.total} loads: ${codes}; the page is there once`, broken)];
      });
    } finally {
      await micro.close();
    }
  },
});
