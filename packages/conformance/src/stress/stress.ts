/**
 * Many threads of one enclave and the guest's kernel work on the same pages at once, at random but told by a seed. What
 * may come out of each operation is what the manual allows in some order of them; nobody may wait for ever.
 */
import assert from 'node:assert/strict';
import {
  ENCLS,
  ENCLU,
  PT_REG,
  PT_TCS,
  PT_TRIM,
  SECINFO,
  SECINFO_MODIFIED,
  SECINFO_PENDING,
  SECINFO_PR,
  SECINFO_R,
  SECINFO_W,
  SECINFO_X,
  SGX_ERROR,
  sgxErrorName,
  VECTOR,
} from '@nestedsgx/arch';
import { SgxIoctlError } from '@nestedsgx/guest';
import type { SigningKey } from '@nestedsgx/image/node';
import type { SoftwarePlatform } from '../platforms/software.js';
import { AT, REG_R } from '../probe/image.js';
import { OP } from '../probe/probe.js';
import { type Command, type CommandResult, Crew } from './crew.js';
import { Random } from './random.js';

const PAGE = 4096;
const THREADS = 4;
/** Pages that everybody works on. */
const SHARED = 12;
/** SECINFOs that threads use, one after another on a page of their own. */
const SECINFOS = AT.CONSTANT + PAGE;
const REG = PT_REG << 8;
const FLAGS: readonly number[] = [
  SECINFO_R | SECINFO_W | SECINFO_PENDING | REG,
  SECINFO_R | SECINFO_PR | REG,
  SECINFO_R | SECINFO_W | SECINFO_PR | REG,
  SECINFO_PR | REG,
  SECINFO_MODIFIED | (PT_TRIM << 8),
  SECINFO_MODIFIED | (PT_TCS << 8),
  SECINFO_R | REG,
  SECINFO_R | SECINFO_W | REG,
  SECINFO_R | SECINFO_X | REG,
];
/** Longest time without any script coming through, in milliseconds. */
const PATIENCE_MS = 30_000;
/** Time for threads to finish after a failure. */
const GRACE_MS = 5000;

/** What happened, for whoever ran it. */
export interface StressResult {
  readonly seed: number;
  readonly scripts: number;
  readonly commands: number;
  /** How often each outcome was seen: `EACCEPT SGX_PAGE_ATTRIBUTES_MISMATCH`, `STORE #PF`, `EMODPR done`. */
  readonly outcomes: Readonly<Record<string, number>>;
}

const LEAF_NAMES = new Map<number, string>(Object.entries(ENCLU).map(([name, number]) => [number, name]));
const OP_NAMES = new Map<number, string>(Object.entries(OP).map(([name, number]) => [number, name]));
const VECTOR_NAMES = new Map<number, string>(Object.entries(VECTOR).map(([name, n]) => [n, `#${name}`]));

/** Codes that a leaf may return here. */
const ALLOWED: ReadonlyMap<number, readonly number[]> = new Map([
  [ENCLU.EACCEPT, [0, SGX_ERROR.SGX_PAGE_ATTRIBUTES_MISMATCH, SGX_ERROR.SGX_NOT_TRACKED]],
  [ENCLU.EACCEPTCOPY, [0, SGX_ERROR.SGX_PAGE_ATTRIBUTES_MISMATCH]],
  // A request of zeros asks for the EINIT token key.
  [ENCLU.EGETKEY, [SGX_ERROR.SGX_INVALID_ATTRIBUTE]],
]);

/**
 * Works for `seconds`, then lets every thread finish.
 * @throws AssertionError for an outcome that no order of the operations allows, and when nothing moves any more
 */
