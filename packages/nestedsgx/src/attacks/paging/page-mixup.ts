import { ENCLS, PCMD } from '@nestedsgx/arch';
import { generator } from '../adversary/world.js';
import { type Attack, type Case, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Micro, microImage } from '../stage/micro.js';
import { Pager } from '../stage/pager.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const FLIPS = 48;
const ONE = 0x1111n;
const TWO = 0x2222n;

export const pageMixup: Attack = Object.freeze({
  name: 'page-mixup',
  group: 'paging',
  by: 'guest OS',
  title: 'load a page where another one belongs',
  tries:
    'two pages of an enclave exchanged, a page at a free address, and pages of an enclave with the same MRENCLAVE: at its own and at the ' +
    "other's addresses, by ELDU, ELDB, ELDUC and ELDBC",
  control: 'each page loads at its own address in its own enclave, with the content that it had',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const layout = microImage(stage.signer, { dataPages: 2 });
    const micro = Micro.load(device, layout);
    const twin = Micro.load(device, layout);
    const { data } = layout;
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const broken: (string | null | false)[] = [];
        micro.write(data, ONE);
        micro.write(data + PAGE, TWO);
        twin.write(data, TWO);
        const one = pager.evict(micro, data, va);
        const two = pager.evict(micro, data + PAGE, va + 8);
        const foreign = pager.evict(twin, data, va + 16);
        const cases: Case[] = [];
        for (const leaf of [ENCLS.ELDU, ENCLS.ELDB, ENCLS.ELDUC, ENCLS.ELDBC]) {
          const load = (what: string, from: typeof one, secs: number, as: Parameters<Pager['load']>[2]) =>
            cases.push({ what, act: () => pager.load(from, secs, as, leaf) });
          load('the first page at the second address', one, micro.secs, { linaddr: two.linaddr });
          load('the second page at the first address', two, micro.secs, { linaddr: one.linaddr });
          load('exchanged slots', one, micro.secs, { slot: two.slot });
          load('exchanged contents', one, micro.secs, { contents: two.contents });
          load('a free address', one, micro.secs, { linaddr: micro.base + layout.free });
          load('an address outside', one, micro.secs, { linaddr: micro.base - PAGE });
          load("another enclave's page", foreign, micro.secs, {});
          load("another enclave's page at this address", foreign, micro.secs, { linaddr: one.linaddr });
          load('this page in another enclave', one, twin.secs, { linaddr: foreign.linaddr });
          load('this page in another enclave at its address', one, twin.secs, {});
        }
        const { codes } = await refuse(cases, undefined, broken);
        const right = [
          pager.load(one, micro.secs),
          pager.load(two, micro.secs),
          pager.load(foreign, twin.secs),
        ];
        broken.push(right.some((code) => code !== 'success') && `the right places gave ${right.join(', ')}`);
        const seen = [micro.read(data), micro.read(data + PAGE), twin.read(data)];
        broken.push(
          !(seen[0] === ONE && seen[1] === TWO && seen[2] === TWO) && 'a page came back with another content',
        );
        return [finding('the host itself', `${codes.total} loads: ${codes}; the right ones succeed`, broken)];
      });
    } finally {
      await micro.close();
      await twin.close();
    }
  },
});

export const pageEdit: Attack = Object.freeze({
  name: 'page-edit',
  group: 'paging',
  by: 'whoever carries the data',
  title: 'read or change a page while it is out',
  tries:
    'looks for the content in what EWB wrote, flips bits of the page and of every field of its PCMD, empties and truncates both, and ' +
    'gives it other permissions and types',
  control: 'the unchanged page loads, and the enclave finds its content and may still write it',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro();
    const { data } = micro.layout;
    const random = generator(stage.seed);
    try {
      return await asKernel(connection, async (kernel) => {
        const pager = new Pager(kernel);
        const va = pager.versionArray();
        const broken: (string | null | false)[] = [];
        const marker = (BigInt(random()) << 32n) | BigInt(random());
        micro.write(data, marker);
        const first = pager.evict(micro, data, va);
        const needle = Buffer.from(new BigUint64Array([marker]).buffer);
        broken.push(
          Buffer.from(first.contents).indexOf(needle) >= 0 && 'the page was written out in the clear',
        );
        pager.load(first, micro.secs);
        const out = pager.evict(micro, data, va + 8);
        broken.push(
          Buffer.compare(first.contents, out.contents) === 0 &&
            'the same page was written out as the same bytes twice',
        );
        const changed = (bytes: Uint8Array, change: (copy: Uint8Array) => void) => {
          const copy = bytes.slice();
          change(copy);
          return copy;
        };
        const cases: Case[] = [];
        const contents = (what: string, change: (copy: Uint8Array) => void) =>
          cases.push({
            what,
            act: () => pager.load(out, micro.secs, { contents: changed(out.contents, change) }),
          });
        const pcmd = (what: string, change: (copy: Uint8Array) => void) =>
          cases.push({ what, act: () => pager.load(out, micro.secs, { pcmd: changed(out.pcmd, change) }) });
        for (let i = 0; i < FLIPS; i++) {
          const bit = random() % (PAGE * 8);
          contents(`bit ${bit} of the page`, (copy) => {
            copy[bit >> 3]! ^= 1 << (bit & 7);
          });
          const of = i < 24 ? i : random() % (PCMD.size * 8);
          // ENCLAVEID is a note for the guest: ELDU takes the enclave from the SECS (SDM, ELDU, Operation).
          if (of >> 6 !== PCMD.offsets.ENCLAVEID >> 3)
            pcmd(`bit ${of} of the PCMD`, (copy) => {
              copy[of >> 3]! ^= 1 << (of & 7);
            });
        }
        for (const at of [PCMD.offsets.MAC, PCMD.offsets.MAC + 15, 63, 127])
          pcmd(`byte ${at} of the PCMD`, (copy) => {
            copy[at]! ^= 0x80;
          });
        pcmd('an executable page', (copy) => {
          copy[0]! |= 4;
        });
        pcmd('a TCS', (copy) => {
          copy[1] = 1;
        });
        pcmd('a SECS', (copy) => {
          copy[1] = 0;
        });
        pcmd('a version array', (copy) => {
          copy[1] = 3;
        });
        contents('an empty page', (copy) => copy.fill(0));
        contents('half a page', (copy) => copy.fill(0, PAGE / 2));
        pcmd('an empty PCMD', (copy) => copy.fill(0));
        const { codes } = await refuse(cases, undefined, broken);
        const right = pager.load(out, micro.secs);
        broken.push(right !== 'success' && `the unchanged page gave ${right}`);
        broken.push(micro.read(data) !== marker && 'the enclave does not find its content');
        broken.push(!micro.write(data, 7n) && 'the enclave may not write its page any more');
        return [
          finding(
            'whoever stores the page',
            `not in the clear, and not the same bytes twice; ${codes.total} changes: ${codes}; the unchanged page loads`,
            broken,
          ),
        ];
      });
    } finally {
      await micro.close();
    }
  },
});
