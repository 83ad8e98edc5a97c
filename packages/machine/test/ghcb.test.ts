import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { GHCB, GHCB_EXIT, GHCB_MSR, ghcbSetValid } from '@nestedsgx/arch';
import fc from 'fast-check';
import {
  CAA_ANSWER,
  CAA_RING,
  DOORBELL_GPA,
  EPC_GPA,
  GHCB_REASON,
  GHCB_RESULT,
  Ghcb,
  GuestMessageChannel,
  ghcbGpa,
  ghcbMsr,
  HV_FEATURES,
  type Machine,
  PSC_OP,
  type Vcpu,
  Vmsa,
} from '../src/index.js';
import { sealMessage } from '../src/psp/guest-message.js';
import { fuzzRuns, SEED, smallMachine } from './machines.js';

type Fields = Partial<Record<'RAX' | 'RCX' | 'RDX' | 'R8' | 'R9' | 'SW_SCRATCH', bigint>>;

/** A GHCB page as a guest fills it. */
function ghcbPage(exit: number, info1 = 0n, info2 = 0n, fields: Fields = {}): Uint8Array {
  const all = { ...fields, SW_EXITCODE: BigInt(exit), SW_EXITINFO1: info1, SW_EXITINFO2: info2 };
  const page = GHCB.encode({ ...all, PROTOCOL_VERSION: 2, GHCB_USAGE: 0 });
  const bitmap = page.subarray(GHCB.offsets.VALID_BITMAP, GHCB.offsets.VALID_BITMAP + 16);
  for (const name of Object.keys(all)) ghcbSetValid(bitmap, GHCB.offsets[name as keyof typeof GHCB.offsets]);
  return page;
}

const CALL: Fields = {
  RAX: (0x4e53n << 32n) | 0x100n,
  RCX: 1n,
  RDX: 2n,
  R8: 0x40_0000n,
  R9: 0xffff_ffff_ffff_ffffn,
};

