import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  EENTER,
  EEXIT,
  type EntryGate,
  ERESUME,
  EXIT_KIND,
  type ExitRegisters,
  enclaveRun,
  type FaultServer,
  sgxEnterEnclave,
} from '../src/index.js';
import { codeOf } from './harness.js';

const exit = (kind: number, rdi = 0, rsi = 0): ExitRegisters => ({ kind, rdi, rsi, rdx: 0, r8: 0, r9: 0 });
const returned = exit(EXIT_KIND.EEXIT, 7);
const pageFault = (address: number, errorCode = 4) => exit(EXIT_KIND.AEX, 14 + errorCode * 2 ** 32, address);

/** A gate that leaves as told, and a server that handles what `handles` says. */
function staged(exits: ExitRegisters[], handles: Partial<FaultServer>) {
  const leaves: number[] = [];
  const asked: string[] = [];
  const server: FaultServer = {
    pageFault: (gate, errorCode, address) => {
      asked.push(`fault ${gate} ${errorCode} ${address}`);
      return handles.pageFault?.(gate, errorCode, address) ?? false;
    },
    entryFault: (gate, vector, tries) => {
      asked.push(`entry ${gate} ${vector} ${tries}`);
      return handles.entryFault?.(gate, vector, tries) ?? false;
    },
    check: () => handles.check?.(),
  };
  const gate: EntryGate = {
    faults: { server, gate: 5 },
    exchange: (leaf) => {
      leaves.push(leaf);
      return exits.shift() as ExitRegisters;
    },
  };
  const run = enclaveRun();
  const enter = () => sgxEnterEnclave(gate, 0, 0, 0, EENTER, 0, 0, run);
  return { leaves, asked, run, enter };
}

test('faults that the driver answers are resumed, and the caller sees the return only', () => {
  const { leaves, asked, run, enter } = staged([pageFault(4096), pageFault(8192, 6), returned], {
    pageFault: () => true,
  });
  let calls = 0;
  run.userHandler = () => {
    calls++;
    return 0;
  };
  assert.equal(enter(), 0);
  assert.deepEqual(leaves, [EENTER, ERESUME, ERESUME]);
  assert.deepEqual(asked, ['fault 5 4 4096', 'fault 5 6 8192']);
  assert.deepEqual([run.function, calls], [EEXIT, 1]);
});

test('faults that nobody answers, and other exceptions, are reported as before', () => {
  const { run, enter, asked } = staged([pageFault(0x5000, 0x8007)], {});
  assert.equal(enter(), -14);
  assert.deepEqual(
    [run.function, run.exceptionVector, run.exceptionErrorCode, run.exceptionAddress],
    [ERESUME, 14, 0x8007, 0x5000],
  );
  assert.equal(asked.length, 1);
  const other = staged([exit(EXIT_KIND.AEX, 13)], { pageFault: () => true });
  assert.equal(other.enter(), -14);
  assert.deepEqual([other.run.exceptionVector, other.asked.length], [13, 0]);
});

test('refused entries are tried again with the same leaf while the driver finds a cause', () => {
  const refused = exit(EXIT_KIND.ENTRY_FAILED, 14);
  const { leaves, asked, enter } = staged([refused, refused, pageFault(4096), refused, returned], {
    entryFault: (_, __, tries) => tries < 3,
    pageFault: () => true,
  });
  assert.equal(enter(), 0);
  assert.deepEqual(leaves, [EENTER, EENTER, EENTER, ERESUME, ERESUME]);
  assert.deepEqual(asked.slice(0, 3), ['entry 5 14 0', 'entry 5 14 1', 'fault 5 4 4096']);
  const gone = staged([refused, refused], { entryFault: (_, __, tries) => tries < 1 });
  assert.equal(gone.enter(), -14);
  assert.deepEqual([gone.run.function, gone.run.exceptionVector], [EENTER, 14]);
});

test('a stopped enclave is not resumed after an interrupt', () => {
  const { leaves, enter } = staged([exit(EXIT_KIND.AEX, 32), returned], {
    check: () => {
      throw Object.assign(new Error('stopped'), { code: 'EPC_PAGE_DAMAGED' });
    },
  });
  assert.equal(codeOf(enter), 'EPC_PAGE_DAMAGED');
  assert.deepEqual(leaves, [EENTER]);
});
