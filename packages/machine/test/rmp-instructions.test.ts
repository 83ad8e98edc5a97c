import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  EPC_GPA,
  GeneralProtection,
  NestedPageFault,
  NPF,
  PageNotValidated,
  RMP_RESULT,
  Rmp,
  type RmpCheck,
  type RmpState,
} from '../src/index.js';
import { ENTRY } from '../src/rmp/table.js';

const M2 = 0x20_0000;
const RW1 = 1 | 0x300;
const ALL1 = 1 | 0xf00;
const VMSA1 = 1 | 0x1_0000;

/** 8 MiB of RAM: chunk 0 = 4 KiB pages 0…3 the guest's and validated, chunk 1 = one 2 MiB guest page, rest free. */
function table(): Rmp {
  const rmp = new Rmp([
    { kind: 'ram', base: 0, bytes: 4 * M2 },
    { kind: 'epc', base: EPC_GPA, bytes: M2 },
  ]);
  for (let page = 0; page < 4; page++) {
    assert.equal(rmp.rmpupdate(page * 4096, { assigned: true, size: 0, asid: 1 }), 0);
    assert.deepEqual(rmp.pvalidate(0, page * 4096, 0, true), { code: 0, carry: false });
  }
  assert.equal(rmp.rmpupdate(M2, { assigned: true, size: 1, asid: 1 }), 0);
  assert.equal(rmp.pvalidate(0, M2, 1, true).code, 0);
  assert.equal(rmp.rmpupdate(EPC_GPA, { assigned: true, size: 1, asid: 1 }), 0);
  assert.equal(rmp.pvalidate(0, EPC_GPA, 1, true).code, 0);
  return rmp;
}

/** Plants bits in an entry, past all checks. */
function plant(rmp: Rmp, gpa: number, set: number, clear = 0): void {
  const region = rmp.table.regionOf(gpa)!;
  const page = region.pageOf(gpa);
  region.setWord(page, (region.word(page) & ~clear) | set);
}

type Expected = number | RmpCheck | 'vc' | 'gp';

/** What an instruction gave: its code, or the fault by name. */
function outcome(run: () => number): Expected {
  try {
    return run();
  } catch (error) {
    if (error instanceof NestedPageFault) return error.check;
    if (error instanceof PageNotValidated) return 'vc';
    if (error instanceof GeneralProtection) return 'gp';
    throw error;
  }
}

