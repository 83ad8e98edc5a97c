import { PT_VA } from '@nestedsgx/arch';
import { EBLOCK_CHECKS, eblock } from '../src/encls/eblock.js';
import { ELDB_CHECKS, eldb } from '../src/encls/eldb.js';
import { ELDBC_CHECKS, eldbc } from '../src/encls/eldbc.js';
import { ELDU_CHECKS, eldu } from '../src/encls/eldu.js';
import { ELDUC_CHECKS, elduc } from '../src/encls/elduc.js';
import { EPA_CHECKS, epa } from '../src/encls/epa.js';
import { ETRACK_CHECKS, etrack } from '../src/encls/etrack.js';
import { ETRACKC_CHECKS, etrackc } from '../src/encls/etrackc.js';
import { EWB_CHECKS, ewb } from '../src/encls/ewb.js';
import type { LeafOutcome } from '../src/index.js';
import { runCasesIn } from './support/cases.js';
import { FakeOsError } from './support/fake-machine.js';
import { contentsAt, PagingWorld, PCMDS, pcmdAt, slotAt, VA } from './support/paging-world.js';
import { AT, BASE, gpaOf, must, REG_RW } from './support/world.js';

const world = () => new PagingWorld();

runCasesIn(world, EPA_CHECKS, {
  'type-and-alignment': (w) => epa(w.s, w.owner, PT_VA + 1, gpaOf(41)),
  'page-in-epc': (w) => epa(w.s, w.owner, PT_VA, 0x3000),
  'page-owned': (w) => w.va(50),
  'page-free': (w) => w.va(VA),
});

runCasesIn(world, EBLOCK_CHECKS, {
  'page-aligned': (w) => eblock(w.s, w.owner, 0, gpaOf(4) + 8),
  'page-in-epc': (w) => eblock(w.s, w.owner, 0, 0x3000),
  'page-owned': (w) => w.block(50),
  'page-valid': (w) => w.block(4),
  'not-secs': (w) => {
    w.build();
    return w.block(0);
  },
  blockable: (w) => w.block(VA),
  'not-blocked': (w) => {
    w.build();
    must(w.block(4));
    return w.block(4);
  },
});

/** Two tracking cycles around a thread that stays inside. */
function stuck(w: PagingWorld): void {
  w.running().running.enter(0);
  must(w.track());
}

runCasesIn(world, ETRACK_CHECKS, {
  'secs-aligned': (w) => etrack(w.s, w.owner, 0, gpaOf(0) + 1),
  'secs-in-epc': (w) => etrack(w.s, w.owner, 0, 0x3000),
  'secs-owned': (w) => w.track(50),
  'secs-valid': (w) => w.track(9),
  'secs-type': (w) => {
    w.build();
    return w.track(4);
  },
  'previous-complete': (w) => {
    stuck(w);
    return w.track();
  },
});

const trackc = (w: PagingWorld, frame: number) => etrackc(w.s, w.owner, 0, gpaOf(frame));

runCasesIn(world, ETRACKC_CHECKS, {
  'page-aligned': (w) => etrackc(w.s, w.owner, 0, gpaOf(0) + 1),
  'page-in-epc': (w) => etrackc(w.s, w.owner, 0, 0x3000),
  'page-owned': (w) => trackc(w, 50),
  'page-valid': (w) => trackc(w, 4),
  'tracked-type': (w) => trackc(w, VA),
  'previous-complete': (w) => {
    w.running().running.enter(0);
    must(trackc(w, 4));
    return trackc(w, 0);
  },
});

interface Operands {
  rbx?: number;
  rcx?: number;
  rdx?: number;
  linaddr?: number;
  contents?: number;
  pcmd?: number;
  secs?: number;
  at?: number;
}

/** EWB of page 4, which is blocked and tracked, with operands changed. */
function write(w: PagingWorld, o: Operands, before: () => void = () => {}): LeafOutcome {
  w.build();
  must(w.block(4));
  must(w.track());
  before();
  w.pageinfo(o.linaddr ?? 0, o.contents ?? contentsAt(1), o.pcmd ?? pcmdAt(1), o.secs ?? 0, o.at);
  return ewb(w.s, w.owner, o.rbx ?? o.at ?? AT.PAGEINFO, o.rcx ?? gpaOf(4), o.rdx ?? slotAt(1));
}

