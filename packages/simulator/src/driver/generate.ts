/** Random sequences: the next step is chosen with the model's state in sight, so that arguments collide and fit often. */
import { AT, ELRANGE_PAGES, OUTSIDE, OWN_FRAMES, PAGE, SOURCE, SOURCES, SWAP_PAGES } from '../layout.js';
import { type Model, PT } from '../model/model.js';
import { DEFAULT_PARAMETERS, type ModelParameters } from '../model/parameters.js';
import type { Enclave, Entry } from '../model/state.js';
import type { Random } from '../random.js';
import { beginning, TCS_FLAGS } from './beginnings.js';
import { SLOTS_USED } from './compare.js';
import { REQUEST_KINDS } from './enclave-stores.js';
import { TAMPER_KINDS } from './guest-events.js';
import { SIGSTRUCT_KINDS, TOKEN_KINDS } from './sigstructs.js';
import { SECS_ALL, SECS_GOOD } from './sources.js';
import { type Op, type Step, step, TWISTS_OF } from './steps.js';
import { AFTER_REFUSE, BUILDING, LOADS, RUNNING, type Weights } from './weights.js';

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
    this.#prefix = beginning(random, pinned);
    this.length = this.#prefix.length + 22 + random.below(28);
  }

  /** The next step, or null at the end. */
  next(m: Model): Step | null {
    if (this.#made >= this.length) return null;
    const prepared = this.#prefix[this.#made++];
    return prepared === undefined ? this.#choose(m) : { ...prepared };
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

  #weighted(table: Weights): Op {
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
      case 'EACCEPT_RANGE':
        this.#accept(m, s);
        s.slot = r.oneIn(20) ? r.pick([0, 1024, 1025]) : 1 + r.below(3);
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
      case 'SET_PTE':
        s.page = this.#pageWhere(m, s, (e) => e.type !== PT.VA);
        s.flags = r.oneIn(2) ? 7 : r.below(8);
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
