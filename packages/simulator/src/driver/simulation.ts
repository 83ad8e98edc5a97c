/** One sequence under way: every step is executed by the model and by the monitor, and everything is compared. */
import {
  ENCLS_LEAVES,
  ENCLU_LEAVES,
  type EnclaveRecord,
  type EnclsRow,
  type EncluRow,
  type LeafOutcome,
  type MonitorState,
} from '@nestedsgx/monitor';
import { AT, BASES, OWN_FRAMES, PAGE, SWAP_PAGES } from '../layout.js';
import { type EnclsName, type EncluName, MODEL_ENCLS, MODEL_ENCLU } from '../model/leaves.js';
import { hashTag, Model, type Oracle, PagePool, PT } from '../model/model.js';
import type { Outcome } from '../model/outcome.js';
import type { ModelParameters } from '../model/parameters.js';
import type { Enclave, Entry } from '../model/state.js';
import { guestMay } from '../ports/machine.js';
import { compareState, monitorText, outcomeText, sameOutcome } from './compare.js';
import type { Coverage } from './coverage.js';
import { storeOperands } from './enclave-stores.js';
import { guestEvent } from './guest-events.js';
import { enclsOperands, encluRegisters } from './operands.js';
import { setPteStep } from './set-pte.js';
import { sigstructOf, tokenOf } from './sigstructs.js';
import type { Step } from './steps.js';
import { threadEvent } from './thread-events.js';
import { memoryOf, OWNER, World } from './world.js';

/** Replaces or watches a leaf of the monitor; for tests that plant a defect. */
export type LeafHook = (
  name: string,
  execute: () => LeafOutcome,
  s: MonitorState,
  registers: readonly [rbx: number, rcx: number, rdx: number],
) => LeafOutcome;

const ENCLS = new Map<string, EnclsRow>(ENCLS_LEAVES.map((row) => [row.name, row]));
const ENCLU = new Map<string, EncluRow>(ENCLU_LEAVES.map((row) => [row.name, row]));
const CRYPTOGRAPHIC: ReadonlySet<string> = new Set([
  'EINIT',
  'EWB',
  'ELDB',
  'ELDU',
  'ELDBC',
  'ELDUC',
  'EREPORT',
  'EGETKEY',
]);
/** Contents of pages are compared every so many steps, and at the end. */
const CONTENTS_EVERY = 8;

/** Both sides of one sequence. */
export class Simulation {
  readonly world = new World();
  readonly coverage: Coverage;
  readonly hook: LeafHook | null;
  /** Compare states after every step; without it only results. */
  compareStates = true;
  model!: Model;
  readonly #pages = new PagePool();
  #oracle!: Oracle;
  #steps = 0;

  constructor(coverage: Coverage, hook: LeafHook | null = null) {
    this.coverage = coverage;
    this.hook = hook;
  }