runCasesIn(world, EWB_CHECKS, {
  'pageinfo-page-aligned': (w) => write(w, { rbx: AT.PAGEINFO + 8 }),
  'page-in-epc': (w) => write(w, { rcx: 0x3000 }),
  'page-owned': (w) => write(w, { rcx: gpaOf(50) }),
  'slot-aligned': (w) => write(w, { rdx: slotAt(1) + 4 }),
  'slot-in-epc': (w) => write(w, { rdx: 0x3000 }),
  'slot-owned': (w) => write(w, { rdx: gpaOf(50) }),
  'slot-elsewhere': (w) => write(w, { rdx: gpaOf(4) + 8 }),
  'pageinfo-readable': (w) => write(w, { rbx: w.machine.ram.length }),
  'linaddr-secs-zero': (w) => write(w, { linaddr: BASE + 0x4000 }),
  'outputs-aligned': (w) => write(w, { pcmd: pcmdAt(1) + 64 }),
  'page-valid': (w) => write(w, { rcx: gpaOf(9) }),
  'slot-valid': (w) => write(w, { rdx: gpaOf(9) }),
  'page-blocked': (w) => write(w, { rcx: gpaOf(5) }),
  'page-tracked': (w) => {
    w.build();
    must(w.track());
    must(w.block(4));
    return w.ewb(4, 1);
  },
  'no-children': (w) => write(w, { rcx: gpaOf(0) }),
  'contents-writable': (w) => write(w, { contents: gpaOf(4) }),
  'pcmd-writable': (w) => write(w, {}, () => w.machine.denied.add(PCMDS / 4096)),
  'pageinfo-writable': (w) => {
    // A page that may be read and not written.
    const { check } = w.machine.rmp;
    const readOnly = {
      check: (v: number, gpa: number, n: number) => check(v, gpa === AT.PAGEINFO ? -1 : gpa, n),
    };
    return write(w, {}, () => Object.assign(w.machine, { rmp: readOnly }));
  },
  'slot-empty': (w) =>
    write(w, {}, () => {
      must(w.block(5));
      must(w.track());
      must(w.ewb(5, 1));
    }),
});

type Eld = typeof eldu;

/** ELD of page 4, which was evicted into slot 1, into frame 8. */
function read(leaf: Eld, w: PagingWorld, o: Operands, before: () => void = () => {}): LeafOutcome {
  w.build();
  w.out(4, 1);
  before();
  w.pageinfo(
    o.linaddr ?? BASE + 0x4000,
    o.contents ?? contentsAt(1),
    o.pcmd ?? pcmdAt(1),
    o.secs ?? gpaOf(0),
  );
  return leaf(w.s, w.owner, o.rbx ?? AT.PAGEINFO, o.rcx ?? gpaOf(8), o.rdx ?? slotAt(1));
}

for (const [list, leaf] of [
  [ELDB_CHECKS, eldb],
  [ELDU_CHECKS, eldu],
  [ELDBC_CHECKS, eldbc],
  [ELDUC_CHECKS, elduc],
] as const) {
  const eld = (w: PagingWorld, o: Operands, before?: () => void) => read(leaf, w, o, before);
  runCasesIn(world, list, {
    'pageinfo-page-aligned': (w) => eld(w, { rbx: AT.PAGEINFO + 8 }),
    'page-in-epc': (w) => eld(w, { rcx: 0x3000 }),
    'page-owned': (w) => eld(w, { rcx: gpaOf(50) }),
    'slot-aligned': (w) => eld(w, { rdx: slotAt(1) + 4 }),
    'slot-in-epc': (w) => eld(w, { rdx: 0x3000 }),
    'slot-owned': (w) => eld(w, { rdx: gpaOf(50) }),
    'pageinfo-readable': (w) => eld(w, { rbx: w.machine.ram.length }),
    'sources-aligned': (w) => eld(w, { contents: contentsAt(1) + 128 }),
    'page-free': (w) => eld(w, { rcx: gpaOf(5) }),
    'slot-valid': (w) => eld(w, { rdx: gpaOf(5) }),
    'pcmd-readable': (w) => eld(w, { pcmd: w.machine.ram.length }),
    'secs-aligned': (w) => eld(w, { secs: gpaOf(0) + 1 }),
    'secs-in-epc': (w) => eld(w, { secs: 0x3000 }),
    'secs-owned': (w) => eld(w, { secs: gpaOf(50) }),
    'secs-valid': (w) => eld(w, { secs: gpaOf(5) }),
    'source-readable': (w) => eld(w, { contents: w.machine.ram.length }),
    mac: (w) => eld(w, { linaddr: BASE + 0x7000 }),
    'linaddr-free': (w) =>
      eld(w, {}, () => {
        must(w.add(7, BASE + 0x4000, REG_RW, 0));
      }),
    'memory-available': (w) =>
      eld(w, {}, () => {
        w.enclave().memory.write = () => {
          throw new FakeOsError('no memory');
        };
      }),
  });
}