describe('RMPADJUST checks, in order', () => {
  const cases: [
    string,
    (rmp: Rmp) => void,
    [vmpl: number, gpa: number, size: number, attrs: number],
    Expected,
  ][] = [
    ['size is neither 0 nor 1', () => {}, [0, 0, 2, RW1], RMP_RESULT.FAIL_INPUT],
    ['address not page aligned', () => {}, [0, 0x1001, 0, RW1], RMP_RESULT.FAIL_INPUT],
    ['address not 2 MiB aligned', () => {}, [0, 0x1000, 1, RW1], RMP_RESULT.FAIL_INPUT],
    ['address not a number', () => {}, [0, Number.NaN, 0, RW1], RMP_RESULT.FAIL_INPUT],
    ['address past 2^53', () => {}, [0, 2 ** 60, 0, RW1], RMP_RESULT.FAIL_INPUT],
    ['reserved permission bit 4 (SSS not offered)', () => {}, [0, 0, 0, 1 | 0x1000], RMP_RESULT.FAIL_INPUT],
    ['reserved bit 17', () => {}, [0, 0, 0, 1 | 0x2_0000], RMP_RESULT.FAIL_INPUT],
    ['no VMPL 4', () => {}, [0, 0, 0, 4 | 0x300], RMP_RESULT.FAIL_INPUT],
    ['VMSA with a 2 MiB page', () => {}, [0, M2, 1, VMSA1], RMP_RESULT.FAIL_INPUT],
    ['input before permission', () => {}, [1, 0x1001, 0, RW1], RMP_RESULT.FAIL_INPUT],
    ['VMPL1 on itself', () => {}, [1, 0, 0, RW1], RMP_RESULT.FAIL_PERMISSION],
    ['VMPL2 on VMPL1', () => {}, [2, 0, 0, RW1], RMP_RESULT.FAIL_PERMISSION],
    ['VMPL0 on itself', () => {}, [0, 0, 0, 0xf00], RMP_RESULT.FAIL_PERMISSION],
    ['permission before translation', () => {}, [1, 2 ** 45, 0, RW1], RMP_RESULT.FAIL_PERMISSION],
    ['address the RMP does not cover', () => {}, [0, 2 ** 45, 0, RW1], 'rmp-covered'],
    ["the hypervisor's page", () => {}, [0, 0x10_0000, 0, RW1], 'guest-owned'],
    ["another guest's page", (r) => plant(r, 0, 2 << 8, 0xff00), [0, 0, 0, RW1], 'guest-owned'],
    ['remapped page', (r) => plant(r, 0, ENTRY.REMAPPED), [0, 0, 0, RW1], 'reverse-map'],
    ['immutable page', (r) => plant(r, 0, ENTRY.IMMUTABLE), [0, 0, 0, RW1], 'mutable'],
    ['4 KiB under a 2 MiB entry', () => {}, [0, M2 + 0x1000, 0, RW1], 'page-size'],
    ['2 MiB over 4 KiB entries', () => {}, [0, 0, 1, RW1], RMP_RESULT.FAIL_SIZEMISMATCH],
    ['size before validation', (r) => plant(r, M2, 0, ENTRY.VALIDATED), [0, M2, 0, RW1], 'page-size'],
    ['not validated', (r) => plant(r, 0, 0, ENTRY.VALIDATED), [0, 0, 0, RW1], 'vc'],
    ['caller may not read', () => {}, [1, 0, 0, 2 | 0x100], 'vmpl'],
    ['VMSA of a running vCPU', (r) => plant(r, 0, ENTRY.IN_USE), [0, 0, 0, RW1], RMP_RESULT.FAIL_INUSE],
    [
      'VMPL1 grants what it lacks',
      (r) => r.rmpadjust(0, 0, 0, 1 | 0x100),
      [1, 0, 0, 2 | 0x300],
      RMP_RESULT.FAIL_PERMISSION,
    ],
    [
      'VMPL1 makes a VMSA',
      (r) => r.rmpadjust(0, 0, 0, ALL1),
      [1, 0, 0, 2 | 0x1_0000],
      RMP_RESULT.FAIL_PERMISSION,
    ],
    ['grant of an EPC page', () => {}, [0, EPC_GPA, 1, RW1], RMP_RESULT.FAIL_PERMISSION],
    ['VMPL1 grants what it has', (r) => r.rmpadjust(0, 0, 0, ALL1), [1, 0, 0, 2 | 0x300], RMP_RESULT.SUCCESS],
    ['2 MiB', () => {}, [0, M2, 1, ALL1], RMP_RESULT.SUCCESS],
    ['no permissions for EPC', () => {}, [0, EPC_GPA, 1, 1], RMP_RESULT.SUCCESS],
  ];
  for (const [name, prepare, [vmpl, gpa, size, attrs], expected] of cases) {
    it(`${name}: ${expected}`, () => {
      const rmp = table();
      prepare(rmp);
      const before = JSON.stringify(rmp.entry(gpa));
      assert.equal(
        outcome(() => rmp.rmpadjust(vmpl, gpa, size, attrs)),
        expected,
      );
      if (expected !== 0)
        assert.equal(JSON.stringify(rmp.entry(gpa)), before, 'a refused instruction changes nothing');
    });
  }

  it('sets exactly the target permissions and the VMSA bit', () => {
    const rmp = table();
    assert.equal(rmp.rmpadjust(0, 0x1000, 0, VMSA1 | 0x100), 0);
    assert.deepEqual(rmp.entry(0x1000)?.perms, [15, 1, 0, 0]);
    assert.equal(rmp.entry(0x1000)?.vmsa, true);
    assert.equal(rmp.rmpadjust(0, 0x1000, 0, 3 | 0xf00), 0);
    assert.deepEqual(rmp.entry(0x1000)?.perms, [15, 1, 0, 15]);
    assert.equal(rmp.entry(0x1000)?.vmsa, false, 'VMPL0 writes the VMSA bit each time');
  });
});