export async function stress(
  platform: SoftwarePlatform,
  key: SigningKey,
  options: { seconds: number; seed: number },
): Promise<StressResult> {
  const table = new Uint8Array(PAGE);
  FLAGS.forEach((flags, i) => {
    table.set(SECINFO.encode({ FLAGS: BigInt(flags) }), i * SECINFO.size);
  });
  const extra = [{ offset: SECINFOS, data: table, flags: REG_R, measured: true }];
  const crew = new Crew(platform.device, key, { threads: THREADS, extra }, THREADS + 1);
  const outcomes: Record<string, number> = {};
  const count = (what: string) => {
    outcomes[what] = (outcomes[what] ?? 0) + 1;
  };
  const state = { scripts: 0, commands: 0, moved: Date.now(), over: false };
  const end = Date.now() + options.seconds * 1000;
  const work = async (thread: number) => {
    const random = new Random(options.seed * 31 + thread + 1);
    while (Date.now() < end && !state.over) {
      const script = Array.from({ length: 1 + random.next(20) }, () => command(crew, random));
      const results = await crew.run(thread, script);
      results.forEach((result, i) => {
        count(judge(script[i], result));
      });
      state.scripts++;
      state.commands += script.length;
      state.moved = Date.now();
    }
  };
  const kernel = async () => {
    const random = new Random(options.seed * 31);
    while (Date.now() < end && !state.over) {
      for (let i = 0; i < 4; i++) count(kernelStep(crew, random));
      await new Promise((resolve) => setTimeout(resolve, random.next(3)));
    }
  };
  let watch: NodeJS.Timeout | undefined;
  const stuck = new Promise<never>((_, reject) => {
    watch = setInterval(() => {
      if (Date.now() - state.moved > PATIENCE_MS)
        reject(new assert.AssertionError({ message: `nothing moves any more (seed ${options.seed})` }));
    }, 500);
  });
  const running = [...Array.from({ length: THREADS }, (_, i) => work(i)), kernel()];
  try {
    await Promise.race([Promise.all(running), stuck]);
    assert.equal(crew.file.status().state, 'running', `the enclave was lost (seed ${options.seed})`);
  } finally {
    clearInterval(watch);
    state.over = true;
    // Threads of a run that failed finish their scripts, or are thrown out with the enclave.
    await Promise.race([Promise.allSettled(running), later(GRACE_MS)]);
    await crew.close();
  }
  return { seed: options.seed, scripts: state.scripts, commands: state.commands, outcomes };
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

function command(crew: Crew, random: Random): Command {
  const page = crew.at(AT.FREE + random.next(SHARED) * PAGE);
  const secinfo = crew.at(SECINFOS + random.next(FLAGS.length) * SECINFO.size);
  switch (random.next(10)) {
    case 0:
      return { op: OP.ENCLU, rax: ENCLU.EMODPE, rbx: secinfo, rcx: page };
    case 1:
      return { op: OP.ENCLU, rax: ENCLU.EACCEPTCOPY, rbx: secinfo, rcx: page, rdx: crew.at(AT.DATA) };
    case 2:
    case 3:
      return { op: OP.LOAD, rbx: page };
    case 4:
    case 5:
      return { op: OP.STORE, rbx: page + 8 * random.next(512), rcx: random.next(1000) };
    case 6:
      return {
        op: OP.ENCLU,
        rax: ENCLU.EGETKEY,
        rbx: crew.at(AT.DATA + PAGE),
        rcx: crew.at(AT.DATA + 2 * PAGE),
      };
    default:
      return { op: OP.ENCLU, rax: ENCLU.EACCEPT, rbx: secinfo, rcx: page };
  }
}

/** Names the outcome of a command, having checked that it may be. */
function judge(given: Command, { status, rax, vector }: CommandResult): string {
  const leaf = given.rax ?? -1;
  const name = (given.op === OP.ENCLU ? LEAF_NAMES.get(leaf) : OP_NAMES.get(given.op)) ?? '?';
  assert.ok(status === 1 || status === 2, `${name} was never executed`);
  if (status === 2) {
    assert.ok(vector === VECTOR.PF || vector === VECTOR.GP, `${name} raised vector ${vector}`);
    return `${name} ${VECTOR_NAMES.get(vector)}`;
  }
  const allowed = given.op === OP.ENCLU ? ALLOWED.get(leaf) : undefined;
  if (allowed === undefined) return `${name} done`;
  assert.ok(allowed.includes(rax), `${name} returned ${sgxErrorName(rax)}`);
  return `${name} ${sgxErrorName(rax)}`;
}

/** One thing that a kernel does to an enclave that runs; errors of the driver are outcomes. */
function kernelStep(crew: Crew, random: Random): string {
  const offset = AT.FREE + random.next(SHARED) * PAGE;
  const { file } = crew;
  const attempt = (name: string, action: () => void): string => {
    try {
      action();
      return `${name} done`;
    } catch (error) {
      if (error instanceof SgxIoctlError) return `${name} ${error.errno}`;
      throw error;
    }
  };
  switch (random.next(7)) {
    case 0:
      return attempt('EMODPR', () =>
        file.restrictPermissions({ offset, length: PAGE, permissions: random.pick([0, 1, 3]) }),
      );
    case 1:
      return attempt('EMODT', () => file.modifyTypes({ offset, length: PAGE, pageType: PT_TRIM }));
    case 2:
      return attempt('EREMOVE of trimmed', () => file.removePages({ offset, length: PAGE }));
    case 3: {
      const frame = file.pages.has(offset) ? file.pages.frame(offset) : 0;
      if (frame <= 0) return 'EREMOVE skipped';
      const { code, fault } = crew.encls(ENCLS.EREMOVE, 0, file.secs);
      assert.equal(fault, undefined);
      assert.equal(code, SGX_ERROR.SGX_CHILD_PRESENT);
      return 'EREMOVE SGX_CHILD_PRESENT';
    }
    case 4: {
      const { code, fault } = crew.encls(ENCLS.ETRACK, 0, file.secs);
      assert.equal(fault, undefined);
      assert.ok(code === 0 || code === SGX_ERROR.SGX_PREV_TRK_INCMPL, sgxErrorName(code));
      return `ETRACK ${sgxErrorName(code)}`;
    }
    default:
      file.kick(random.next(THREADS));
      return 'kick';
  }
}