  /** Begins a sequence. */
  begin(p: ModelParameters): void {
    this.world.reset(p);
    this.#oracle = { sigstruct: sigstructOf(0, 0).facts, token: NO_TOKEN };
    this.model = new Model(p, this.world.machine.ram, guestMay, this.#oracle, this.#pages);
    this.#steps = 0;
  }

  /** Executes a step on both sides; what differs, or null. */
  execute(s: Step): string | null {
    const difference = this.#act(s);
    if (difference !== null) return difference;
    if (!this.compareStates) return null;
    return compareState(this.world, this.model, ++this.#steps % CONTENTS_EVERY === 0);
  }

  /** Compares everything at the end of a sequence. */
  finish(): string | null {
    const difference = compareState(this.world, this.model, true);
    if (difference !== null) return difference;
    try {
      this.world.checkInvariants();
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #act(s: Step): string | null {
    try {
      if (s.op in MODEL_ENCLS) return this.#encls(s, s.op as EnclsName);
      if (s.op in MODEL_ENCLU) return this.#enclu(s, s.op as EncluName);
      if (threadEvent(this, s)) return this.threadDifference;
      if (s.op === 'SET_PTE') return setPteStep(this, s);
      guestEvent(this, s);
      return null;
    } catch (error) {
      return `the monitor threw ${error instanceof Error ? (error.stack ?? error.message) : error}`;
    }
  }

  /** Set by thread events. */
  threadDifference: string | null = null;

  #encls(s: Step, name: EnclsName): string | null {
    const row = ENCLS.get(name);
    if (row === undefined) return null;
    const { model: m, world: w } = this;
    const { ram } = w.machine;
    const secs = m.frames[s.secs];
    const enclave = secs?.valid && secs.type === PT.SECS ? secs.enclave! : null;
    // A page keeps its address when its enclave is evicted: without one the first base stands for it.
    const { rbx, rcx, rdx } = enclsOperands(ram, s, enclave?.base ?? BASES[0]);
    const slow = CRYPTOGRAPHIC.has(name);
    const begin = slow ? performance.now() : 0;
    if (name === 'EINIT') this.#layLaunch(s, enclave);
    m.writes.length = 0;
    m.lastSealed = null;
    const expected = MODEL_ENCLS[name](m, rbx, rcx, rdx);
    w.machine.written.length = 0;
    const call = {
      big: (register: string) => BigInt(register === 'rcx' ? rbx : register === 'rdx' ? rcx : rdx),
    };
    const execute = () => row.execute(w.state, OWNER, rbx, rcx, rdx, call);
    const actual = this.hook === null ? execute() : this.hook(name, execute, w.state, [rbx, rcx, rdx]);
    this.#count(name, actual, slow, begin);
    m.refuse = null;
    w.processor.refuse = null;
    if (!sameOutcome(expected, actual)) return differs(expected, actual);
    return this.#compareWrites();
  }

  #count(name: string, actual: LeafOutcome, slow: boolean, begin: number): void {
    this.coverage.note(name, actual);
    this.coverage.calls++;
    if (!slow) return;
    this.coverage.cryptographic++;
    this.coverage.cryptographicSeconds += (performance.now() - begin) / 1000;
  }

  /** SIGSTRUCT and EINITTOKEN of the kinds that the step names, fit for the enclave. */
  #layLaunch(s: Step, enclave: Enclave | null): void {
    const { ram } = this.world.machine;
    const tag = enclave === null ? 0 : hashTag(enclave.measurement);
    const sig = sigstructOf(s.source, tag);
    ram.set(sig.bytes, AT.SIGSTRUCT);
    this.#oracle.sigstruct = sig.facts;
    const token = tokenOf(this.world.state, s.slot, {
      tag,
      flags: enclave?.flags ?? 4,
      xfrm: enclave?.xfrm ?? 3,
      signer: sig.facts.signer,
    });
    ram.set(token.bytes, AT.TOKEN);
    this.#oracle.token = token.facts;
  }