describe('PVALIDATE checks, in order', () => {
  const cases: [
    string,
    (rmp: Rmp) => void,
    [vmpl: number, gpa: number, size: number, on: boolean],
    Expected,
  ][] = [
    ['above VMPL0', () => {}, [1, 0, 0, true], 'gp'],
    ['size is neither 0 nor 1', () => {}, [0, 0, 3, true], RMP_RESULT.FAIL_INPUT],
    ['misaligned', () => {}, [0, 0x800, 0, true], RMP_RESULT.FAIL_INPUT],
    ['2 MiB misaligned', () => {}, [0, 0x1000, 1, true], RMP_RESULT.FAIL_INPUT],
    ['not covered', () => {}, [0, 4 * M2, 0, true], 'rmp-covered'],
    ["the hypervisor's page", () => {}, [0, 2 * M2, 0, true], 'guest-owned'],
    ['remapped', (r) => plant(r, 0, ENTRY.REMAPPED), [0, 0, 0, false], 'reverse-map'],
    ['immutable', (r) => plant(r, 0, ENTRY.IMMUTABLE), [0, 0, 0, false], 'mutable'],
    ['4 KiB under 2 MiB', () => {}, [0, M2, 0, false], 'page-size'],
    ['2 MiB over 4 KiB', () => {}, [0, 0, 1, false], RMP_RESULT.FAIL_SIZEMISMATCH],
    ['rescind', () => {}, [0, 0, 0, false], RMP_RESULT.SUCCESS],
  ];
  for (const [name, prepare, [vmpl, gpa, size, on], expected] of cases) {
    it(`${name}: ${expected}`, () => {
      const rmp = table();
      prepare(rmp);
      assert.equal(
        outcome(() => rmp.pvalidate(vmpl, gpa, size, on).code),
        expected,
      );
    });
  }
  it('reports in CF that nothing changed, and keeps permissions', () => {
    const rmp = table();
    assert.equal(rmp.rmpadjust(0, 0, 0, ALL1), 0);
    assert.deepEqual(rmp.pvalidate(0, 0, 0, true), { code: 0, carry: true });
    assert.deepEqual(rmp.pvalidate(0, 0, 0, false), { code: 0, carry: false });
    assert.deepEqual(rmp.pvalidate(0, 0, 0, false), { code: 0, carry: true });
    assert.deepEqual(rmp.entry(0)?.perms, [15, 15, 0, 0]);
  });
});

