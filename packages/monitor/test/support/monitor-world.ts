/** A whole Monitor over the fakes, with calls made as a guest makes them. */
import { randomBytes } from 'node:crypto';
import { SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { type CallAnswer, Monitor, type MonitorOptions, type TraceEvent } from '../../src/index.js';
import { callOf, FakeMachine, FakeProcessor, FakeVcpu } from './fake-machine.js';

export class MonitorWorld {
  readonly machine = new FakeMachine(64);
  readonly processor = new FakeProcessor();
  readonly monitor: Monitor;
  readonly trace: TraceEvent[] = [];
  /** REPORT_DATA of the SNP report that was asked for at launch. */
  reportData = new Uint8Array(0);
  reportVmpl = -1;

  constructor(options: Partial<MonitorOptions> = {}) {
    this.machine.memory.ramBytes = this.machine.ram.length;
    for (let i = 0; i < 3; i++) this.machine.list.push(new FakeVcpu(i));
    this.monitor = new Monitor({
      machine: this.machine,
      processor: this.processor,
      channel: {
        report: (data, vmpl) => {
          this.reportData = data.slice();
          this.reportVmpl = vmpl;
          return new Uint8Array(1184).fill(0xee);
        },
        deriveKey: () => new Uint8Array(randomBytes(32)),
      },
      certificates: [new Uint8Array([1, 2]), new Uint8Array([3]), new Uint8Array([4, 5, 6])],
      isolation: 'same-user',
      log: (event) => this.trace.push(event),
      ...options,
    });
    this.monitor.attach(1, 0, { first: 0, count: 48 });
    this.monitor.attach(2, 1, { first: 48, count: 16 });
  }

  /** A call from a virtual CPU; vCPU 0 is connection 1, vCPU 1 connection 2, vCPU 2 nobody's. */
  call(
    protocol: number,
    call: number,
    rcx: number | bigint = 0,
    rdx: number | bigint = 0,
    r8: number | bigint = 0,
    vcpu = 0,
    r9 = 0,
  ): { rax: number; rcx: number; rdx: number; r8: number } {
    const v = this.machine.list[vcpu];
    v.request = callOf(protocol, call, BigInt(rcx), BigInt(rdx), BigInt(r8), BigInt(r9));
    v.answered = null;
    this.monitor.serveVcpu(vcpu);
    return numbers(v.answered!);
  }

  sgx(call: number, rcx: number | bigint = 0, rdx: number | bigint = 0, r8: number | bigint = 0, vcpu = 0) {
    return this.call(SVSM_PROTOCOL_SGX, call, rcx, rdx, r8, vcpu);
  }
}

function numbers(a: CallAnswer): { rax: number; rcx: number; rdx: number; r8: number } {
  return { rax: Number(a.rax), rcx: Number(a.rcx ?? 0), rdx: Number(a.rdx ?? 0), r8: Number(a.r8 ?? 0) };
}
