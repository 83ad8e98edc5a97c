import { PT_VA } from '@nestedsgx/arch';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Pager } from '../stage/pager.js';
import type { Stage } from '../stage/stage.js';

const OLD = 0x01d_01dn;
const NEW = 0x2e3_2e3n;

export const pageReplay: Attack = Object.freeze({
  name: 'page-replay',
  group: 'paging',
  by: 'guest OS',
  title: 'give an enclave an old version of its own page',
  tries:
    'keeps a page as it was written out before, and loads it after it was written out anew: under the old slot, the new slot, an ' +
    'empty slot, a fresh version array',
  control: 'the new version loads under its slot, and the enclave reads what it wrote last',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro();
    const { data } = micro.layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const fresh = pager.versionArray();
        micro.write(data, OLD);
        const old = pager.evict(micro, data, va);
        const broken: (string | null | false)[] = [];
        const first = pager.load(old, micro.secs);
        broken.push(first !== 'success' && `the first load gave ${first}, so this shows nothing`);
        micro.write(data, NEW);
        const now = pager.evict(micro, data, va + 8);
        const load = (what: string, as: Parameters<Pager['load']>[2], from = old) => ({
          what,
          act: () => pager.load(from, micro.secs, as),
        });
        const { codes } = await refuse(
          [
            load('the old page under its old slot', {}),
            load('the old page under the new slot', { slot: now.slot }),
            load('the old page with the new PCMD', { slot: now.slot, pcmd: now.pcmd }),
            load('the new page with the old PCMD', { slot: now.slot, pcmd: old.pcmd }, now),
            load('the old page under an empty slot', { slot: va + 16 }),
            load('the old page under a fresh version array', { slot: fresh }),
            load('the new page under a fresh version array', { slot: fresh }, now),
            load('the new page under the old slot', { slot: va }, now),
            load('the old page under a slot in its own frame', { slot: old.frame }),
          ],
          undefined,
          broken,
        );
        const last = pager.load(now, micro.secs);
        broken.push(last !== 'success' && `the right version gave ${last}`);
        const seen = micro.read(data);
        broken.push(seen !== NEW && `the enclave reads ${String(seen)} instead of what it wrote last`);
        return [
          finding('the host itself', `${codes.total} loads: ${codes}; the latest version loads`, broken),
        ];
      });
    } finally {
      await micro.close();
    }
  },
});

export const versionRollback: Attack = Object.freeze({
  name: 'version-rollback',
  group: 'paging',
  by: 'guest OS',
  title: 'roll a version array back',
  tries:
    'writes out the version array, lets it and the page come back and the page go out anew, then brings the old version array ' +
    'again: under its slot, another slot, at another place',
  control: 'the latest version array loads, and with it the latest page',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro();
    const { data } = micro.layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const above = pager.versionArray();
        const broken: (string | null | false)[] = [];
        micro.write(data, OLD);
        const old = pager.evict(micro, data, va);
        const oldArray = pager.write(va, above);
        if (oldArray.done === null) throw new Error(`EWB of the version array gave ${oldArray.code}`);
        const back = [pager.load(oldArray.done, 0), pager.load(old, micro.secs)];
        broken.push(
          back.some((code) => code !== 'success') &&
            `the honest way back gave ${back.join(', ')}, so this shows nothing`,
        );
        micro.write(data, NEW);
        const now = pager.evict(micro, data, va);
        const newArray = pager.write(va, above + 8);
        if (newArray.done === null) throw new Error(`EWB of the version array gave ${newArray.code}`);
        const { done } = oldArray;
        const { codes } = await refuse(
          [
            { what: 'the old array under its slot', act: () => pager.load(done, 0) },
            { what: 'the old array under the new slot', act: () => pager.load(done, 0, { slot: above + 8 }) },
            {
              what: 'the old array under an empty slot',
              act: () => pager.load(done, 0, { slot: above + 16 }),
            },
            {
              what: 'the old array with the new PCMD',
              act: () => pager.load(done, 0, { slot: above + 8, pcmd: newArray.done!.pcmd }),
            },
            {
              what: 'the array as a page of the enclave',
              act: () =>
                pager.load(newArray.done!, micro.secs, {
                  linaddr: micro.base + micro.layout.free,
                  pcmd: now.pcmd,
                }),
            },
            {
              what: 'the page as a version array',
              act: () => pager.load(now, 0, { slot: above + 8, pcmd: newArray.done!.pcmd }),
            },
            {
              what: 'a version array over one that is there',
              act: () => kernel.sgx(0x0a, PT_VA, above).code,
            },
          ],
          undefined,
          broken,
        );
        const last = [pager.load(newArray.done, 0), pager.load(now, micro.secs)];
        broken.push(last.some((code) => code !== 'success') && `the latest versions gave ${last.join(', ')}`);
        const seen = micro.read(data);
        broken.push(seen !== NEW && `the enclave reads ${String(seen)} instead of what it wrote last`);
        return [
          finding(
            'the host itself',
            `${codes.total} loads: ${codes}; the latest version array loads`,
            broken,
          ),
        ];
      });
    } finally {
      await micro.close();
    }
  },
});
