import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { sampleImage } from '@nestedsgx/enclave';
import {
  CpuEntryGate,
  EENTER,
  EEXIT,
  ERESUME,
  enclaveRun,
  type GuestConnection,
  sgxEnterEnclave,
} from '@nestedsgx/guest';
import { type BuiltEnclave, buildEnclave, Cvm, openImage } from '../src/index.js';

const MS_BYTES = 64;
const OCALL_BYTES = 65_536;
const STACK = 65_536;

let cvm: Cvm;
let connection: GuestConnection;
let built: BuiltEnclave;
let names: string[];
before(async () => {
  cvm = await Cvm.launch({ stateDir: null, epcBytes: 2 ** 28 });
  const guest = await cvm.guest();
  connection = guest.connection;
  const loadable = openImage(sampleImage('calc'));
  names = (loadable.description as { ecalls: { name: string }[] }).ecalls.map((ecall) => ecall.name);
  built = buildEnclave(guest.device, loadable, { debug: false, provision: false, maxThreads: 8 });
});
after(() => cvm.close());

/** A thread of the enclave with an untrusted stack and an ECALL structure of the trusted ABI without arguments. */
function thread(index: number) {
  const stack = connection.memory.alloc(STACK);
  const ms = connection.memory.alloc(MS_BYTES, { zero: true });
  const ocall = connection.memory.alloc(OCALL_BYTES);
  const view = new DataView(ms.bytes.buffer, ms.bytes.byteOffset, MS_BYTES);
  view.setBigUint64(48, BigInt(ocall.address), true);
  view.setBigUint64(56, BigInt(ocall.length), true);
  const gate = new CpuEntryGate(built.gates.address + index * 4096, stack.address + STACK, {
    peerPidfd: connection.cvmPidfd,
  });
  return { gate, ms, view };
}

test('EENTER runs an ECALL: 0, EEXIT, −1 in RDI; the handler sees the registers and decides', () => {
  const { gate, ms, view } = thread(0);
  const run = enclaveRun();
  assert.equal(sgxEnterEnclave(gate, names.indexOf('empty'), ms.address, 0, EENTER, 0, 0, run), 0);
  assert.equal(run.function, EEXIT);
  assert.equal(view.getBigUint64(40, true), 0n, 'the status of the call');
  const seen: number[] = [];
  const again = enclaveRun({
    userHandler: (rdi) => {
      seen.push(rdi);
      return -77;
    },
  });
  assert.equal(sgxEnterEnclave(gate, names.indexOf('empty'), ms.address, 0, EENTER, 0, 0, again), -77);
  assert.deepEqual(seen, [-1]);
  gate.close();
});

test('leaves that do not enter are EINVAL; ERESUME without a frame is #GP as EFAULT', () => {
  const { gate } = thread(1);
  for (const leaf of [0, 1, 4, 5])
    assert.equal(sgxEnterEnclave(gate, 0, 0, 0, leaf, 0, 0, enclaveRun()), -22);
  const run = enclaveRun();
  assert.equal(sgxEnterEnclave(gate, 0, 0, 0, ERESUME, 0, 0, run), -14);
  assert.deepEqual([run.function, run.exceptionVector], [ERESUME, 13]);
  gate.close();
});

test('an exception inside is EFAULT with vector and address; the TCS keeps its frame for a handler', () => {
  const { gate, ms } = thread(2);
  const run = enclaveRun();
  assert.equal(sgxEnterEnclave(gate, names.indexOf('fault_page'), ms.address, 0, EENTER, 0, 0, run), -14);
  assert.deepEqual([run.function, run.exceptionVector], [ERESUME, 14]);
  assert.equal(run.exceptionAddress % 4096, 0);
  // Resuming runs into the same fault: nothing has repaired it.
  const second = enclaveRun();
  assert.equal(sgxEnterEnclave(gate, 0, 0, 0, ERESUME, 0, 0, second), -14);
  assert.equal(second.exceptionVector, 14);
  gate.close();
});
