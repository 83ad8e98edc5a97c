import {
  ENCLS,
  ENCLU,
  PT_REG,
  PT_SECS,
  PT_TCS,
  PT_TRIM,
  PT_VA,
  SECINFO_MODIFIED,
  SECINFO_PR,
  SECINFO_R,
  SECINFO_W,
  SECINFO_X,
} from '@nestedsgx/arch';
import { type Attack, finding, refuse, Tally } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { exitName, type Micro, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { accept } from './augmented-pages.js';

const READ_ONLY = SECINFO_R | (PT_REG << 8);

export const restrictLie: Attack = Object.freeze({
  name: 'restrict-lie',
  group: 'dynamic',
  by: 'guest OS',
  title: 'say that permissions were restricted, and do not',
  tries:
    'lets the enclave accept a restriction that was not made, made for another page, or made without tracking its threads; asks EMODPR for ' +
    'more than a page has, and for W without R',
  control: 'after the real EMODPR and ETRACK the enclave accepts, and its write faults',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const flag = connection.memory.alloc(64, { zero: true });
    const micro = await stage.micro({ threads: 2, dataPages: 3, nssa: 3 });
    const { data } = micro.layout;
    const [one, two] = [data + 4096, data + 8192];
    try {
      return await asKernel(connection, async (kernel) => {
        const emodpr = (offset: number, flags: number) =>
          kernel.sgx(ENCLS.EMODPR, kernel.secinfo(flags), micro.frameOf(offset)).code;
        const wanted = READ_ONLY | SECINFO_PR;
        const { codes, broken } = await refuse([
          { what: 'accepting what was not done', act: () => accept(micro, ENCLU.EACCEPT, wanted, one, 1) },
          {
            what: 'accepting what was done to another page',
            act: () => {
              emodpr(two, SECINFO_R);
              return accept(micro, ENCLU.EACCEPT, wanted, one, 1);
            },
          },
          {
            what: 'accepting read-only where W was left',
            act: () => {
              emodpr(one, SECINFO_R | SECINFO_W);
              return accept(micro, ENCLU.EACCEPT, wanted, one, 1);
            },
          },
          { what: 'W without R', act: () => emodpr(one, SECINFO_W) },
          {
            what: 'EMODPR of the SECS',
            act: () => kernel.sgx(ENCLS.EMODPR, kernel.secinfo(SECINFO_R), micro.secs).code,
          },
          { what: 'EMODPR of a TCS', act: () => emodpr(micro.layout.tcs(0), SECINFO_R) },
          {
            what: 'EMODPR of a free frame',
            act: () => kernel.sgx(ENCLS.EMODPR, kernel.secinfo(SECINFO_R), kernel.frame()).code,
          },
        ]);
        const inside = micro.begin(OP.HAMMER, { rsi: micro.base + data, rdx: flag.address });
        await new Promise<void>((resolve) => setTimeout(resolve, 5));
        const real = emodpr(one, SECINFO_R);
        const untracked = accept(micro, ENCLU.EACCEPT, wanted, one, 1);
        broken.push(
          untracked === 'success' && 'a restriction was accepted while a thread of before was inside',
        );
        codes.add(`${untracked} untracked`);
        new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
        await inside;
        const tracked = kernel.sgx(ENCLS.ETRACK, 0, micro.secs).code;
        const done = accept(micro, ENCLU.EACCEPT, wanted, one, 1);
        broken.push(
          (real !== 'success' || tracked !== 'success' || done !== 'success') &&
            `the real restriction: EMODPR ${real}, ETRACK ${tracked}, EACCEPT ${done}`,
        );
        const more = emodpr(one, SECINFO_R | SECINFO_W | SECINFO_X);
        kernel.sgx(ENCLS.ETRACK, 0, micro.secs);
        broken.push(micro.write(one, 1n, 1) && `a restricted page is writable (EMODPR with RWX: ${more})`);
        return [
          finding(
            'the host itself',
            `${codes.total} lies: ${codes}; EMODPR with RWX gives nothing back; the real one holds`,
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

export const typeConfusion: Attack = Object.freeze({
  name: 'type-confusion',
  group: 'dynamic',
  by: 'guest OS',
  title: 'turn pages into threads and threads into pages',
  tries:
    'EMODT to REG, SECS and VA, of SECS, twice; entry through a page made a TCS that the enclave did not accept; a TRIM where the enclave ' +
    'expects a TCS; use of a page and of a thread that are on their way',
  control: 'EMODT itself is accepted by the monitor, and the accepted TRIM by the enclave',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const codes = new Tally();
    const broken: (string | null | false)[] = [];
    const trial = async (
      action: (micro: Micro, emodt: (offset: number, type: number) => string) => Promise<void>,
    ) => {
      const micro = await stage.micro({ threads: 2, dataPages: 3, nssa: 3 });
      try {
        await asKernel(connection, (kernel) =>
          action(
            micro,
            (offset, type) => kernel.sgx(ENCLS.EMODT, kernel.secinfo(type << 8), micro.frameOf(offset)).code,
          ),
        );
      } finally {
        await micro.close();
      }
    };
    await trial(async (micro, emodt) => {
      const page = micro.layout.data + 4096;
      await refuse(
        [
          { what: 'EMODT to REG', act: () => emodt(page, PT_REG) },
          { what: 'EMODT to SECS', act: () => emodt(page, PT_SECS) },
          { what: 'EMODT to a version array', act: () => emodt(page, PT_VA) },
          { what: 'EMODT of a TCS to REG', act: () => emodt(micro.layout.tcs(0), PT_REG) },
          { what: 'EMODT of a TCS to TCS', act: () => emodt(micro.layout.tcs(0), PT_TCS) },
        ],
        codes,
        broken,
      );
      const made = emodt(page, PT_TCS);
      broken.push(made !== 'success' && `EMODT to TCS gave ${made}, so this shows nothing`);
      await refuse([{ what: 'EMODT twice', act: () => emodt(page, PT_TCS) }], codes, broken);
      const wrong = accept(micro, ENCLU.EACCEPT, SECINFO_MODIFIED | (PT_TRIM << 8), page, 1);
      broken.push(wrong === 'success' && 'EACCEPT took a TCS for a trimmed page');
      codes.add(wrong);
      const read = micro.read(page, 1);
      broken.push(typeof read !== 'string' && 'a page that is becoming a TCS can be read');
      codes.add(`read ${String(read)}`);
    });
    await trial(async (micro, emodt) => {
      // The enclave prepared the page for a thread at a place of the host's wish: not accepted, it is none.
      const page = micro.layout.data + 4096;
      const made = emodt(page, PT_TCS);
      broken.push(made !== 'success' && `EMODT gave ${made}`);
      const tcs = emodt(micro.layout.tcs(0), PT_TRIM);
      broken.push(tcs !== 'success' && `EMODT of a TCS to TRIM gave ${tcs}, so this shows nothing`);
      const entry = exitName(micro.enter(OP.NOTHING, {}, 0));
      broken.push(!entry.startsWith('entry') && `a thread that is being trimmed was entered: ${entry}`);
      codes.add(entry);
      const right = accept(micro, ENCLU.EACCEPT, SECINFO_MODIFIED | (PT_TRIM << 8), micro.layout.tcs(0), 1);
      const tracked = right === 'success' || right === 'SGX_NOT_TRACKED';
      broken.push(!tracked && `the enclave's own EACCEPT gave ${right}`);
    });
    return [finding('the host itself', `${codes.total} confusions: ${codes}`, broken)];
  },
});

export const trimRunning: Attack = Object.freeze({
  name: 'trim-running',
  group: 'dynamic',
  by: 'guest OS',
  title: 'trim pages that running threads use',
  tries:
    'EMODT to TRIM of the page that a thread writes all the time, EREMOVE of it without the consent of the enclave, an empty page in its ' +
    "place, and EMODT of that thread's SSA",
  control: 'the thread writes the page until then: its counter rises',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const flag = connection.memory.alloc(64, { zero: true });
    const micro = await stage.micro({ threads: 2, dataPages: 2, nssa: 3 });
    const page = micro.layout.data + 4096;
    try {
      return await asKernel(connection, async (kernel) => {
        const broken: (string | null | false)[] = [];
        const told: string[] = [];
        const emodt = (offset: number) =>
          kernel.sgx(ENCLS.EMODT, kernel.secinfo(PT_TRIM << 8), micro.frameOf(offset)).code;
        const inside = micro.begin(OP.HAMMER, { rsi: micro.base + page, rdx: flag.address });
        await new Promise<void>((resolve) => setTimeout(resolve, 10));
        const counted = micro.read(page, 1);
        broken.push(
          !(typeof counted === 'bigint' && counted > 0n) && 'no thread writes, so this shows nothing',
        );
        const early = kernel.sgx(ENCLS.EREMOVE, 0, micro.frameOf(page)).code;
        broken.push(early === 'success' && 'EREMOVE took a page in use with a thread inside');
        told.push(`EREMOVE: ${early}`);
        const trimmed = emodt(page);
        broken.push(trimmed !== 'success' && `EMODT gave ${trimmed}`);
        const left = await Promise.race([
          inside.then(exitName),
          new Promise<string>((resolve) => setTimeout(() => resolve('still inside'), 500)),
        ]);
        told.push(`the thread: ${left}`);
        broken.push(left !== '#PF' && `the thread went on with a page that was taken: ${left}`);
        const unasked = kernel.sgx(ENCLS.EREMOVE, 0, micro.frameOf(page)).code;
        told.push(`EREMOVE outside: ${unasked}`);
        const frame = kernel.frame();
        const put = kernel.sgx(
          ENCLS.EAUG,
          kernel.pageinfo({ linaddr: micro.base + page, secs: micro.secs }),
          frame,
        ).code;
        told.push(`EAUG in its place: ${put}`);
        const resumed = await Promise.race([
          micro.beginResume(0).then(exitName),
          new Promise<string>((resolve) => setTimeout(() => resolve('still inside'), 500)),
        ]);
        broken.push(resumed !== '#PF' && `the resumed thread: ${resumed}`);
        told.push(`resumed: ${resumed}`);
        const ssa = emodt(micro.layout.ssa(0));
        const after = exitName(micro.resume(0));
        broken.push(
          !after.startsWith('entry') && after !== 'lost' && `ERESUME without its frame gave ${after}`,
        );
        told.push(`EMODT of its SSA: ${ssa}, ERESUME: ${after}`);
        return [finding('the host itself', told.join(', '), broken)];
      });
    } finally {
      new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
      await micro.close();
      connection.memory.free(flag);
    }
  },
});
