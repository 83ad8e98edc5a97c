/** Random sequences: the next step is chosen with the model's state in sight, so that arguments collide and fit often. */
import { AT, ELRANGE_PAGES, OUTSIDE, OWN_FRAMES, PAGE, SOURCE, SOURCES, SWAP_PAGES } from '../layout.js';
import { type Model, PT } from '../model/model.js';
import { DEFAULT_PARAMETERS, type ModelParameters } from '../model/parameters.js';
import type { Enclave, Entry } from '../model/state.js';
import type { Random } from '../random.js';
import { SLOTS_USED } from './compare.js';
import { REQUEST_KINDS } from './enclave-stores.js';
import { TAMPER_KINDS } from './guest-events.js';
import { SIGSTRUCT_KINDS, TOKEN_KINDS } from './sigstructs.js';
import { SECS_ALL, SECS_GOOD } from './sources.js';
import { type Op, type Step, step, TWISTS_OF } from './steps.js';

/** How a sequence begins. */
type Start = 'empty' | 'built' | 'running';

/** The kind of SECS whose SSA frames have two pages. */
const WIDE_FRAMES = 7;
/** The kind with KSS and a CONFIGSVN. */
const KSS = 2;
const RW = 0x203;
const TCS_FLAGS = 0x100;

/** Operations and how often they come while no enclave is initialized, and while one is. */
const BUILDING: readonly (readonly [Op, number])[] = [
  ['ECREATE', 10],
  ['EADD', 30],
  ['EEXTEND', 12],
  ['EINIT', 8],
  ['GATES', 4],
  ['AUTHORIZE', 2],
  ['EREMOVE', 8],
  ['EPA', 4],
  ['EBLOCK', 4],
  ['ETRACK', 2],
  ['ETRACKC', 2],
  ['EWB', 4],
  ['ELDU', 3],
  ['ERDINFO', 3],
  ['EDBGRD', 3],
  ['EDBGWR', 2],
  ['EENTER', 2],
  ['EAUG', 1],
  ['EMODPR', 1],
  ['EMODT', 1],
  ['TAMPER', 1],
  ['REFUSE', 1],
  ['EUPDATESVN', 1],
];
const RUNNING: readonly (readonly [Op, number])[] = [
  ['ECREATE', 2],
  ['EADD', 2],
  ['EEXTEND', 1],
  ['EINIT', 1],
  ['EREMOVE', 7],
  ['EPA', 4],
  ['EBLOCK', 14],
  ['ETRACK', 8],
  ['ETRACKC', 4],
  ['EWB', 12],
  ['ELDB', 3],
  ['ELDU', 6],
  ['ELDBC', 2],
  ['ELDUC', 3],
  ['EAUG', 12],
  ['EMODPR', 8],
  ['EMODT', 10],
  ['ERDINFO', 4],
  ['EDBGRD', 4],
  ['EDBGWR', 3],
  ['EREPORT', 2],
  ['EGETKEY', 4],
  ['EACCEPT', 20],
  ['EMODPE', 6],
  ['EACCEPTCOPY', 8],
  ['EENTER', 14],
  ['ERESUME', 5],
  ['EEXIT', 5],
  ['AEX', 6],
  ['EDECCSSA', 4],
  ['STORE', 4],
  ['TAMPER', 2],
  ['REFUSE', 2],
  ['EUPDATESVN', 1],
  ['EVERIFYREPORT2', 1],
];
/** A page is added, accepted, filled, and made a TCS, which the thread accepts: a thread more (page 12). */
function growth(r: Random): Step[] {
  const spoil = step('STORE', { page: 12, slot: r.pick([1, 3, 5, 9, 100]), source: r.pick([1, 2, 4, 255]) });
  return [
    step('EAUG', { frame: 12, page: 12 }),
    step('EACCEPT', { source: 4, page: 12, flags: 0x20b }),
    step('STORE', { page: 12 }),
    ...(r.oneIn(3) ? [spoil] : []),
    step('EMODT', { frame: 12, flags: 0x100 }),
    step('ETRACK'),
    step('AEX', { page: 1 }),
    step('ERESUME', { page: 1 }),
    step('EACCEPT', { source: 4, page: 12, flags: 0x110 }),
  ];
}