  /** What the monitor wrote to guest memory is what the model expects, and nothing else. */
  #compareWrites(): string | null {
    const { writes, lastSealed } = this.model;
    const { written, ram } = this.world.machine;
    if (writes.length === 0 && written.length === 0) return null;
    if (lastSealed !== null) {
      this.world.swapped = true;
      // Cipher text and MAC: noted, to be recognised.
      lastSealed.cipher = ram.slice(writes[0].gpa, writes[0].gpa + PAGE);
      lastSealed.pcmd.set(ram.subarray(writes[1].gpa + 112, writes[1].gpa + 128), 112);
    }
    for (const { gpa, length, bytes } of writes)
      if (bytes !== null && Buffer.compare(bytes, ram.subarray(gpa, gpa + length)) !== 0)
        return `guest memory at 0x${gpa.toString(16)} is not what the leaf should write`;
    for (let i = 0; i < written.length; i += 2) {
      const expected = writes.some(
        ({ gpa, length }) => written[i] >= gpa && written[i] + written[i + 1] <= gpa + length,
      );
      if (!expected) return `the leaf wrote guest memory at 0x${written[i].toString(16)}`;
    }
    return null;
  }

  #enclu(s: Step, name: EncluName): string | null {
    const row = ENCLU.get(name);
    if (row === undefined || row.execute === null) return null;
    const { model: m, world: w } = this;
    const enclave = this.enclaveOf(s);
    const record = enclave === null ? undefined : w.enclave(enclave.frame);
    if (enclave === null || record === undefined || record.running === null) return null;
    const thread = m.frames.find((entry) => entry.enclave === enclave && entry.inside !== 0);
    if (thread === undefined) return null;
    storeOperands(this, enclave, record, s);
    const { rbx, rcx, rdx } = encluRegisters(s, enclave.base);
    m.outputs.length = 0;
    const expected = MODEL_ENCLU[name](m, enclave, rbx, rcx, rdx);
    const execute = () => row.execute!(w.state, record, rbx, rcx, rdx);
    const slow = CRYPTOGRAPHIC.has(name);
    const begin = slow ? performance.now() : 0;
    const actual = this.hook === null ? execute() : this.hook(name, execute, w.state, [rbx, rcx, rdx]);
    this.#count(name, actual, slow, begin);
    m.refuse = null;
    w.processor.refuse = null;
    if (!sameOutcome(expected, actual)) return differs(expected, actual);
    for (const { entry, at, length } of m.outputs) {
      const page = memoryOf(record).page((entry.address - enclave.base) / PAGE);
      if (page !== undefined) entry.content!.set(page.subarray(at, at + length), at);
    }
    return null;
  }

  /** The initialized enclave that a step names by the frame of its SECS, or null. */
  enclaveOf(s: Step): Enclave | null {
    const secs = s.secs < OWN_FRAMES ? this.model.frames[s.secs] : undefined;
    return secs?.valid && secs.type === PT.SECS ? secs.enclave : null;
  }

  /** A store of an enclave's thread: it happens where the page may be written. */
  store(enclave: Enclave, record: EnclaveRecord, page: number, at: number, bytes: Uint8Array): void {
    const entry = this.writable(enclave, page);
    if (entry === null) return;
    entry.content!.set(bytes, at);
    // A store by a thread asks nobody for memory.
    const { processor } = this.world;
    const { refuse } = processor;
    processor.refuse = null;
    record.memory.write(page * PAGE + at, bytes);
    processor.refuse = refuse;
  }

  /** The page if threads can write it: settled (a blocked page keeps no translation here), PT_REG, W. */
  writable(enclave: Enclave, page: number): Entry | null {
    const entry = this.model.pageAt(enclave, enclave.base + page * PAGE);
    if (entry === null || entry.type !== PT.REG || !entry.w || (entry.pte & 2) === 0) return null;
    return entry.pending || entry.modified || entry.blocked ? null : entry;
  }

  /** The bytes of a swap page and of its PCMD in guest memory. */
  swap(index: number): { page: Uint8Array; pcmd: Uint8Array } {
    const { ram } = this.world.machine;
    const i = index % SWAP_PAGES;
    this.world.swapped = true;
    return {
      page: ram.subarray(AT.SWAP + i * PAGE, AT.SWAP + (i + 1) * PAGE),
      pcmd: ram.subarray(AT.PCMD + i * 128, AT.PCMD + (i + 1) * 128),
    };
  }
}

const NO_TOKEN: Oracle['token'] = {
  valid: false,
  debugLauncher: false,
  reservedZero: true,
  cpuSvnRight: true,
  macRight: true,
  hash: 0,
  signer: 0,
  attributes: 0,
};

function differs(expected: Outcome, actual: LeafOutcome): string {
  const row = actual.list === null ? '' : ` (${actual.list.leaf}.${actual.list.rows[actual.check].id})`;
  return `result: model ${outcomeText(expected)}, monitor ${monitorText(actual)}${row}`;
}