describe('RMPUPDATE checks, in order', () => {
  const guest: RmpState = { assigned: true, size: 0, asid: 1 };
  const cases: [string, (rmp: Rmp) => void, [spa: number, state: RmpState], number][] = [
    ['page size', () => {}, [0, { ...guest, size: 2 as 0 }], RMP_RESULT.FAIL_INPUT],
    ['misaligned', () => {}, [1, guest], RMP_RESULT.FAIL_INPUT],
    ['2 MiB misaligned', () => {}, [0x1000, { ...guest, size: 1 }], RMP_RESULT.FAIL_INPUT],
    ['not covered', () => {}, [4 * M2, guest], RMP_RESULT.FAIL_INPUT],
    ['guest address misaligned', () => {}, [0, { ...guest, gpa: 0x10 }], RMP_RESULT.FAIL_INPUT],
    ['guest without ASID', () => {}, [0, { ...guest, asid: 0 }], RMP_RESULT.FAIL_INPUT],
    [
      'hypervisor page with ASID',
      () => {},
      [0, { assigned: false, size: 0, asid: 1 }],
      RMP_RESULT.FAIL_INPUT,
    ],
    ['ASID out of range', () => {}, [0, { ...guest, asid: 256 }], RMP_RESULT.FAIL_INPUT],
    ['in use', (r) => plant(r, 0, ENTRY.IN_USE | ENTRY.IMMUTABLE), [0, guest], RMP_RESULT.FAIL_INUSE],
    [
      'in use below 2 MiB',
      (r) => plant(r, 0x3000, ENTRY.IN_USE),
      [0, { ...guest, size: 1 }],
      RMP_RESULT.FAIL_INUSE,
    ],
    ['immutable', (r) => plant(r, 0, ENTRY.IMMUTABLE), [0, guest], RMP_RESULT.FAIL_PERMISSION],
    [
      'immutable below 2 MiB',
      (r) => plant(r, 0x3000, ENTRY.IMMUTABLE),
      [0, { ...guest, size: 1 }],
      RMP_RESULT.FAIL_PERMISSION,
    ],
    ['4 KiB inside an assigned 2 MiB entry', () => {}, [M2 + 0x1000, guest], RMP_RESULT.FAIL_OVERLAP],
    ['2 MiB over assigned 4 KiB entries', () => {}, [0, { ...guest, size: 1 }], RMP_RESULT.FAIL_OVERLAP],
    [
      'PSP page: ASID 0 and immutable',
      () => {},
      [0, { ...guest, asid: 0, immutable: true }],
      RMP_RESULT.SUCCESS,
    ],
    ['4 KiB at the start of a 2 MiB entry', () => {}, [M2, guest], RMP_RESULT.SUCCESS],
    ['2 MiB over free entries', () => {}, [2 * M2, { ...guest, size: 1 }], RMP_RESULT.SUCCESS],
    ['take back', () => {}, [0, { assigned: false, size: 0, asid: 0 }], RMP_RESULT.SUCCESS],
  ];
  for (const [name, prepare, [spa, state], expected] of cases) {
    it(`${name}: ${expected}`, () => {
      const rmp = table();
      prepare(rmp);
      assert.equal(rmp.rmpupdate(spa, state), expected);
    });
  }
  it('clears Validated and VMSA, and gives VMPL0 alone all permissions', () => {
    const rmp = table();
    rmp.rmpadjust(0, 0, 0, VMSA1);
    rmp.rmpupdate(0, guest);
    assert.deepEqual(rmp.entry(0), {
      assigned: true,
      validated: false,
      immutable: false,
      vmsa: false,
      inUse: false,
      size: 0,
      asid: 1,
      gpa: 0,
      perms: [15, 0, 0, 0],
    });
  });
  it('remembers another guest address and fails the reverse-map check for it', () => {
    const rmp = table();
    assert.equal(rmp.rmpupdate(0, { ...guest, gpa: 0x5000 }), 0);
    assert.equal(rmp.entry(0)?.gpa, 0x5000);
    assert.throws(
      () => rmp.check(0, 0, 1, 'r'),
      (e: NestedPageFault) => e.check === 'reverse-map',
    );
  });
});

describe('PSMASH and unsmash', () => {
  it('gives the codes of the manual', () => {
    const rmp = table();
    assert.equal(rmp.psmash(0x1000), RMP_RESULT.FAIL_INPUT);
    assert.equal(rmp.psmash(4 * M2), RMP_RESULT.FAIL_INPUT);
    assert.equal(rmp.psmash(0), RMP_RESULT.FAIL_BADADDR, 'already 4 KiB');
    assert.equal(rmp.psmash(2 * M2), RMP_RESULT.FAIL_BADADDR, 'not assigned');
    plant(rmp, M2, ENTRY.IMMUTABLE);
    assert.equal(rmp.psmash(M2), RMP_RESULT.FAIL_BADADDR);
    plant(rmp, M2, ENTRY.IN_USE, ENTRY.IMMUTABLE);
    assert.equal(rmp.psmash(M2), RMP_RESULT.FAIL_INUSE);
  });
  it('keeps validation and permissions, with consecutive guest addresses, and joins again', () => {
    const rmp = table();
    rmp.rmpadjust(0, M2, 1, RW1);
    const large = rmp.entry(M2 + 0x5000);
    assert.equal(rmp.psmash(M2), 0);
    assert.deepEqual(rmp.entry(M2 + 0x5000), { ...large, size: 0, gpa: M2 + 0x5000 });
    assert.equal(rmp.rmpadjust(0, M2 + 0x5000, 0, 1), 0);
    assert.notEqual(rmp.unsmash(M2), 0, 'entries differ');
    assert.equal(rmp.rmpadjust(0, M2 + 0x5000, 0, RW1), 0);
    assert.equal(rmp.unsmash(M2), 0);
    assert.equal(rmp.entry(M2)?.size, 1);
    assert.notEqual(rmp.unsmash(M2), 0, 'is large already');
    assert.notEqual(rmp.unsmash(M2 + 0x1000), 0, 'misaligned');
    assert.notEqual(rmp.unsmash(3 * M2), 0, 'not assigned');
  });
});