/** Some pages are evicted. */
function paging(r: Random): Step[] {
  const frames = r.pick([
    [5, 6],
    [4, 5, 6],
    [1, 5],
  ]);
  const leave = frames.includes(1) ? step('EEXIT', { page: 1 }) : step('AEX', { page: 1 });
  return [
    ...frames.map((frame) => step('EBLOCK', { frame })),
    leave,
    step('ETRACK'),
    ...frames.map((frame, i) => step('EWB', { frame, va: 8, slot: i, source: i })),
    step(r.oneIn(2) ? 'ERESUME' : 'EENTER', { page: 1 }),
  ];
}

const LOADS: readonly Op[] = ['ELDB', 'ELDU', 'ELDBC', 'ELDUC'];
/** What is tried after the processor was told to refuse: by what it refuses. */
const AFTER_REFUSE: readonly (readonly Op[])[] = [['ECREATE'], ['EINIT'], ['EADD', 'EAUG', ...LOADS]];

/** Parameters of sequence `index`: most run on the default platform, some on one that pins a signer. */
export function parametersOf(index: number): ModelParameters {
  return { ...DEFAULT_PARAMETERS, launchSigner: index % 16 === 5 ? 0 : null };
}

/** Chooses the steps of one sequence. */
export class Generator {
  readonly #random: Random;
  readonly #prefix: Step[];
  readonly length: number;
  readonly #pinned: boolean;
  #made = 0;
  #refused = -1;

  /** `pinned`: the platform pins a signer. */
  constructor(random: Random, pinned = false) {
    this.#random = random;
    this.#pinned = pinned;
    const start = random.pick<Start>(['empty', 'built', 'running', 'running', 'running', 'running']);
    this.#prefix = this.#begin(start);
    this.length = this.#prefix.length + 22 + random.below(28);
  }

  /** The next step, or null at the end. */
  next(m: Model): Step | null {
    if (this.#made >= this.length) return null;
    const prepared = this.#prefix[this.#made++];
    return prepared === undefined ? this.#choose(m) : { ...prepared };
  }

  /** A thread (page 1), its SSA frames (pages 2 and 3), data (4, 5), code (6); then a version array. */
  #begin(start: Start): Step[] {
    if (start === 'empty') return [];
    const r = this.#random;
    const kind = this.#pinned ? r.pick([1, 4]) : r.oneIn(3) ? r.below(SECS_GOOD) : 1;
    const pages = [
      step('EADD', { frame: 1, page: 1, flags: TCS_FLAGS, source: SOURCE.TCS }),
      step('EADD', { frame: 2, page: 2, flags: RW }),
      step('EADD', { frame: 3, page: 3, flags: RW }),
      step('EADD', { frame: 4, page: 4, flags: RW, source: SOURCE.PATTERN }),
      step('EADD', { frame: 5, page: 5, flags: r.pick([0x201, RW]) }),
      step('EADD', { frame: 6, page: 6, flags: r.pick([0x205, 0x207]), source: SOURCE.PATTERN }),
    ];
    if (r.oneIn(2)) {
      const source = r.oneIn(2) ? SOURCE.TCS + r.below(SOURCES - SOURCE.TCS) : SOURCE.TCS_ONE;
      pages.push(step('EADD', { frame: 7, page: 7, flags: TCS_FLAGS, source }));
    }
    const out = [step('ECREATE', { frame: 0, source: kind, page: r.below(2) }), ...pages];
    out.push(step('GATES', { slot: 1 }), step('AUTHORIZE'));
    if (start === 'running') {
      out.push(step('EINIT'), step('EENTER', { page: 1 }), step('EPA', { frame: 8 }));
      if (r.oneIn(3)) out.push(step('EAUG', { frame: 9, page: 8 }));
    }
    if (start === 'running') out.push(...this.#scenario(kind));
    return out;
  }

  /** How it goes on once a thread is inside. */
  #scenario(kind: number): Step[] {
    const r = this.#random;
    const nested = [step('AEX', { page: 1 }), step('EENTER', { page: 1 })];
    if (kind === WIDE_FRAMES) {
      // The page of GPRSGX of the frame below.
      const back = r.pick([
        [step('EDECCSSA', { page: 1 })],
        [step('AEX', { page: 1 }), step('ERESUME', { page: 1 })],
        [step('EEXIT', { page: 1 }), step('ERESUME', { page: 1 })],
      ]);
      return r.oneIn(2) ? [...nested, step('EBLOCK', { frame: r.pick([2, 3]) }), ...back] : nested;
    }
    if (kind === KSS && r.oneIn(3)) {
      const requests = [5, 6].map((beyond) =>
        step('EGETKEY', { source: 4, page: 4, flags: 4 | (beyond << 4) }),
      );
      return requests;
    }
    switch (r.below(6)) {
      case 0:
        return nested;
      case 1:
        return growth(r);
      case 2:
      case 3:
        return paging(r);
      default:
        return [];
    }
  }

