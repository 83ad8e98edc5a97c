import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { mmap } from '@nestedsgx/os';
import fc from 'fast-check';
import { GeneralProtection, Machine, NestedPageFault, PageNotValidated } from '../src/index.js';
import { fuzzRuns, launchedPsp, RAM, SEED, smallMachine } from './machines.js';
import { type Fault, ReferenceRmp } from './reference-rmp.js';
import { pagesThatDisagree, readByAnotherProcess } from './visible-pages.js';

const PAGES = RAM / 4096;

/** Pages worth visiting: a split group, the start of a 2 MiB entry and its inside, one past the end of RAM. */
const page = fc.constantFrom(2, 3, 2, 3, 511, 512, 513, 1024, PAGES + 5_000_000);
const vmpl = fc.constantFrom(0, 0, 0, 1, 1, 2);
const size = fc.constantFrom(0, 0, 0, 1);

type Step =
  | ['adjust', number, number, number, number, number, boolean]
  | ['validate', number, number, number, boolean]
  | ['update', number, number, boolean, number, boolean, number]
  | ['psmash', number]
  | ['check', number, number, 'r' | 'w' | 'x']
  | ['host', number, number]
  | ['vmpl0', number, number];

const tag = fc.integer({ min: 1, max: 0x7fff_ffff });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(
    fc.constant('adjust' as const),
    vmpl,
    page,
    size,
    fc.constantFrom(1, 1, 1, 2, 3, 0, 4),
    fc.constantFrom(0, 3, 15, 1, 2, 16),
    fc.constantFrom(false, false, false, true),
  ),
  fc.tuple(fc.constant('validate' as const), fc.constantFrom(0, 0, 0, 1), page, size, fc.boolean()),
  fc.tuple(
    fc.constant('update' as const),
    page,
    size,
    fc.boolean(),
    fc.constantFrom(0, 1, 1, 2),
    fc.constantFrom(false, false, false, false, true),
    fc.constantFrom(0, 0, 0, 0, 512),
  ),
  fc.tuple(fc.constant('psmash' as const), page),
  fc.tuple(
    fc.constant('check' as const),
    vmpl,
    page,
    fc.constantFrom('r' as const, 'w' as const, 'x' as const),
  ),
  fc.tuple(fc.constant('host' as const), page, tag),
  fc.tuple(fc.constant('vmpl0' as const), page, tag),
);

const NAMES: Record<string, Fault> = {
  'rmp-covered': 'covered',
  'guest-owned': 'owned',
  'reverse-map': 'reverse',
  mutable: 'mutable',
  'page-size': 'size',
  vmpl: 'vmpl',
};

function outcome<T>(run: () => T): T | Fault {
  try {
    return run();
  } catch (error) {
    if (error instanceof NestedPageFault) return NAMES[error.check];
    if (error instanceof PageNotValidated) return 'vc';
    if (error instanceof GeneralProtection) return 'gp';
    throw error;
  }
}