describe('memory access', () => {
  const faults: [
    string,
    (rmp: Rmp) => void,
    [number, number, number, 'r' | 'w' | 'x' | 'xs'],
    RmpCheck,
    number,
  ][] = [
    ['uncovered', () => {}, [1, 2 ** 46, 1, 'r'], 'rmp-covered', NPF.FINAL_GPA + NPF.ENC],
    [
      'VMPL1 reads what VMPL0 has',
      () => {},
      [1, 0, 1, 'r'],
      'vmpl',
      NPF.FINAL_GPA + NPF.ENC + NPF.PRESENT + NPF.RMP + NPF.VMPL,
    ],
    [
      'VMPL1 writes what it may read',
      (r) => r.rmpadjust(0, 0, 0, 1 | 0x100),
      [1, 0, 1, 'w'],
      'vmpl',
      NPF.FINAL_GPA + NPF.ENC + NPF.PRESENT + NPF.RMP + NPF.VMPL + NPF.WRITE,
    ],
    [
      'write-only pages fault on every data access',
      (r) => r.rmpadjust(0, 0, 0, 1 | 0x200),
      [1, 0, 1, 'w'],
      'vmpl',
      NPF.FINAL_GPA + NPF.ENC + NPF.PRESENT + NPF.RMP + NPF.VMPL + NPF.WRITE,
    ],
    [
      'fetch at CPL 3 without XU',
      (r) => r.rmpadjust(0, 0, 0, 1 | 0xb00),
      [1, 0, 1, 'x'],
      'vmpl',
      NPF.FINAL_GPA + NPF.ENC + NPF.PRESENT + NPF.RMP + NPF.VMPL + NPF.FETCH + NPF.USER,
    ],
    [
      'fetch from a shared page',
      () => {},
      [1, 2 * M2, 1, 'xs'],
      'guest-owned',
      NPF.FINAL_GPA + NPF.ENC + NPF.PRESENT + NPF.RMP + NPF.FETCH,
    ],
    [
      'range that ends in EPC, not RAM',
      () => {},
      [0, 4 * M2 - 1, 2, 'r'],
      'rmp-covered',
      NPF.FINAL_GPA + NPF.ENC,
    ],
  ];
  for (const [name, prepare, [vmpl, gpa, length, access], check, code] of faults) {
    it(`${name}: ${check}`, () => {
      const rmp = table();
      prepare(rmp);
      assert.throws(
        () => rmp.check(vmpl, gpa, length, access),
        (e: NestedPageFault) => e.code === 'NESTED_PAGE_FAULT' && e.check === check && e.errorCode === code,
      );
    });
  }
  it('checks every page of a range and names the first that fails', () => {
    const rmp = table();
    for (const gpa of [0, 0x1000, 0x3000]) rmp.rmpadjust(0, gpa, 0, RW1);
    rmp.check(1, 0x10, 0x1ff0, 'w');
    assert.throws(
      () => rmp.check(1, 0x10, 0x2000, 'w'),
      (e: NestedPageFault) => e.gpa === 0x2000,
    );
    plant(rmp, 0x1000, 0, ENTRY.VALIDATED);
    assert.throws(
      () => rmp.check(1, 0x10, 0x2000, 'w'),
      (e: PageNotValidated) => e.code === 'PAGE_NOT_VALIDATED' && e.gpa === 0x1000,
    );
  });
  it('refuses addresses and lengths that are no safe integers', () => {
    const rmp = table();
    for (const [gpa, length] of [
      [-1, 1],
      [0.5, 1],
      [Number.NaN, 1],
      [Infinity, 1],
      [0, -1],
      [0, Number.NaN],
      [2 ** 53, 1],
    ]) {
      assert.throws(() => rmp.check(0, gpa, length, 'r'), { code: 'NESTED_PAGE_FAULT' });
    }
    assert.throws(() => rmp.check(4, 0, 1, 'r'), { code: 'GENERAL_PROTECTION' });
    rmp.check(0, 2 ** 50, 0, 'r');
  });
  it('runs a VMSA only from a page with the VMSA bit', () => {
    const rmp = table();
    assert.throws(() => rmp.check(0, 0, 4096, 'vmsa'), { code: 'NESTED_PAGE_FAULT' });
    rmp.rmpadjust(0, 0, 0, VMSA1);
    rmp.check(0, 0, 4096, 'vmsa');
  });
});

