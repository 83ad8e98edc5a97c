/** Compares what both sides can be seen to be: EPCM, version arrays, enclaves, threads, mappings, contents. */
import type { EnclaveRecord, LeafOutcome } from '@nestedsgx/monitor';
import { FRAMES, isSsaPage, PAGE } from '../layout.js';
import { cssa } from '../model/enclu/eenter.js';
import { type Model, PT } from '../model/model.js';
import type { Outcome } from '../model/outcome.js';
import type { Enclave, Entry } from '../model/state.js';
import type { SimMeasurement } from './measurement.js';
import { memoryOf, runningOf, type World } from './world.js';

/** Slots of a version array that sequences use. */
export const SLOTS_USED = 4;
const TYPES = ['SECS', 'TCS', 'REG', 'VA', 'TRIM'];

/** A result for people. */
export function outcomeText(o: Outcome): string {
  if (o.kind === 'gp') return '#GP(0)';
  if (o.kind === 'pf') return `#PF(0x${o.address.toString(16)})`;
  if (o.kind === 'refused') return 'refused';
  return `RAX=${o.rax} ZF=${+o.zf} CF=${+o.cf}${o.value === null ? '' : ` RBX=0x${o.value.toString(16)}`}`;
}

/** The monitor's result as the model tells results. */
export function monitorText(o: LeafOutcome): string {
  if (o.kind === 'refused') return 'refused';
  if (o.kind !== 'fault') {
    const flags = `RAX=${o.rax} ZF=${(o.flags >> 6) & 1} CF=${o.flags & 1}`;
    return o.output === 0 ? flags : `${flags} RBX=0x${o.output.toString(16)}`;
  }
  if (o.vector === 13) return '#GP(0)';
  return o.vector === 14 ? `#PF(0x${o.address.toString(16)})` : `vector ${o.vector}`;
}

/** True when both results are the same: kind, code, flags, faulting address, value. */
export function sameOutcome(model: Outcome, monitor: LeafOutcome): boolean {
  switch (model.kind) {
    case 'gp':
      return monitor.kind === 'fault' && monitor.vector === 13;
    case 'pf':
      return monitor.kind === 'fault' && monitor.vector === 14 && monitor.address === model.address;
    case 'refused':
      return monitor.kind === 'refused';
    default: {
      if (monitor.kind !== 'done' && monitor.kind !== 'error') return false;
      const flags = (model.zf ? 0x40 : 0) | (model.cf ? 1 : 0);
      if (monitor.rax !== model.rax || monitor.flags !== flags) return false;
      return model.value === null || BigInt(monitor.output) === model.value;
    }
  }
}

/** EPCM bits as the monitor packs them. */
function packed(e: Entry): number {
  if (!e.valid) return 0;
  return (
    (e.r ? 1 : 0) |
    (e.w ? 2 : 0) |
    (e.x ? 4 : 0) |
    (e.pending ? 8 : 0) |
    (e.modified ? 16 : 0) |
    (e.pr ? 32 : 0) |
    (e.blocked ? 64 : 0) |
    128 |
    (e.type << 8)
  );
}

function bitsText(bits: number): string {
  if ((bits & 128) === 0) return 'invalid';
  const names = ['R', 'W', 'X', 'PENDING', 'MODIFIED', 'PR', 'BLOCKED'];
  const on = names.filter((_, i) => (bits & (1 << i)) !== 0);
  return `${TYPES[bits >> 8]} ${on.join(' ') || 'no bits'}`;
}

/** The first difference in state, or null. `contents`: pages too. */
export function compareState(w: World, m: Model, contents: boolean): string | null {
  const { epcm, versions } = w.state;
  for (let frame = 0; frame < FRAMES; frame++) {
    const entry = m.frames[frame];
    const bits = packed(entry);
    if (epcm.bits(frame) !== bits)
      return `EPCM(${frame}): model ${bitsText(bits)}, monitor ${bitsText(epcm.bits(frame))}`;
    if (!entry.valid) continue;
    if (epcm.address(frame) !== entry.address)
      return `EPCM(${frame}).ENCLAVEADDRESS: model 0x${entry.address.toString(16)}, monitor 0x${epcm.address(frame).toString(16)}`;
    if (entry.type === PT.VA) {
      for (let slot = 0; slot < SLOTS_USED; slot++)
        if ((versions.get(frame, slot) !== 0) !== Boolean(entry.slots![slot]))
          return `VA ${frame} slot ${slot}: model ${entry.slots![slot] ? 'occupied' : 'empty'}`;
    } else if (entry.type !== PT.SECS && epcm.secs(frame) !== entry.enclave!.frame)
      return `EPCM(${frame}).ENCLAVESECS: model frame ${entry.enclave!.frame}, monitor ${epcm.secs(frame)}`;
  }
  let resident = 0;
  for (const enclave of m.enclaves) {
    if (enclave.frame < 0) {
      if (!w.state.evictedEnclaves.has(enclave.eid))
        return `enclave ${enclave.eid} is evicted in the model only`;
      continue;
    }
    resident++;
    const record = w.state.enclaves.get(enclave.frame);
    if (record === undefined) return `enclave ${enclave.eid} has no record in the monitor`;
    const difference = compareEnclave(m, enclave, record, contents);
    if (difference !== null) return `enclave ${enclave.eid}: ${difference}`;
  }
  if (w.state.enclaves.size !== resident)
    return `enclaves: model ${resident}, monitor ${w.state.enclaves.size}`;
  if (w.state.evictedEnclaves.size !== m.enclaves.length - resident)
    return `evicted enclaves: model ${m.enclaves.length - resident}, monitor ${w.state.evictedEnclaves.size}`;
  return null;
}

