/** From a step to registers and operand structures in guest memory or in the enclave. */
import { AT, BASES, EPC_BASE, FRAMES, frameGpa, OWN_FRAMES, PAGE } from '../layout.js';
import { secsPage } from './sources.js';
import { type Step, TWISTS, type Twist } from './steps.js';

/** RBX, RCX, RDX. */
export interface Registers {
  rbx: number;
  rcx: number;
  rdx: number;
}

/** Where the operands of ENCLU leaves lie in the page that `source` names. */
export const IN_PAGE = Object.freeze({ SECINFO: 512, REQUEST: 1024, DATA: 2048, OUTPUT: 2560 });

const registers: Registers = { rbx: 0, rcx: 0, rdx: 0 };

function setU64(ram: Uint8Array, at: number, value: number): void {
  const view = new DataView(ram.buffer, ram.byteOffset + at, 8);
  view.setUint32(0, value >>> 0, true);
  view.setUint32(4, Math.floor(value / 0x1_0000_0000), true);
}

function pageinfo(ram: Uint8Array, linaddr: number, source: number, secinfo: number, secs: number): void {
  setU64(ram, AT.PAGEINFO, linaddr);
  setU64(ram, AT.PAGEINFO + 8, source);
  setU64(ram, AT.PAGEINFO + 16, secinfo);
  setU64(ram, AT.PAGEINFO + 24, secs);
}

function secinfo(ram: Uint8Array, flags: number): void {
  ram.fill(0, AT.SECINFO, AT.SECINFO + 64);
  ram[AT.SECINFO] = flags & 0xff;
  ram[AT.SECINFO + 1] = (flags >>> 8) & 0xff;
}

/** Lays the operands of an ENCLS step into guest RAM; `base` is BASEADDR of the enclave that the step names. */
export function enclsOperands(ram: Uint8Array, s: Step, base: number): Registers {
  const r = registers;
  r.rbx = AT.PAGEINFO;
  r.rcx = frameGpa(s.frame);
  r.rdx = 0;
  const secs = frameGpa(s.secs);
  const linaddr = base + s.page * PAGE;
  switch (s.op) {
    case 'ECREATE':
      ram.set(secsPage(s.source, s.page), AT.SECS);
      secinfo(ram, 0);
      pageinfo(ram, 0, AT.SECS, AT.SECINFO, 0);
      break;
    case 'EADD':
      secinfo(ram, s.flags);
      pageinfo(ram, linaddr, AT.SOURCES + s.source * PAGE, AT.SECINFO, secs);
      break;
    case 'EEXTEND':
      r.rbx = secs;
      r.rcx += s.slot * 256;
      break;
    case 'EINIT':
      r.rbx = AT.SIGSTRUCT;
      r.rcx = secs;
      r.rdx = AT.TOKEN;
      break;
    case 'EPA':
      r.rbx = 3;
      break;
    case 'EWB':
      pageinfo(ram, 0, AT.SWAP + s.source * PAGE, AT.PCMD + s.source * 128, 0);
      r.rdx = frameGpa(s.va) + s.slot * 8;
      break;
    case 'ELDB':
    case 'ELDU':
    case 'ELDBC':
    case 'ELDUC': {
      // Page −1: a page that belongs to no enclave.
      const child = s.page >= 0;
      pageinfo(
        ram,
        child ? linaddr : 0,
        AT.SWAP + s.source * PAGE,
        AT.PCMD + s.source * 128,
        child ? secs : 0,
      );
      r.rdx = frameGpa(s.va) + s.slot * 8;
      break;
    }
    case 'EAUG':
      secinfo(ram, s.flags);
      pageinfo(ram, linaddr, 0, 0, secs);
      break;
    case 'EMODPR':
    case 'EMODT':
      secinfo(ram, s.flags);
      r.rbx = AT.SECINFO;
      break;
    case 'ERDINFO':
      r.rbx = AT.RDINFO;
      break;
    case 'EDBGRD':
      r.rcx += s.slot * 8;
      break;
    case 'EDBGWR':
      r.rbx = s.source;
      r.rcx += s.slot * 8;
      break;
    default:
      break;
  }
  if (s.twist !== 0) twistEncls(ram, r, TWISTS[s.twist], base);
  return r;
}

const PAGEINFO_FIELD = Object.freeze({ linaddr: 0, source: 8, secinfo: 16, secs: 24 });