describe('effective mapping of enclave pages', () => {
  const rwx = { r: true, w: true, x: true };
  const none = { r: false, w: false, x: false };
  it('is RMP ∩ EPCM', () => {
    const rmp = table();
    assert.deepEqual(rmp.effectiveMapping(EPC_GPA + 0x1000, rwx), rwx);
    assert.deepEqual(rmp.effectiveMapping(EPC_GPA, { r: true, w: false, x: true }), {
      r: true,
      w: false,
      x: true,
    });
    assert.deepEqual(rmp.effectiveMapping(EPC_GPA, { r: false, w: true, x: false }), none, 'no W without R');
    plant(rmp, EPC_GPA, 0, 4 << 16);
    assert.deepEqual(rmp.effectiveMapping(EPC_GPA, rwx), { r: true, w: true, x: false }, 'no X_USER');
  });
  it('is one for pages that are alike', () => {
    const rmp = table();
    const all = (rmp.table.regionOf(EPC_GPA)!.end - EPC_GPA) / 4096;
    assert.equal(rmp.alike(EPC_GPA, 2 ** 30), all);
    plant(rmp, EPC_GPA + 3 * 4096, 0, 4 << 16);
    for (const first of [0, 1, 3, 4]) {
      const count = rmp.alike(EPC_GPA + first * 4096, 512 - first);
      const rights = (page: number) => rmp.effectiveMapping(EPC_GPA + page * 4096, rwx);
      for (let i = 0; i < count; i++) assert.deepEqual(rights(first + i), rights(first));
      assert.ok(count >= 1);
    }
    assert.equal(rmp.alike(2 ** 46, 9), 1);
  });
  it('is nothing for pages that are not VMPL0’s alone', () => {
    const rmp = table();
    assert.deepEqual(rmp.effectiveMapping(0, rwx), rwx);
    rmp.rmpadjust(0, 0, 0, 1 | 0x100);
    assert.deepEqual(rmp.effectiveMapping(0, rwx), none, 'VMPL1 can read it');
    assert.deepEqual(rmp.effectiveMapping(2 * M2, rwx), none, 'shared');
    assert.deepEqual(rmp.effectiveMapping(2 ** 46, rwx), none, 'not covered');
    for (const bit of [ENTRY.IMMUTABLE, ENTRY.VMSA, ENTRY.REMAPPED]) {
      const planted = table();
      plant(planted, EPC_GPA, bit);
      assert.deepEqual(planted.effectiveMapping(EPC_GPA, rwx), none);
    }
    const planted = table();
    plant(planted, EPC_GPA, 0, ENTRY.VALIDATED);
    assert.deepEqual(planted.effectiveMapping(EPC_GPA, rwx), none);
  });
  it('starts in the state the instructions leave', () => {
    const filled = new Rmp([{ kind: 'epc', base: EPC_GPA, bytes: M2 }]);
    filled.fillAtLaunch('epc', 0);
    assert.deepEqual(filled.entry(EPC_GPA), table().entry(EPC_GPA));
    const ram = new Rmp([{ kind: 'ram', base: 0, bytes: 2 * M2 }]);
    ram.fillAtLaunch('ram', 15);
    const stepped = table();
    stepped.rmpadjust(0, M2, 1, ALL1);
    assert.deepEqual(ram.entry(M2), stepped.entry(M2));
  });
});
