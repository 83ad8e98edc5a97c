/** The effect of EWB: encrypts checked pages, writes them and their PCMDs to guest memory, then frees the EPC. */
import { PT_TCS } from '@nestedsgx/arch';
import { dropPages, unlinkPage } from '../encls/eremove.js';
import { wipe } from '../keys/cmac.js';
import { available } from '../state/available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from '../state/enclave.js';
import { EPCM_PT_SHIFT, EPCM_W } from '../state/epcm.js';
import type { MonitorState } from '../state/state.js';
import { composeTcs } from '../state/threads.js';
import { versionLost } from './evicted-enclaves.js';
import { PAGE, type PageBatch, RUN_PAGES, writeRows } from './page-batch.js';
import { MacHeader, PCMD_SIZE, pcmdMac, putPcmd } from './pcmd.js';

const header = new MacHeader();
const plain = new Uint8Array(RUN_PAGES * PAGE);
const sealed = new Uint8Array(RUN_PAGES * PAGE);
const pcmds = new Uint8Array(RUN_PAGES * PCMD_SIZE);

/**
 * Evicts rows [first, first + count) of the batch: child pages of one enclave at consecutive linear addresses, blocked and
 * tracked, with outputs that VMPL1 may write and different slots. Admission is the caller's to refresh. True when a slot
 * held a version already.
 */
export function evictRun(
  s: MonitorState,
  enclave: EnclaveRecord,
  rows: PageBatch,
  first: number,
  count: number,
): boolean {
  const offset = s.epcm.address(rows.frame[first]) - enclave.base;
  const length = count * PAGE;
  switchWrites(s, enclave, rows, first, count, false);
  try {
    sealRun(s, enclave, rows, first, count);
    writeRows(s, rows.contents, first, count, sealed, PAGE);
    writeRows(s, rows.pcmd, first, count, pcmds, PCMD_SIZE);
  } catch (error) {
    switchWrites(s, enclave, rows, first, count, true);
    throw error;
  }
  let occupied = false;
  for (let i = first; i < first + count; i++) {
    occupied = fillSlot(s, rows, i) || occupied;
    unlinkPage(s, enclave, rows.frame[i]);
  }
  dropPages(s, enclave, offset, length);
  enclave.paging.evicted += count;
  return occupied;
}

/** Encrypts the pages of a run into the output buffers. */
function sealRun(
  s: MonitorState,
  enclave: EnclaveRecord,
  rows: PageBatch,
  first: number,
  count: number,
): void {
  const contents = plain.subarray(0, count * PAGE);
  try {
    enclave.memory.readInto(s.epcm.address(rows.frame[first]) - enclave.base, contents);
    for (let i = 0; i < count; i++) {
      const frame = rows.frame[first + i];
      const bits = s.epcm.bits(frame);
      const page = contents.subarray(i * PAGE, (i + 1) * PAGE);
      if (bits >>> EPCM_PT_SHIFT === PT_TCS) composeTcs(enclave, frame, page);
      const version = s.versions.newVersion();
      rows.version[first + i] = version;
      seal(s, version, i, bits, enclave.id, enclave.id, s.epcm.address(frame), page);
    }
  } finally {
    wipe(contents);
  }
}

/**
 * Writes out row `first`, a page that belongs to no enclave (SECS, version array), from a copy of its contents, which is
 * wiped. The caller frees the entry, under `rows.version`. True when the slot held a version already.
 */
export function evictOwnerless(
  s: MonitorState,
  rows: PageBatch,
  first: number,
  enclaveId: number,
  contents: Uint8Array,
): boolean {
  const version = s.versions.newVersion();
  rows.version[first] = version;
  seal(s, version, 0, s.epcm.bits(rows.frame[first]), 0, enclaveId, 0, contents);
  wipe(contents);
  writeRows(s, rows.contents, first, 1, sealed, PAGE);
  writeRows(s, rows.pcmd, first, 1, pcmds, PCMD_SIZE);
  return fillSlot(s, rows, first);
}

/** Puts page and PCMD `i` of a run into the output buffers. */
function seal(
  s: MonitorState,
  version: number,
  i: number,
  bits: number,
  eid: number,
  enclaveId: number,
  linaddr: number,
  page: Uint8Array,
): void {
  const at = i * PCMD_SIZE;
  putPcmd(pcmds, at, bits, enclaveId);
  const additional = header.fromEpcm(bits, eid, linaddr);
  s.pageCipher.seal(version, additional, page, sealed.subarray(i * PAGE, (i + 1) * PAGE), pcmdMac(pcmds, at));
}

/**
 * Takes W away from every thread, so that what is read is what there is, or (`on`) gives it back where the pages stay. An
 * enclave for which that fails does not run on.
 */
function switchWrites(
  s: MonitorState,
  enclave: EnclaveRecord,
  rows: PageBatch,
  first: number,
  count: number,
  on: boolean,
): void {
  const { running } = enclave;
  if (running === null || running.lost !== null) return;
  let from = -1;
  for (let i = 0; i <= count; i++) {
    const writable = i < count && (s.epcm.mapped(rows.frame[first + i]) & EPCM_W) !== 0;
    if (writable) {
      if (from < 0) from = i;
    } else if (from >= 0) {
      const start = s.epcm.address(rows.frame[first + from]) - enclave.base;
      const length = (i - from) * PAGE;
      from = -1;
      if (!available(() => running.writeProtect(start, length, !on), s.failures)) {
        loseEnclave(enclave, 'a page could not be write-protected', LOST_REASON.RUNNER);
        return;
      }
    }
  }
}

function fillSlot(s: MonitorState, rows: PageBatch, i: number): boolean {
  const before = s.versions.get(rows.va[i], rows.slot[i]);
  s.versions.set(rows.va[i], rows.slot[i], rows.version[i]);
  if (before === 0) return false;
  versionLost(s, before);
  return true;
}