function twistEncls(ram: Uint8Array, r: Registers, twist: Twist, base: number): void {
  const add = (field: keyof typeof PAGEINFO_FIELD, n: number) => {
    ram[AT.PAGEINFO + PAGEINFO_FIELD[field]] += n;
  };
  const put = (field: keyof typeof PAGEINFO_FIELD, value: number) => {
    setU64(ram, AT.PAGEINFO + PAGEINFO_FIELD[field], value);
  };
  switch (twist) {
    case 'rbx+8':
      r.rbx += 8;
      break;
    case 'rcx+8':
      r.rcx += 8;
      break;
    case 'rcx+1':
      r.rcx += 1;
      break;
    case 'rdx+1':
      r.rdx += 1;
      break;
    case 'rbx-denied':
      r.rbx = AT.DENIED;
      break;
    case 'rbx-read-only':
      ram.copyWithin(AT.READ_ONLY, AT.PAGEINFO, AT.PAGEINFO + 256);
      r.rbx += AT.READ_ONLY - AT.PAGEINFO;
      break;
    case 'rcx-far':
      r.rcx = EPC_BASE + FRAMES * PAGE;
      break;
    case 'rcx-huge':
      r.rcx = Number.POSITIVE_INFINITY;
      break;
    case 'rcx-foreign':
      r.rcx = frameGpa(OWN_FRAMES);
      break;
    case 'rdx-far':
      r.rdx = EPC_BASE + FRAMES * PAGE;
      break;
    case 'rdx-denied':
      r.rdx = AT.DENIED;
      break;
    case 'rdx-foreign':
      r.rdx = frameGpa(OWN_FRAMES);
      break;
    case 'rbx-far':
      r.rbx = EPC_BASE + FRAMES * PAGE;
      break;
    case 'linaddr+8':
      add('linaddr', 8);
      break;
    case 'linaddr-outside':
      put('linaddr', base - PAGE);
      break;
    case 'linaddr-zero':
      put('linaddr', 0);
      break;
    case 'source+8':
      add('source', 8);
      break;
    case 'source-denied':
      put('source', AT.DENIED);
      break;
    case 'source-read-only':
      put('source', AT.READ_ONLY);
      break;
    case 'secinfo+8':
      add('secinfo', 8);
      break;
    case 'secinfo-denied':
      put('secinfo', AT.DENIED);
      break;
    case 'secinfo-read-only':
      put('secinfo', AT.READ_ONLY);
      break;
    case 'secinfo-zero':
      put('secinfo', 0);
      break;
    case 'secinfo-here':
      put('secinfo', AT.SECINFO);
      break;
    case 'secinfo-reserved':
      ram[AT.SECINFO + 9] = 1;
      break;
    case 'secs+8':
      add('secs', 8);
      break;
    case 'secs-far':
      put('secs', EPC_BASE + FRAMES * PAGE);
      break;
    case 'secs-foreign':
      put('secs', frameGpa(OWN_FRAMES));
      break;
    case 'secs-zero':
      put('secs', 0);
      break;
    default:
      break;
  }
}

/** Registers of an ENCLU step. */
export function encluRegisters(s: Step, base: number): Registers {
  const r = registers;
  const page = base + s.page * PAGE;
  r.rbx = base + s.source * PAGE + IN_PAGE.SECINFO;
  r.rcx = page;
  r.rdx = base + s.va * PAGE;
  if (s.op === 'EREPORT') {
    r.rbx = base + s.source * PAGE + IN_PAGE.REQUEST;
    r.rcx = page + IN_PAGE.DATA;
    r.rdx += IN_PAGE.OUTPUT;
  } else if (s.op === 'EGETKEY') {
    r.rbx = base + s.source * PAGE + IN_PAGE.REQUEST;
    r.rcx = page + IN_PAGE.OUTPUT;
  } else if (s.op === 'EACCEPT_RANGE') r.rdx = s.slot;
  switch (TWISTS[s.twist]) {
    case 'rbx+8':
      r.rbx += 8;
      break;
    case 'rcx+8':
      r.rcx += 8;
      break;
    case 'rdx+1':
      r.rdx += 1;
      break;
    case 'rbx-far':
      r.rbx = BASES[0] - PAGE;
      break;
    case 'rcx-far':
      r.rcx = BASES[0] - PAGE;
      break;
    case 'rdx-far':
      r.rdx = BASES[0] - PAGE;
      break;
    case 'rcx-huge':
      r.rcx = Number.POSITIVE_INFINITY;
      break;
    default:
      break;
  }
  return r;
}