describe('VMGEXIT', () => {
  let machine: Machine;
  let vcpu: Vcpu;
  before(async () => {
    machine = await smallMachine();
    vcpu = machine.vcpus.add();
  });
  after(() => machine.close());

  function put(page: Uint8Array): void {
    machine.guest.copyOut(1, vcpu.ghcbGpa, page);
  }
  function exit(page: Uint8Array): { kind: string; info1: number; info2: number; high2: number } {
    put(page);
    const { kind } = machine.vmgexit(vcpu);
    const back = Ghcb.copyFrom(machine.guest.copyIn(1, vcpu.ghcbGpa, 4096));
    return {
      kind,
      info1: back.low('SW_EXITINFO1'),
      info2: back.low('SW_EXITINFO2'),
      high2: back.high('SW_EXITINFO2'),
    };
  }
  const malformed = (info2: number) => ({
    kind: 'served',
    info1: GHCB_RESULT.MALFORMED_INPUT,
    info2,
    high2: 0,
  });
  const pending = () => machine.guest.copyOut(1, vcpu.caaGpa, Uint8Array.of(1));

  it('hands out an SVSM call and writes its answer', () => {
    put(ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL));
    pending();
    const got = machine.vmgexit(vcpu);
    assert.ok(got.kind === 'call');
    const { call } = got;
    assert.deepEqual(
      [call.protocol, call.call, call.rcx, call.rdx, call.r8, call.big('r9'), Number.isSafeInteger(call.r9)],
      [0x4e53, 0x100, 1, 2, 0x40_0000, 0xffff_ffff_ffff_ffffn, false],
    );
    assert.equal(machine.guest.copyIn(1, vcpu.caaGpa, 1)[0], 0, 'call_pending was taken');
    machine.answer(vcpu, { rax: 0, rcx: 0x1_2345_6789_abcd, rdx: 2n ** 64n - 1n });
    const page = GHCB.decode(machine.guest.copyIn(1, vcpu.ghcbGpa, 4096));
    assert.deepEqual(
      [page.RAX, page.RCX, page.RDX, page.R8],
      [0n, 0x1_2345_6789_abcdn, 2n ** 64n - 1n, 0x40_0000n],
    );
    assert.equal(Ghcb.copyFrom(machine.guest.copyIn(1, vcpu.ghcbGpa, 4096)).has('R9'), false);
  });

  it('does not see what the guest changes after the copy', () => {
    put(ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL));
    pending();
    const got = machine.vmgexit(vcpu);
    assert.ok(got.kind === 'call');
    machine.guest.copyOut(1, vcpu.ghcbGpa + GHCB.offsets.RCX, new Uint8Array(8).fill(0xff));
    assert.equal(got.call.rcx, 1);
  });

  it('has nothing to do when no call is pending', () => {
    assert.deepEqual(exit(ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL)), {
      kind: 'served',
      info1: 0,
      info2: 0,
      high2: 0,
    });
  });

  it('refuses malformed GHCBs with the reason', () => {
    const good = () => ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL);
    const usage = good();
    usage[GHCB.offsets.GHCB_USAGE] = 1;
    const version = good();
    version[GHCB.offsets.PROTOCOL_VERSION] = 1;
    const noBitmap = good().fill(0, GHCB.offsets.VALID_BITMAP, GHCB.offsets.VALID_BITMAP + 16);
    assert.deepEqual(exit(usage), malformed(GHCB_REASON.INVALID_USAGE));
    assert.deepEqual(exit(version), malformed(GHCB_REASON.INVALID_USAGE));
    assert.deepEqual(exit(noBitmap), malformed(GHCB_REASON.MISSING_INPUT));
    const { R9: _, ...withoutR9 } = CALL;
    assert.deepEqual(
      exit(ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, withoutR9)),
      malformed(GHCB_REASON.MISSING_INPUT),
    );
    assert.deepEqual(
      exit(ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 1n, 0n, CALL)),
      malformed(GHCB_REASON.INVALID_INPUT),
    );
    for (const code of [0, 0x18, GHCB_EXIT.CPUID, GHCB_EXIT.MMIO_READ, GHCB_EXIT.UNSUPPORTED, 0xffff_ffff]) {
      assert.deepEqual(
        exit(ghcbPage(code)),
        malformed(GHCB_REASON.INVALID_EVENT),
        `exit 0x${code.toString(16)}`,
      );
    }
    const high = ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL);
    high[GHCB.offsets.SW_EXITCODE + 4] = 1;
    assert.deepEqual(exit(high), malformed(GHCB_REASON.INVALID_EVENT));
  });

  it('reports a GHCB or calling area that the guest gave away, and harms nothing', async () => {
    const other = machine.vcpus.add();
    machine.guest.copyOut(1, other.ghcbGpa, ghcbPage(GHCB_EXIT.SNP_RUN_VMPL, 0n, 0n, CALL));
    machine.deposit(other.caaGpa, 0x1000);
    assert.equal(machine.vmgexit(other).kind, 'fault');
    machine.withdraw(other.caaGpa, 0x1000);
    machine.rmp.rmpupdate(other.ghcbGpa, { assigned: true, size: 0, asid: 1 });
    assert.equal(machine.vmgexit(other).kind, 'fault');
    machine.vcpus.remove(other.index);
    assert.equal(machine.vcpus.add(other.index).index, other.index);
    machine.vcpus.remove(other.index);
  });

  it('counts rings and publishes answers', () => {
    assert.equal(vcpu.pending(), false);
    const line = ghcbGpa(vcpu.index) + 4096;
    machine.guest.copyOut(1, line + CAA_RING, Uint8Array.of(7, 0, 0, 0));
    assert.equal(vcpu.pending(), true);
    vcpu.complete(vcpu.accept());
    assert.equal(vcpu.pending(), false);
    assert.deepEqual([...machine.guest.copyIn(1, line + CAA_ANSWER, 4)], [7, 0, 0, 0]);
  });

  it('tells its features, and ends a guest that asks for it', () => {
    assert.deepEqual(exit(ghcbPage(GHCB_EXIT.HV_FEATURES)), {
      kind: 'served',
      info1: 0,
      info2: HV_FEATURES,
      high2: 0,
    });
    put(ghcbPage(GHCB_EXIT.TERMINATE, 0x51n));
    assert.deepEqual(machine.vmgexit(vcpu), { kind: 'terminated', set: 1, code: 5 });
  });

  it('changes page states of the guest’s own memory only', () => {
    const psc = (...entries: bigint[]) => {
      const page = ghcbPage(GHCB_EXIT.PAGE_STATE_CHANGE, 0n, 0n, {
        SW_SCRATCH: BigInt(vcpu.ghcbGpa + 0x800),
      });
      const view = new DataView(page.buffer);
      view.setUint16(0x802, entries.length - 1, true);
      entries.forEach((e, i) => {
        view.setBigUint64(0x808 + i * 8, e, true);
      });
      return exit(page);
    };
    const entry = (gpa: number, op: number, size = 0n) => BigInt(gpa) | (BigInt(op) << 52n) | (size << 56n);
    machine.guest.copyOut(1, 0x40_0000, Uint8Array.of(1));
    assert.equal(psc(entry(0x40_0000, PSC_OP.SHARED)).high2, 0);
    assert.equal(machine.rmp.entry(0x40_0000)?.assigned, false);
    assert.equal(machine.guest.copyIn(1, 0x40_0000, 1)[0], 0, 'scrubbed');
    assert.equal(psc(entry(0x40_0000, PSC_OP.PRIVATE)).high2, 0);
    assert.throws(() => machine.guest.copyIn(1, 0x40_0000, 1), { code: 'PAGE_NOT_VALIDATED' });
    assert.equal(machine.pvalidate(0x40_0000, 0, true).code, 0);
    machine.restrict(0x40_0000, 1 | 0xf00);
    assert.equal(machine.guest.copyIn(1, 0x40_0000, 1)[0], 0);
    assert.equal(psc(entry(0x60_0000, PSC_OP.PSMASH, 1n), entry(0x60_0000, PSC_OP.UNSMASH, 1n)).high2, 0);
    machine.deposit(0x42_0000, 0x1000);
    for (const bad of [
      entry(0x42_0000, PSC_OP.SHARED),
      entry(EPC_GPA, PSC_OP.SHARED),
      entry(0x41_0000, 9),
      entry(0x41_0000, PSC_OP.SHARED) | 1n,
      entry(0x41_0000, PSC_OP.SHARED) | (1n << 60n),
      entry(0x41_0000, PSC_OP.SHARED, 1n),
    ]) {
      assert.equal(psc(bad).high2, 2, `entry ${bad.toString(16)}`);
    }
    const wrong = ghcbPage(GHCB_EXIT.PAGE_STATE_CHANGE, 0n, 0n, { SW_SCRATCH: 0x40_0000n });
    assert.deepEqual(exit(wrong), malformed(GHCB_REASON.INVALID_SCRATCH));
    const many = ghcbPage(GHCB_EXIT.PAGE_STATE_CHANGE, 0n, 0n, { SW_SCRATCH: BigInt(vcpu.ghcbGpa + 0x800) });
    new DataView(many.buffer).setUint16(0x802, 253, true);
    assert.equal(exit(many).high2, 1);
  });

  it('carries guest messages to the PSP, which believes only who has the key', () => {
    const request = (message: Uint8Array) => {
      machine.guest.copyOut(1, 0x45_0000, message);
      const { kind, info1, info2 } = exit(ghcbPage(GHCB_EXIT.GUEST_REQUEST, 0x45_0000n, 0x45_1000n));
      assert.deepEqual([kind, info1], ['served', 0]);
      return info2;
    };
    const forged = sealMessage(new Uint8Array(32), {
      vmpck: 0,
      type: 5,
      version: 1,
      sequence: 1n,
      payload: new Uint8Array(0x60),
    });
    assert.equal(request(forged), 0x0b, 'BAD_MEASUREMENT');
    assert.equal(request(new Uint8Array(4096)), 0x16);
    const channel = new GuestMessageChannel(1, machine.psp.vmpck(1), (message) => {
      assert.equal(request(message), 0);
      return machine.guest.copyIn(1, 0x45_1000, 4096);
    });
    assert.equal(channel.report(new Uint8Array(64), 1).length, 1184);
    const own = new GuestMessageChannel(0, machine.psp.vmpck(0), (m) => machine.psp.guestRequest(m));
    assert.equal(
      own.report(new Uint8Array(64)).length,
      1184,
      'forgeries do not disturb the owner of the key',
    );
    for (const [a, b] of [
      [0x45_0000n, 0x45_0000n],
      [0x45_0001n, 0x45_1000n],
      [0x45_0000n, 2n ** 63n],
    ]) {
      assert.deepEqual(exit(ghcbPage(GHCB_EXIT.GUEST_REQUEST, a, b)), malformed(GHCB_REASON.INVALID_INPUT));
    }
    put(ghcbPage(GHCB_EXIT.GUEST_REQUEST, BigInt(EPC_GPA), 0x45_1000n));
    assert.equal(machine.vmgexit(vcpu).kind, 'fault');
  });

  it('creates vCPUs from VMSA pages the guest cannot touch any more', () => {
    const gpa = 0x46_0000;
    const start = (info1: bigint, at = gpa) => exit(ghcbPage(GHCB_EXIT.AP_CREATION, info1, BigInt(at)));
    const info = (request: bigint, vmpl = 1n, apic = 3n) => (apic << 32n) | (vmpl << 16n) | request;
    machine.guest.copyOut(1, gpa, Vmsa.build(0));
    assert.throws(() => machine.vcpus.registerVmsa(gpa, 3, 1n), { code: 'VMSA_INVALID' }, 'VMPL0');
    assert.ok(machine.rmp.allows(1, gpa, 4096, 'w'), 'a refused page is the guest’s again');
    for (const page of [
      Vmsa.build(1, { EFER: 0n }),
      Vmsa.build(1, { SEV_FEATURES: 3n }),
      Vmsa.build(1, { SEV_FEATURES: 0n }),
    ]) {
      machine.guest.copyOut(1, gpa, page);
      assert.throws(() => machine.vcpus.registerVmsa(gpa, 3, 1n), { code: 'VMSA_INVALID' });
    }
    assert.deepEqual(start(info(1n)), malformed(GHCB_REASON.INVALID_INPUT), 'not a VMSA');
    machine.guest.copyOut(1, gpa, Vmsa.build(1));
    machine.vcpus.registerVmsa(gpa, 3, 1n);
    assert.throws(() => machine.guest.copyIn(1, gpa, 1), { code: 'NESTED_PAGE_FAULT' });
    assert.equal(machine.rmp.entry(gpa)?.vmsa, true);
    assert.deepEqual(start(info(1n, 0n)), malformed(GHCB_REASON.INVALID_INPUT), 'another VMPL');
    assert.deepEqual(start(info(1n, 1n, 4n)), malformed(GHCB_REASON.INVALID_INPUT), 'another APIC id');
    assert.deepEqual(start(info(2n)), malformed(GHCB_REASON.INVALID_INPUT), 'does not run');
    assert.deepEqual(start(info(1n)), { kind: 'served', info1: 0, info2: 0, high2: 0 });
    assert.equal(machine.rmp.rmpupdate(gpa, { assigned: false, size: 0, asid: 0 }), 3, 'FAIL_INUSE');
    assert.equal(machine.vcpus.unregisterVmsa(gpa), false);
    assert.deepEqual(start(info(2n)), { kind: 'served', info1: 0, info2: 0, high2: 0 });
    assert.equal(machine.vcpus.unregisterVmsa(gpa), true);
    assert.equal(machine.guest.copyIn(1, gpa, 1)[0], 0, 'scrubbed');
    assert.throws(() => machine.vcpus.registerVmsa(EPC_GPA, 3, 1n), { code: 'NESTED_PAGE_FAULT' });
    assert.throws(() => machine.vcpus.registerVmsa(gpa + 1, 3, 1n), { code: 'VMSA_INVALID' });
    assert.throws(() => machine.vcpus.registerVmsa(gpa, 256, 1n), { code: 'VCPU_LIMIT' });
  });

  it('limits vCPUs', () => {
    for (const index of [256, -1, 1.5, vcpu.index]) {
      assert.throws(() => machine.vcpus.add(index), { code: 'VCPU_LIMIT' });
    }
    const last = machine.vcpus.add(255);
    assert.equal([...machine.vcpus].length, 2);
    machine.vcpus.remove(last.index);
    assert.equal(machine.vcpus.count, 1);
  });

  it('survives any GHCB page', () => {
    const codes = Object.values(GHCB_EXIT).filter((c) => c !== GHCB_EXIT.TERMINATE);
    fc.assert(
      fc.property(
        fc.constantFrom(...codes, 0x18),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.oneof(
          fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
          fc.constantFrom(BigInt(EPC_GPA), 0x1000n, 0x40_0000n),
        ),
        fc.uint8Array({ minLength: 4096, maxLength: 4096 }),
        fc.boolean(),
        (code, info1, info2, noise, keepNoise) => {
          const page = ghcbPage(code, info1, info2, {
            ...CALL,
            SW_SCRATCH: info1 % 2n ? info2 : BigInt(vcpu.ghcbGpa + 0x800),
          });
          if (keepNoise) page.set(noise.subarray(0x800, 0xff0), 0x800);
          else if (noise[0] < 64) page.set(noise);
          if (!machine.rmp.allows(1, vcpu.ghcbGpa, 4096, 'w')) machine.shareWithHost(vcpu.ghcbGpa);
          put(page);
          if (noise[1] & 1) pending();
          const { kind } = machine.vmgexit(vcpu);
          if (kind === 'call') machine.answer(vcpu, { rax: 0 });
          assert.ok(['call', 'served', 'fault', 'terminated'].includes(kind));
          assert.throws(() => machine.guest.copyIn(1, EPC_GPA, 1), { code: 'NESTED_PAGE_FAULT' });
          assert.throws(
            () => machine.guest.copyIn(1, 0x42_0000, 1),
            { code: 'NESTED_PAGE_FAULT' },
            'deposited',
          );
        },
      ),
      { seed: SEED, numRuns: fuzzRuns(300) },
    );
  });
});

