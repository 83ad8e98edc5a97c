/** Wrong behaviour is planted in leaves of the monitor: the simulator must find each, and make it small. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { LeafOutcome } from '@nestedsgx/monitor';
import {
  Coverage,
  type LeafHook,
  parametersOf,
  replay,
  Simulation,
  simulate,
  stepText,
} from '../src/index.js';

interface Mutation {
  readonly what: string;
  readonly hook: LeafHook;
  /** Sequences within which it must be found, and steps of the smallest sequence. */
  readonly within: number;
  readonly steps: number;
}

/** An outcome as it is, unless it failed check `id`: then the leaf says it succeeded, and did nothing. */
function skips(leaf: string, id: string): LeafHook {
  return (name, execute) => {
    const outcome = execute();
    return name === leaf && checkOf(outcome) === id ? SUCCESS : outcome;
  };
}

const SUCCESS: LeafOutcome = Object.freeze({
  kind: 'done',
  rax: 0,
  flags: 0,
  output: 0,
  vector: 0,
  errorCode: 0,
  address: 0,
  check: -1,
  list: null,
});

function checkOf({ list, check }: LeafOutcome): string | undefined {
  return list?.rows[check].id;
}

function frameOf(gpa: number): number {
  return (gpa - 0x80_0000_0000) / 4096;
}

const BLOCKED = 1 << 6;
const PENDING = 1 << 3;
const PR = 1 << 5;
const X = 1 << 2;

/** After a leaf that succeeded, changes the EPCM entry of the page in RCX. */
function afterwards(leaf: string, change: (bits: number) => number): LeafHook {
  return (name, execute, s, [, rcx]) => {
    const outcome = execute();
    if (name === leaf && outcome.kind === 'done') {
      const frame = frameOf(rcx);
      if (Number.isInteger(frame)) s.epcm.setBits(frame, change(s.epcm.bits(frame)));
    }
    return outcome;
  };
}

const MUTATIONS: readonly Mutation[] = [
  { what: 'EADD into a valid frame', hook: skips('EADD', 'epc-page-free'), within: 500, steps: 3 },
  { what: 'EINIT without a signature', hook: skips('EINIT', 'signature'), within: 500, steps: 3 },
  { what: 'EREMOVE of a SECS with children', hook: skips('EREMOVE', 'no-children'), within: 500, steps: 3 },
  { what: 'EWB of a page that is not tracked', hook: skips('EWB', 'page-tracked'), within: 2000, steps: 8 },
  { what: 'ELDU of a page that was changed', hook: skips('ELDU', 'mac'), within: 2000, steps: 9 },
  { what: 'EACCEPT without tracking', hook: skips('EACCEPT', 'tracked'), within: 2000, steps: 9 },
  {
    what: 'EBLOCK that blocks nothing',
    hook: afterwards('EBLOCK', (bits) => bits & ~BLOCKED),
    within: 500,
    steps: 4,
  },
  {
    what: 'EAUG of a page that need not be accepted',
    hook: afterwards('EAUG', (bits) => bits & ~PENDING),
    within: 500,
    steps: 5,
  },
  { what: 'EMODPR that forgets PR', hook: afterwards('EMODPR', (bits) => bits & ~PR), within: 500, steps: 5 },
  {
    what: 'EADD that gives X',
    hook: afterwards('EADD', (bits) => (bits >>> 8 === 2 ? bits | X : bits)),
    within: 100,
    steps: 3,
  },
  {
    what: 'SET_PTE that changes nothing',
    hook: (name, execute) => (name === 'SET_PTE' ? SUCCESS : execute()),
    within: 500,
    steps: 6,
  },
  {
    what: 'a code with the wrong flag',
    hook: (name, execute) => {
      const outcome = execute();
      return name === 'EBLOCK' && outcome.flags === 1 ? { ...outcome, flags: 0x40 } : outcome;
    },
    within: 500,
    steps: 3,
  },
  {
    what: 'a fault at the wrong address',
    hook: (name, execute) => {
      const outcome = execute();
      return name === 'ETRACK' && outcome.vector === 14
        ? { ...outcome, address: outcome.address + 8 }
        : outcome;
    },
    within: 500,
    steps: 2,
  },
  {
    what: 'ETRACK that begins no cycle',
    hook: (name, execute, s, [, rcx]) => {
      const enclave = s.enclaves.get(frameOf(rcx));
      const before = enclave?.epoch;
      const outcome = execute();
      if (name === 'ETRACK' && enclave !== undefined) enclave.epoch = before!;
      return outcome;
    },
    within: 3000,
    steps: 9,
  },
  {
    what: 'EREMOVE that leaves the page mapped',
    hook: (name, execute, s, [, rcx]) => {
      const secs = name === 'EREMOVE' ? s.epcm.secs(frameOf(rcx)) : -1;
      const enclave = s.enclaves.get(secs);
      const address = enclave === undefined ? 0 : s.epcm.address(frameOf(rcx));
      const outcome = execute();
      if (enclave?.running && outcome.kind === 'done')
        enclave.running.map({ offset: address - enclave.base, length: 4096, r: true, w: false, x: false });
      return outcome;
    },
    within: 1000,
    steps: 7,
  },
];

for (const { what, hook, within, steps } of MUTATIONS) {
  test(`found: ${what}`, (t) => {
    const { finding, sequences } = simulate({ seed: 17, sequences: within, hook });
    assert.ok(finding !== null, `not found in ${within} sequences`);
    t.diagnostic(`after ${sequences} sequences, ${finding.steps.length} steps: ${finding.steps.join('; ')}`);
    assert.ok(finding.steps.length <= steps, finding.steps.join('\n'));
    // It fails again by its name and as printed, and does not without the defect.
    const index = Number(finding.replay.split(':')[1]);
    const again = simulate({ seed: 17, sequences: 1, from: index, hook });
    assert.deepEqual(again.finding, finding);
    const healthy = new Simulation(new Coverage());
    assert.equal(replay(healthy, parametersOf(index), finding.sequence), null);
    assert.deepEqual(finding.sequence.map(stepText), finding.steps);
  });
}