function compareEnclave(m: Model, e: Enclave, record: EnclaveRecord, contents: boolean): string | null {
  if (record.id !== e.eid) return `EID: model ${e.eid}, monitor ${record.id}`;
  if (record.lost !== null) return `lost: ${record.lost}`;
  if (record.initialized !== e.initialized) return `INIT: model ${e.initialized}`;
  if (record.children !== m.children(e))
    return `children: model ${m.children(e)}, monitor ${record.children}`;
  if ((record.measurement as SimMeasurement).hash !== e.measurement) return 'the measurements differ';
  const running = runningOf(record);
  if ((running !== null) !== e.initialized) return 'is not executed';
  if (running?.frozen) return 'entries stay stopped';
  let mapped = 0;
  for (let frame = 0; frame < FRAMES; frame++) {
    const entry = m.frames[frame];
    if (!entry.valid || entry.enclave !== e || entry.type === PT.SECS) continue;
    const page = (entry.address - e.base) / PAGE;
    if (running !== null) {
      const rights = running.rights.get(page);
      if (rights !== undefined) mapped++;
      if (entry.type === PT.TCS) e.tcsAddresses.add(entry.address);
      const stays = m.p.ssaStaysMapped && (isSsaPage(page) || e.tcsAddresses.has(entry.address));
      const difference = compareRights(entry, rights ?? 0, stays);
      if (difference !== null) return `page ${page}: ${difference}`;
      if (entry.type === PT.TCS) {
        const thread = compareThread(entry, record, frame);
        if (thread !== null) return `TCS page ${page}: ${thread}`;
      }
    }
    if (contents && !sameContents(entry, memoryOf(record).page(page))) return `page ${page}: contents differ`;
  }
  if (running !== null && running.rights.size !== mapped) return 'a page that is gone is mapped still';
  return null;
}

/** A settled page is mapped with what EPCM and page table give; any other with less, or not at all. */
function compareRights(e: Entry, rights: number, stays: boolean): string | null {
  const epcm = e.type === PT.REG ? (e.r ? 1 : 0) | (e.w ? 2 : 0) | (e.x ? 4 : 0) : 0;
  const given = epcm & e.pte;
  const unsettled = e.pending || e.modified;
  const most = unsettled ? 0 : stays ? epcm : given;
  const least = unsettled || e.blocked ? 0 : given;
  if ((rights & ~most) !== 0) return `mapped ${rights}, EPCM and page table give ${most}`;
  return (least & ~rights) !== 0 ? `mapped ${rights}, EPCM and page table give ${least}` : null;
}

function compareThread(e: Entry, record: EnclaveRecord, frame: number): string | null {
  const slot = record.slotByFrame.get(frame);
  // A thread needs a gate.
  if (slot === undefined) return e.pending || e.modified || e.enclave!.gates === 0 ? null : 'has no thread';
  const { inside, cssa: n } = runningOf(record)!.threads[slot];
  if (inside !== (e.inside !== 0)) return `busy: model ${e.inside !== 0}, monitor ${inside}`;
  return n === cssa(e) ? null : `CSSA: model ${cssa(e)}, monitor ${n}`;
}

const NO_PAGE = new Uint8Array(PAGE);

/** STATE, CSSA and AEP of a TCS live in the processor while the enclave runs. */
function sameContents(e: Entry, page: Uint8Array = NO_PAGE): boolean {
  if (e.type === PT.TRIM) return true;
  const content = e.content!;
  if (e.type !== PT.TCS) return Buffer.compare(content, page) === 0;
  const same = (from: number, to: number) =>
    Buffer.compare(content.subarray(from, to), page.subarray(from, to)) === 0;
  return same(8, 24) && same(28, 40) && same(48, PAGE);
}
