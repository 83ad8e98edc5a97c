/** The monitor on the real software machine: requests in GHCB pages, the RMP, the PSP. Only the processor is a fake. */
import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import {
  ADD_RANGE,
  ATTESTATION_REPORT,
  ENCLS,
  EnclaveMeasurement,
  GHCB,
  GHCB_EXIT,
  ghcbSetValid,
  PAGEINFO,
  SECS,
  SGX_CALL,
  SVSM,
  secinfoBytes,
  signSigstruct,
} from '@nestedsgx/arch';
import { nodeHash } from '@nestedsgx/arch/node';
import {
  CAA_ANSWER,
  CAA_RING,
  Ghcb,
  GuestMessageChannel,
  Machine,
  SoftwarePsp,
  type Vcpu,
} from '@nestedsgx/machine';
import { Monitor } from '../src/index.js';
import { FakeProcessor } from './support/fake-machine.js';
import { BASE, GOOD_SECS, gpaOf, REG_RW, signer, TCS_FLAGS, tcsPage } from './support/world.js';

// Operands of the guest, in its slice.
const G = Object.freeze({
  PAGEINFO: 0x40_0000,
  SECINFO: 0x40_0040,
  ARGS: 0x40_0100,
  SECS: 0x40_1000,
  PAGE: 0x40_2000,
});
const SIG = 0x40_3000;
const TOKEN = 0x40_4000;
const GATES = 0x40_8000;
const SOURCE = 0x50_0000;