  #choose(m: Model): Step {
    const r = this.#random;
    const running = m.enclaves.some((e) => e.initialized);
    const after = this.#refused;
    const op =
      after >= 0 ? r.pick(AFTER_REFUSE[after]) : this.#weighted(running && !r.oneIn(12) ? RUNNING : BUILDING);
    const made = step(this.#possible(m, op));
    this.#arguments(m, made);
    this.#refused = made.op === 'REFUSE' ? made.source : -1;
    const twists = TWISTS_OF[made.op];
    if (twists !== undefined && after < 0 && r.oneIn(LOADS.includes(made.op) ? 3 : 8))
      made.twist = r.pick(twists);
    return made;
  }

  /** Loading comes seldom where nothing was evicted. */
  #possible(m: Model, op: Op): Op {
    const r = this.#random;
    const load = op.startsWith('ELD');
    if (r.oneIn(6) || (!load && !r.oneIn(5))) return op;
    const evicted = m.frames.some((e) =>
      e.slots?.some((sealed, slot) => slot < SLOTS_USED && Boolean(sealed)),
    );
    if (!evicted) return load ? r.pick<Op>(['EBLOCK', 'ETRACK', 'EWB']) : op;
    return load && this.#refused < 0 ? op : r.pick(LOADS);
  }

  #weighted(table: readonly (readonly [Op, number])[]): Op {
    let total = 0;
    for (const [, weight] of table) total += weight;
    let at = this.#random.below(total);
    for (const [op, weight] of table) {
      at -= weight;
      if (at < 0) return op;
    }
    return table[0][0];
  }

  #arguments(m: Model, s: Step): void {
    const r = this.#random;
    s.frame = this.#anyFrame();
    s.secs = this.#secs(m);
    s.page = r.below(10);
    switch (s.op) {
      case 'ECREATE':
        s.frame = this.#free(m);
        s.source = r.oneIn(3) ? r.below(SECS_ALL) : r.below(SECS_GOOD);
        s.page = r.below(2);
        break;
      case 'EADD':
        s.frame = this.#free(m);
        s.flags = r.oneIn(4) ? TCS_FLAGS | r.below(8) : 0x200 | r.below(64);
        s.source = r.oneIn(2) ? SOURCE.TCS : r.below(SOURCES);
        if (r.oneIn(20)) s.flags = r.below(6) << 8;
        break;
      case 'EEXTEND':
        s.frame = this.#child(m, s);
        s.slot = r.below(16);
        break;
      case 'EINIT':
        s.source = r.oneIn(2) ? 0 : r.below(SIGSTRUCT_KINDS.length);
        if (this.#pinned && r.oneIn(2)) s.source = SIGSTRUCT_KINDS.indexOf('other-signer');
        s.slot = r.oneIn(3) ? r.below(TOKEN_KINDS.length) : 0;
        break;
      case 'EREMOVE':
      case 'ERDINFO':
      case 'EBLOCK':
        s.frame = r.oneIn(4) ? this.#anyFrame() : this.#child(m, s);
        break;
      case 'EPA':
        s.frame = this.#free(m);
        break;
      case 'ETRACK':
        s.frame = r.oneIn(6) ? this.#anyFrame() : s.secs;
        break;
      case 'ETRACKC':
        s.frame = r.oneIn(4) ? this.#anyFrame() : this.#child(m, s);
        break;
      case 'EWB':
        this.#evict(m, s);
        break;
      case 'ELDB':
      case 'ELDU':
      case 'ELDBC':
      case 'ELDUC':
        this.#load(m, s);
        break;
      case 'EAUG':
        s.frame = this.#free(m);
        s.page = r.below(ELRANGE_PAGES);
        // Where an evicted page belongs.
        if (r.oneIn(4)) s.page = r.pick([1, 4, 5, 6]);
        break;
      case 'EMODPR':
        s.frame = r.oneIn(8) ? this.#anyFrame() : this.#child(m, s);
        s.flags = 0x200 | r.below(8);
        break;
      case 'EMODT':
        s.frame = r.oneIn(8) ? this.#anyFrame() : this.#child(m, s);
        s.flags = r.pick([0x100, 0x400, 0x400, 0x100, 0x200, 0x000]);
        break;
      case 'EDBGRD':
      case 'EDBGWR':
        s.frame = r.oneIn(5) ? this.#anyFrame() : this.#child(m, s);
        s.slot = r.oneIn(3) ? r.below(512) : r.below(10);
        s.source = r.below(256);
        if (s.op === 'EDBGWR' && m.frames[s.frame]?.type === PT.TCS && !r.oneIn(3)) {
          s.slot = 1;
          s.source = r.below(8);
        }
        break;
      default:
        this.#more(m, s);
        break;
    }
  }

  #more(m: Model, s: Step): void {
    const r = this.#random;
    s.source = r.oneIn(6) ? r.below(10) : 4;
    s.va = r.oneIn(3) ? r.below(10) : 4;
    switch (s.op) {
      case 'EREPORT':
        if (!r.oneIn(3)) s.page = 4;
        break;
      case 'EGETKEY':
        if (!r.oneIn(3)) s.page = 4;
        // SEAL and PROVISION_SEAL alone look at CONFIGSVN.
        s.flags = (r.oneIn(2) ? 4 : r.below(6)) | (r.below(REQUEST_KINDS) << 4);
        break;
      case 'EACCEPT':
        this.#accept(m, s);
        break;
      case 'EMODPE':
        s.flags = 0x200 | r.below(8);
        if (r.oneIn(2)) {
          s.page = this.#pageWhere(m, s, (e) => e.pr && !e.r);
          s.flags &= r.pick([0x202, 0x207]);
        }
        break;
      case 'EACCEPTCOPY':
        s.page = this.#pageWhere(m, s, (e) => e.pending);
        s.flags = r.pick([0x201, 0x203, 0x207, 0x205, 0x202, 0x103]);
        break;
      case 'EENTER':
      case 'ERESUME':
      case 'EEXIT':
      case 'AEX':
      case 'EDECCSSA':
        s.page = this.#pageWhere(m, s, (e) => e.type === PT.TCS);
        break;
      case 'STORE':
        s.slot = r.oneIn(2) ? 0 : r.below(512);
        s.source = s.slot === 0 ? 0 : 1 + r.below(255);
        s.page = this.#pageWhere(m, s, (e) => e.w);
        break;
      case 'TAMPER':
        s.source = r.below(SWAP_PAGES);
        s.flags = r.below(TAMPER_KINDS);
        s.slot = r.below(SWAP_PAGES);
        break;
      case 'GATES':
        s.slot = r.oneIn(4) ? 0 : 1;
        break;
      case 'REFUSE':
        s.source = r.below(3);
        break;
      default:
        break;
    }
  }

  /** What the page waits for, most often. */
  #accept(m: Model, s: Step): void {
    const r = this.#random;
    s.page = this.#pageWhere(m, s, (e) => e.pending || e.modified || e.pr);
    const enclave = this.#enclave(m, s);
    const entry = enclave === null ? null : m.pageAt(enclave, enclave.base + s.page * PAGE);
    if (entry === null || r.oneIn(6)) {
      s.flags = r.pick([0x20b, 0x221, 0x110, 0x410, 0x203, 0x213]);
      return;
    }
    s.flags =
      (entry.type << 8) |
      (entry.r ? 1 : 0) |
      (entry.w ? 2 : 0) |
      (entry.x ? 4 : 0) |
      (entry.pending ? 8 : 0) |
      (entry.modified ? 16 : 0) |
      (entry.pr ? 32 : 0);
    if (r.oneIn(10)) s.flags ^= 1 << r.below(3);
  }

  #evict(m: Model, s: Step): void {
    const r = this.#random;
    const blocked = this.#frameWhere(m, (e) => e.blocked);
    s.frame = blocked >= 0 && !r.oneIn(4) ? blocked : this.#anyFrame();
    s.va = this.#va(m);
    s.slot = r.below(SLOTS_USED);
    s.source = r.below(SWAP_PAGES);
  }

  /** A page that was evicted, to where it belongs, most often. */
  #load(m: Model, s: Step): void {
    const r = this.#random;
    s.frame = this.#free(m);
    s.va = this.#va(m);
    s.slot = r.below(SLOTS_USED);
    s.source = r.below(SWAP_PAGES);
    const slots = m.frames[s.va]?.slots;
    for (let n = 0; slots && !slots[s.slot] && n < SLOTS_USED; n++) s.slot = (s.slot + 1) % SLOTS_USED;
    const sealed = slots?.[s.slot];
    if (!sealed || r.oneIn(8)) return;
    s.source = (sealed.gpa - AT.SWAP) / PAGE;
    const enclave = m.enclaves.find((e) => e.eid === sealed.eid);
    s.page = enclave === undefined ? -1 : (sealed.address - enclave.base) / PAGE;
    if (enclave !== undefined && enclave.frame >= 0 && !r.oneIn(10)) s.secs = enclave.frame;
    else if (r.oneIn(2)) s.secs = this.#anyFrame();
  }

  #anyFrame(): number {
    const r = this.#random;
    if (r.oneIn(40)) return OUTSIDE;
    if (r.oneIn(40)) return OWN_FRAMES + r.below(2);
    return r.below(OWN_FRAMES);
  }

  #free(m: Model): number {
    if (this.#random.oneIn(10)) return this.#anyFrame();
    const from = this.#random.below(OWN_FRAMES);
    for (let i = 0; i < OWN_FRAMES; i++) {
      const frame = (from + i) % OWN_FRAMES;
      if (!m.frames[frame].valid) return frame;
    }
    return from;
  }

  #frameWhere(m: Model, holds: (e: Entry) => boolean): number {
    const from = this.#random.below(OWN_FRAMES);
    for (let i = 0; i < OWN_FRAMES; i++) {
      const frame = (from + i) % OWN_FRAMES;
      if (m.frames[frame].valid && holds(m.frames[frame])) return frame;
    }
    return -1;
  }

  #secs(m: Model): number {
    if (this.#random.oneIn(25)) return this.#anyFrame();
    const frame = this.#frameWhere(m, (e) => e.type === PT.SECS);
    return frame >= 0 ? frame : 0;
  }

  #va(m: Model): number {
    if (this.#random.oneIn(25)) return this.#anyFrame();
    const frame = this.#frameWhere(m, (e) => e.type === PT.VA);
    return frame >= 0 ? frame : this.#anyFrame();
  }

  /** A frame of the enclave that the step names. */
  #child(m: Model, s: Step): number {
    const enclave = this.#enclave(m, s);
    const frame = this.#frameWhere(m, (e) => e.enclave === enclave && e.type !== PT.SECS);
    return frame >= 0 ? frame : this.#anyFrame();
  }

  #enclave(m: Model, s: Step): Enclave | null {
    const secs = m.frames[s.secs];
    return secs?.valid && secs.type === PT.SECS ? secs.enclave : null;
  }

  #pageWhere(m: Model, s: Step, holds: (e: Entry) => boolean): number {
    const enclave = this.#enclave(m, s);
    if (enclave === null || this.#random.oneIn(10)) return this.#random.below(10);
    const frame = this.#frameWhere(m, (e) => e.enclave === enclave && e.type !== PT.SECS && holds(e));
    return frame < 0 ? this.#random.below(10) : (m.frames[frame].address - enclave.base) / PAGE;
  }
}