describe('GHCB MSR protocol', () => {
  let machine: Machine;
  before(async () => {
    machine = await smallMachine();
  });
  after(() => machine.close());
  const value = (msr: bigint) => {
    const answer = ghcbMsr(machine, 0, msr);
    assert.ok(answer.kind === 'value', answer.kind);
    return answer.value;
  };

  it('answers the requests of the standard', () => {
    assert.equal(value(BigInt(GHCB_MSR.SEV_INFO_REQUEST)), 0x0002_0002_3300_0001n);
    assert.equal(value(BigInt(GHCB_MSR.HV_FEATURES_REQUEST)), (BigInt(HV_FEATURES) << 12n) | 0x081n);
    assert.equal(value(BigInt(ghcbGpa(0)) | 0x012n), BigInt(ghcbGpa(0)) | 0x013n);
    assert.equal(value(BigInt(EPC_GPA) | 0x012n), 0xffff_ffff_ffff_f013n, 'not its page');
    assert.equal(value((1n << 32n) | 0x016n), (1n << 32n) | 0x017n, 'VMPL1 cannot be run');
    assert.deepEqual(ghcbMsr(machine, 0, 0x016n), { kind: 'run-vmpl', vmpl: 0 });
    assert.deepEqual(ghcbMsr(machine, 0, 0x006n), { kind: 'hold' });
    assert.deepEqual(ghcbMsr(machine, 0, 0x2_1100n), { kind: 'terminate', set: 1, code: 2 });
  });
  it('changes page states', () => {
    assert.equal(value((2n << 52n) | 0x40_0014n), 0x015n);
    assert.equal(machine.rmp.entry(0x40_0000)?.assigned, false);
    assert.equal(value((1n << 52n) | 0x40_0014n), 0x015n);
    assert.equal(value((2n << 52n) | BigInt(EPC_GPA) | 0x014n), (1n << 32n) | 0x015n);
    assert.equal(value((7n << 52n) | 0x40_0014n), (1n << 32n) | 0x015n);
  });
  it('ends a guest that asks for anything else', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (msr) => {
        assert.ok(['value', 'run-vmpl', 'hold', 'terminate'].includes(ghcbMsr(machine, 0, msr).kind));
        assert.throws(() => machine.guest.copyIn(1, EPC_GPA, 1), { code: 'NESTED_PAGE_FAULT' });
      }),
      { seed: SEED, numRuns: fuzzRuns(300) },
    );
    assert.deepEqual(ghcbMsr(machine, 0, 0x0ffn), { kind: 'terminate', set: 0, code: 0 });
    assert.deepEqual(ghcbMsr(machine, 0, 0x1002n), { kind: 'terminate', set: 0, code: 0 });
    assert.ok(machine.rmp.allows(1, DOORBELL_GPA, 1, 'w'));
  });
});

describe('Ghcb', () => {
  it('wants 4096 bytes', () => {
    assert.throws(() => new Ghcb(new Uint8Array(4095)), { code: 'GHCB_LENGTH' });
    assert.throws(() => Ghcb.copyFrom(new Uint8Array(0)), { code: 'GHCB_LENGTH' });
  });
});