describe('on the software machine', () => {
  let machine: Machine;
  let monitor: Monitor;
  let vcpus: Vcpu[];
  let psp: SoftwarePsp;
  const processor = new FakeProcessor();

  before(async () => {
    psp = await SoftwarePsp.open(null);
    psp.launchStart();
    psp.launchFinish();
    machine = Machine.create({ psp, ramBytes: 0x80_0000, epcBytes: 0x40_0000 });
    vcpus = [machine.vcpus.add(), machine.vcpus.add()];
    const channel = new GuestMessageChannel(0, psp.vmpck(0), (m) => psp.guestRequest(m));
    monitor = new Monitor({ machine, processor, channel, isolation: 'same-user' });
    monitor.attach(1, 0, { first: 0, count: 512 });
    monitor.attach(2, 1, { first: 512, count: 512 });
  });
  after(() => {
    monitor.close();
    machine.close();
  });

  function poke(gpa: number, bytes: Uint8Array): void {
    machine.memory.ram.set(bytes, gpa);
  }

  /** A call as a guest makes it: registers in the GHCB, call_pending, ring. */
  function call(protocol: number, number: number, rcx = 0n, rdx = 0n, r8 = 0n, v = 0) {
    const vcpu = vcpus[v];
    const fields = {
      RAX: (BigInt(protocol) << 32n) | BigInt(number),
      RCX: rcx,
      RDX: rdx,
      R8: r8,
      R9: 0n,
      SW_EXITCODE: BigInt(GHCB_EXIT.SNP_RUN_VMPL),
      SW_EXITINFO1: 0n,
      SW_EXITINFO2: 0n,
    };
    const page = GHCB.encode({ ...fields, PROTOCOL_VERSION: 2, GHCB_USAGE: 0 });
    const bitmap = page.subarray(GHCB.offsets.VALID_BITMAP, GHCB.offsets.VALID_BITMAP + 16);
    for (const name of Object.keys(fields)) ghcbSetValid(bitmap, GHCB.offsets[name as keyof typeof fields]);
    poke(vcpu.ghcbGpa, page);
    machine.memory.ram[vcpu.caaGpa] = 1;
    const words = machine.memory.words;
    const line = vcpu.ghcbGpa + 4096;
    words[(line + CAA_RING) >>> 2]++;
    assert.equal(monitor.serveVcpu(v), true);
    assert.equal(words[(line + CAA_ANSWER) >>> 2], words[(line + CAA_RING) >>> 2]);
    assert.equal(monitor.serveVcpu(v), false);
    const ghcb = Ghcb.copyFrom(machine.memory.ram.slice(vcpu.ghcbGpa, vcpu.ghcbGpa + 4096));
    return {
      rax: ghcb.number('RAX'),
      rcx: ghcb.number('RCX'),
      rdx: ghcb.number('RDX'),
      r8: ghcb.number('R8'),
    };
  }
  const sgx = (n: number, rcx = 0, rdx = 0, r8 = 0, v = 0) =>
    call(0x4e53, n, BigInt(rcx), BigInt(rdx), BigInt(r8), v);
  const OK = { rax: 0, rcx: 0, rdx: 0, r8: 0 };

  function pageinfo(linaddr: number, src: number, secs: number, flags: number): void {
    const [LINADDR, SRCPGE, SECINFO, SECS_AT] = [linaddr, src, G.SECINFO, secs].map(BigInt);
    poke(G.PAGEINFO, PAGEINFO.encode({ LINADDR, SRCPGE, SECINFO, SECS: SECS_AT }));
    poke(G.SECINFO, secinfoBytes(flags));
  }

  it('builds, initializes and removes an enclave through GHCB calls', () => {
    poke(G.SECS, SECS.encode(GOOD_SECS));
    pageinfo(0, G.SECS, 0, 0);
    assert.deepEqual(sgx(ENCLS.ECREATE, G.PAGEINFO, gpaOf(0)), OK);
    poke(G.PAGE, tcsPage());
    pageinfo(BASE + 0x1000, G.PAGE, gpaOf(0), TCS_FLAGS);
    assert.deepEqual(sgx(ENCLS.EADD, G.PAGEINFO, gpaOf(1)), OK);
    const pages = new Uint8Array(0x6000).map((_, i) => i >>> 8);
    poke(SOURCE, pages);
    pageinfo(0, 0, 0, REG_RW);
    const range = {
      SECS: BigInt(gpaOf(0)),
      LINADDR: BigInt(BASE + 0x2000),
      SRC: BigInt(SOURCE),
      LENGTH: 0x6000n,
    };
    poke(
      G.ARGS,
      ADD_RANGE.encode({ ...range, SECINFO: BigInt(G.SECINFO), EPC: BigInt(gpaOf(2)), FLAGS: 1n }),
    );
    assert.deepEqual(sgx(SGX_CALL.ADD_RANGE, G.ARGS), { ...OK, rdx: 0x6000 });
    const m = new EnclaveMeasurement(nodeHash);
    m.ecreate(1, GOOD_SECS.SIZE as bigint);
    m.eadd(0x1000n, secinfoBytes(TCS_FLAGS));
    m.addPages(0x2000n, secinfoBytes(REG_RW), pages, true);
    const attributes = { FLAGS: 4n, XFRM: 3n };
    poke(SIG, signSigstruct({ ENCLAVEHASH: m.digest(), ATTRIBUTES: attributes }, signer()));
    assert.deepEqual(sgx(SGX_CALL.BIND_GATES, gpaOf(0), GATES, 1), OK);
    assert.deepEqual(sgx(ENCLS.EINIT, SIG, gpaOf(0), TOKEN), OK);
    const running = processor.running[0];
    assert.deepEqual(running.start.ranges, [{ offset: 0x2000, length: 0x6000, r: true, w: true, x: false }]);
    assert.deepEqual(running.admitted, [true]);
    assert.equal(sgx(ENCLS.EREMOVE, 0, gpaOf(3), 0, 1).rax, SVSM.INVALID_PARAMETER, 'another connection');
    for (let f = 1; f < 8; f++) assert.deepEqual(sgx(ENCLS.EREMOVE, 0, gpaOf(f)), OK);
    assert.deepEqual(sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
    monitor.checkInvariants();
  });

  it('refuses sources in EPC and in pages the guest has given away', () => {
    poke(G.SECS, SECS.encode(GOOD_SECS));
    pageinfo(0, G.SECS, 0, 0);
    assert.deepEqual(sgx(ENCLS.ECREATE, G.PAGEINFO, gpaOf(0)), OK);
    for (const source of [gpaOf(0), 0x40_0000_0000, 0x80_0000]) {
      pageinfo(BASE, source, gpaOf(0), REG_RW);
      const answer = sgx(ENCLS.EADD, G.PAGEINFO, gpaOf(1));
      assert.deepEqual([answer.rax, answer.rdx], [SVSM.PROTOCOL_BASE + 14, source]);
    }
    assert.deepEqual(sgx(ENCLS.EREMOVE, 0, gpaOf(0)), OK);
  });

  it('takes deposited RAM as EPC and gives it back', () => {
    const page = 0x60_0000;
    poke(page, new Uint8Array(4096).fill(7));
    const list = new Uint8Array(16);
    list[0] = 1;
    new DataView(list.buffer).setBigUint64(8, BigInt(page), true);
    poke(G.ARGS, list);
    assert.equal(call(0, 4, BigInt(G.ARGS)).rax, 0);
    assert.equal(machine.rmp.allows(1, page, 4096, 'r'), false);
    pageinfo(0, G.SECS, 0, 0);
    assert.deepEqual(sgx(ENCLS.ECREATE, G.PAGEINFO, page), OK);
    poke(G.ARGS, list);
    assert.equal(call(0, 5, BigInt(G.ARGS)).rax, SVSM.INVALID_PARAMETER);
    list[8] = 4;
    poke(G.ARGS, list);
    assert.equal(call(0, 1, BigInt(G.ARGS)).rax, SVSM.INVALID_ADDRESS, 'PVALIDATE of EPC');
    assert.deepEqual(sgx(ENCLS.EREMOVE, 0, page), OK);
    list[8] = 0;
    poke(G.ARGS, list);
    assert.equal(call(0, 5, BigInt(G.ARGS)).rax, 0);
    assert.equal(machine.rmp.allows(1, page, 4096, 'w'), true);
    assert.equal(machine.memory.ram[page], 0);
    monitor.checkInvariants();
  });

  it('invalidates and validates pages of the guest, which come back zeroed', () => {
    const page = 0x68_0000;
    poke(page, new Uint8Array(4096).fill(9));
    const pvalidate = (entry: number) => {
      const list = new Uint8Array(16);
      list[0] = 1;
      new DataView(list.buffer).setBigUint64(8, BigInt(entry), true);
      poke(G.ARGS, list);
      return call(0, 1, BigInt(G.ARGS)).rax;
    };
    assert.equal(pvalidate(page | 4), SVSM.PVALIDATE_FAIL_UNCHANGED);
    assert.equal(machine.memory.ram[page], 9);
    assert.equal(pvalidate(page), 0);
    assert.equal(machine.rmp.allows(1, page, 4096, 'r'), false);
    assert.equal(pvalidate(page | 4), 0);
    assert.equal(machine.memory.ram[page], 0);
  });

  it('binds the attestation key to a report of the PSP at VMPL0', () => {
    const report = ATTESTATION_REPORT.decode(monitor.quoting.snpReport);
    assert.equal(report.VMPL, 0);
    assert.ok(report.REPORT_DATA.some((b) => b !== 0));
    assert.ok(monitor.quoting.quoteLength > 432 + 1184);
  });

  it('goes on when a guest gives its own calling area away', () => {
    const list = new Uint8Array(16);
    list[0] = 1;
    new DataView(list.buffer).setBigUint64(8, BigInt(vcpus[1].caaGpa), true);
    poke(G.ARGS, list);
    assert.throws(() => call(0, 4, BigInt(G.ARGS), 0n, 0n, 1), assert.AssertionError);
    for (let i = 0; i < 4; i++) monitor.serveVcpu(1);
    assert.equal(monitor.serveVcpu(1), false);
    monitor.checkInvariants();
    assert.equal(sgx(SGX_CALL.QUERY).rcx, gpaOf(0));
    monitor.detach(2);
    assert.equal(monitor.stats().epc.deposited, 0);
  });
});
