import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { ENCLS, ENCLU, PAGEINFO, PT_VA, SGX_ERROR, secinfoBytes } from '@nestedsgx/arch';
import type { LeafOutcome } from '@nestedsgx/guest';
import { generateKey, loadSigningKey, type SigningKey } from '@nestedsgx/image/node';
import { Crew, SoftwarePlatform, stress } from '../src/index.js';
import { AT } from '../src/probe/image.js';
import { OP } from '../src/probe/probe.js';

const PAGE = 4096;
const SOAK = process.env['NSGX_SOAK'] === '1';
const SEED = Number(process.env['NSGX_SEED'] ?? 1);
/** Seconds of random work: ten minutes in the full form. */
const SECONDS = SOAK ? 600 : 8;
const AUGMENTED = 0x20b;

describe('threads and kernel at once', () => {
  let platform: SoftwarePlatform;
  let key: SigningKey;
  let crew: Crew | null = null;
  before(async () => {
    platform = await SoftwarePlatform.launch();
    key = loadSigningKey((await generateKey()).privateKeyPem);
  });
  afterEach(async () => {
    await crew?.close();
    crew = null;
  });
  after(() => platform.close());

  const open = (threads: number): Crew => {
    const secinfo = new Uint8Array(PAGE);
    secinfo.set(secinfoBytes(AUGMENTED));
    crew = new Crew(
      platform.device,
      key,
      { threads, extra: [{ offset: AT.CONSTANT + PAGE, data: secinfo, flags: 0x201, measured: true }] },
      threads,
    );
    return crew;
  };
  const code = ({ code: number, fault }: LeafOutcome): number => {
    assert.equal(fault, undefined);
    return number;
  };
  /** Thread 0 increments a word until it is told to stop. */
  const spin = async (its: Crew, offset: number) => {
    const flag = its.word(0);
    flag.set(0);
    const work = its.run(0, [{ op: OP.SPIN, rbx: its.at(offset), rcx: flag.address }]);
    await new Promise((resolve) => setTimeout(resolve, 20));
    return {
      end: () => {
        flag.set(1);
        return work;
      },
      work,
    };
  };

  it('lets exactly one of several threads accept a page that all accept at once', async () => {
    const its = open(4);
    const pages = 40;
    const script = Array.from({ length: pages }, (_, i) => ({
      op: OP.ENCLU,
      rax: ENCLU.EACCEPT,
      rbx: its.at(AT.CONSTANT + PAGE),
      rcx: its.at(AT.FREE + i * PAGE),
    }));
    const results = await Promise.all([0, 1, 2, 3].map((thread) => its.run(thread, script)));
    for (let i = 0; i < pages; i++) {
      const codes = results.map((of) => of[i].rax).sort((a, b) => a - b);
      const mismatch = SGX_ERROR.SGX_PAGE_ATTRIBUTES_MISMATCH;
      assert.deepEqual(codes, [0, mismatch, mismatch, mismatch], `page ${i}`);
    }
  });

  it('refuses EREMOVE while a thread is inside (SGX_ENCLAVE_ACT)', async () => {
    const its = open(1);
    const frame = its.file.pages.frame(AT.DATA + 7 * PAGE);
    const thread = await spin(its, AT.DATA);
    assert.equal(code(its.encls(ENCLS.EREMOVE, 0, frame)), SGX_ERROR.SGX_ENCLAVE_ACT);
    await thread.end();
    assert.equal(code(its.encls(ENCLS.EREMOVE, 0, frame)), 0);
  });

  it('tracks threads: EWB waits for those that were inside at ETRACK', async () => {
    const its = open(1);
    const { supply, connection } = platform.device;
    const operands = connection.memory.alloc(4 * PAGE, { alignment: PAGE, zero: true });
    const va = supply.takeFrame();
    const frame = its.file.pages.frame(AT.DATA + 7 * PAGE);
    const pageinfo = (secs: number, linaddr: number) =>
      operands.bytes.set(
        PAGEINFO.encode({
          LINADDR: BigInt(linaddr),
          SRCPGE: BigInt(operands.gpa + PAGE),
          SECINFO: BigInt(operands.gpa + 2 * PAGE),
          SECS: BigInt(secs),
        }),
      );
    assert.equal(code(its.encls(ENCLS.EPA, PT_VA, va)), 0);
    const thread = await spin(its, AT.DATA);
    assert.equal(code(its.encls(ENCLS.EBLOCK, 0, frame)), 0);
    pageinfo(0, 0);
    const ewb = () => code(its.encls(ENCLS.EWB, operands.gpa, frame, va));
    assert.equal(ewb(), SGX_ERROR.SGX_NOT_TRACKED);
    assert.equal(code(its.encls(ENCLS.ETRACK, 0, its.file.secs)), 0);
    assert.equal(ewb(), SGX_ERROR.SGX_NOT_TRACKED);
    assert.equal(code(its.encls(ENCLS.ETRACK, 0, its.file.secs)), SGX_ERROR.SGX_PREV_TRK_INCMPL);
    its.file.kick(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.equal(ewb(), 0);
    await thread.end();
    pageinfo(its.file.secs, its.at(AT.DATA + 7 * PAGE));
    assert.equal(code(its.encls(ENCLS.ELDU, operands.gpa, frame, va)), 0);
    const [loaded] = await its.run(0, [{ op: OP.LOAD, rbx: its.at(AT.DATA + 7 * PAGE) }]);
    assert.deepEqual([loaded.status, loaded.rax], [1, 0]);
    assert.equal(code(its.encls(ENCLS.EREMOVE, 0, va)), 0);
    supply.give(va, 1);
    connection.memory.free(operands);
  });

  it('takes W away from a thread that writes all the time: nothing lands after the call', async () => {
    const its = open(2);
    const target = AT.DATA + 6 * PAGE;
    const thread = await spin(its, target);
    its.file.restrictPermissions({ offset: target, length: PAGE, permissions: 1 });
    const load = { op: OP.LOAD, rbx: its.at(target) };
    const [first] = await its.run(1, [load]);
    const [spun] = await thread.work;
    assert.deepEqual([spun.status, spun.vector], [2, 14]);
    const [second] = await its.run(1, [load]);
    assert.ok(first.rax > 0);
    assert.equal(second.rax, first.rax);
  });

  it(`works at random for ${SECONDS} s with an EPC that is too small (seed ${SEED})`, {
    timeout: (SECONDS + 90) * 1000,
  }, async () => {
    const small = await SoftwarePlatform.launch(44 * PAGE);
    try {
      const free = small.device.supply.free;
      const { scripts, commands } = await stress(small, key, { seconds: SECONDS, seed: SEED });
      assert.ok(scripts > SECONDS && commands > scripts);
      assert.ok(small.device.supply.free >= free, 'EPC frames were not given back');
    } finally {
      await small.close();
    }
  });
});