/** One step on the machine and on the model; both must say the same. */
function take(machine: Machine, model: ReferenceRmp, host: Uint32Array, s: Step): void {
  const { rmp } = machine;
  switch (s[0]) {
    case 'adjust': {
      const [, caller, i, sz, target, perms, vmsa] = s;
      const attrs = target | (perms << 8) | (vmsa ? 0x1_0000 : 0);
      const got = outcome(() => rmp.rmpadjust(caller, i * 4096, sz, attrs) as number);
      assert.equal(got, model.rmpadjust(caller, i, sz, target, perms, vmsa), s.join());
      return;
    }
    case 'validate': {
      const [, caller, i, sz, on] = s;
      const got = outcome(() => {
        const { code, carry } = rmp.pvalidate(caller, i * 4096, sz, on);
        return carry ? 'carry' : (code as number);
      });
      assert.equal(got, model.pvalidate(caller, i, sz, on), s.join());
      return;
    }
    case 'update': {
      const [, i, sz, assigned, asid, immutable, shift] = s;
      const state = { assigned, size: sz as 0 | 1, asid, immutable, gpa: (i + shift) * 4096 };
      assert.equal(
        rmp.rmpupdate(i * 4096, state),
        model.rmpupdate(i, sz, assigned, asid, immutable, i + shift),
        s.join(),
      );
      return;
    }
    case 'psmash':
      assert.equal(rmp.psmash(s[1] * 4096), model.psmash(s[1]), s.join());
      return;
    case 'check': {
      const [, level, i, access] = s;
      const got = outcome(() => rmp.check(level, i * 4096 + 7, 9, access));
      assert.equal(got, model.check(level, i, access), s.join());
      return;
    }
    case 'host':
      if (s[1] >= PAGES) return;
      host[s[1] * 1024] = s[2];
      model.write(s[1], s[2], true);
      return;
    case 'vmpl0':
      if (s[1] >= PAGES) return;
      machine.memory.write(s[1] * 4096, new Uint8Array(Uint32Array.of(s[2]).buffer));
      model.write(s[1], s[2], false);
  }
}

describe('random walk of RMP operations', () => {
  it('agrees with a simple model, in codes, contents and what another mapping reads', async () => {
    const psp = await launchedPsp();
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 40, maxLength: 200 }), async (steps) => {
        const machine = Machine.create({ psp, ramBytes: RAM, epcBytes: 0x20_0000 });
        // Chunk 0 holds the doorbell, which is split and shared already; the model starts from there.
        const model = new ReferenceRmp(PAGES);
        model.psmash(0);
        model.rmpupdate(1, 0, false, 0, false, 1);
        const mapping = mmap({ fd: machine.memory.ramFd, length: RAM, prot: 'rw', shared: true });
        const host = new Uint32Array(mapping.bytes.buffer, mapping.bytes.byteOffset, RAM / 4);
        try {
          for (const s of steps) take(machine, model, host, s);
          const own = new Uint8Array(4);
          for (let i = 0; i < PAGES; i++) {
            const visible = machine.rmp.visible(i * 4096);
            assert.equal(visible, model.visible(i), `page ${i}`);
            assert.equal(host[i * 1024], model.hostSees(i), `what VMPL1 reads of page ${i}`);
            machine.memory.read(i * 4096, own);
            assert.equal(new Uint32Array(own.buffer)[0], model.pages[i].content, `content of page ${i}`);
          }
          const words = () => Uint32Array.from({ length: PAGES }, (_, i) => host[i * 1024]);
          assert.deepEqual(pagesThatDisagree(machine, words), []);
        } finally {
          mapping.unmap();
          machine.close();
        }
      }),
      { seed: SEED, numRuns: fuzzRuns(40) },
    );
  });

  it('shows to another process what the table says, and shows a wrong entry planted on purpose', async () => {
    const machine = await smallMachine();
    try {
      for (const [at, attrs] of [
        [0x20_0000, 1],
        [0x20_5000, 1 | 0x300],
        [0x60_0000, 1 | 0x100],
        [0x60_1000, 1 | 0x1_0000],
      ]) {
        assert.equal(machine.rmpadjust(0, at, 0, attrs), 0);
      }
      const read = () => readByAnotherProcess(machine);
      assert.deepEqual(pagesThatDisagree(machine, read), []);
      // The table alone says that VMPL1 has page 0x200: the process still cannot read it.
      const { table } = machine.rmp;
      const region = table.regions[0];
      const word = region.word(0x200);
      region.setWord(0x200, word | (3 << 20));
      assert.deepEqual(pagesThatDisagree(machine, read), [0x200]);
      region.setWord(0x200, word);
      // And the other way round: a page that the table takes away without the backing following.
      const open = region.word(0x205);
      region.setWord(0x205, open & ~(15 << 20));
      assert.deepEqual(pagesThatDisagree(machine, read), [0x205]);
    } finally {
      machine.close();
    }
  });
});
