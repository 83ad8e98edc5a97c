/** The effect of ELDB and ELDU: verifies and decrypts pages into free frames. A page is accepted under its version once. */
import { PT_REG, PT_TCS, PT_TRIM, readU64 } from '@nestedsgx/arch';
import { invariant } from '../errors.js';
import { wipe } from '../keys/cmac.js';
import { available } from '../state/available.js';
import { type EnclaveRecord, LOST_REASON, loseEnclave } from '../state/enclave.js';
import { EPCM_BLOCKED, EPCM_PT_SHIFT, NO_FRAME } from '../state/epcm.js';
import { installRun } from '../state/mapping.js';
import type { MonitorState } from '../state/state.js';
import { settleTcs } from '../state/threads.js';
import { evictedUnder, restoreEnclave, versionArrayLoaded } from './evicted-enclaves.js';
import { PAGE, type PageBatch, RUN_PAGES, readRows } from './page-batch.js';
import { EVICTED_BITS, MacHeader, PCMD_SIZE, pcmdBits, pcmdMac } from './pcmd.js';

/** Checks that need what guest memory holds; ids of ELD's check list. */
export type LoadRefusal =
  | 'pcmd-readable'
  | 'source-readable'
  | 'mac'
  | 'linaddr-free'
  | 'memory-available'
  | 'page-free';

/** How far a run came, and what stopped it. */
export interface Loaded {
  count: number;
  refusal: LoadRefusal | null;
  /** Some of the pages matter for who may enter: the caller refreshes admission. */
  admission: boolean;
}

const header = new MacHeader();
const sealed = new Uint8Array(RUN_PAGES * PAGE);
const opened = new Uint8Array(RUN_PAGES * PAGE);
const pcmds = new Uint8Array(RUN_PAGES * PCMD_SIZE);
const result: Loaded = { count: 0, refusal: null, admission: false };
/** Place of the EID in the page of an evicted SECS, reserved in the manual's table. */
export const SECS_EID = PAGE - 8;

/** True for page types that belong to an enclave. */
export function isChildType(type: number): boolean {
  return type === PT_REG || type === PT_TCS || type === PT_TRIM;
}

/** Reads the PCMDs of rows [first, first + count); how many could be read. */
export function readPcmds(s: MonitorState, rows: PageBatch, first: number, count: number): number {
  return readRows(s, rows.pcmd, first, count, pcmds, PCMD_SIZE);
}

/** Page type in PCMD `i` of the last {@link readPcmds}. */
export function pcmdType(i: number): number {
  return pcmdBits(pcmds, i * PCMD_SIZE) >>> EPCM_PT_SHIFT;
}

/**
 * Loads rows [first, first + count), whose PCMDs were read: child pages of one enclave at consecutive linear addresses. Their
 * frames were free and their slots are slots. Pages before the one that is refused stay loaded. The result is valid until
 * the next call.
 */
export function loadRun(
  s: MonitorState,
  enclave: EnclaveRecord,
  rows: PageBatch,
  first: number,
  count: number,
  blocked: boolean,
): Loaded {
  const readable = readRows(s, rows.contents, first, count, sealed, PAGE);
  result.refusal = readable < count ? 'source-readable' : null;
  result.admission = false;
  let done = 0;
  for (; done < readable; done++) {
    const refusal = openRow(s, enclave, rows, first + done, done, blocked);
    if (refusal !== null) {
      result.refusal = refusal;
      if (refusal === 'mac') enclave.paging.refused++;
      break;
    }
  }
  result.count = done;
  if (done > 0) place(s, enclave, rows, first, done);
  return result;
}

/** Verifies one page; its EPCM entry is valid and its version used up when it is good. */
function openRow(
  s: MonitorState,
  enclave: EnclaveRecord,
  rows: PageBatch,
  row: number,
  i: number,
  blocked: boolean,
): LoadRefusal | null {
  const frame = rows.frame[row];
  if (s.epcm.valid(frame)) return 'page-free';
  if (!openSealed(s, rows, row, i, enclave.id)) return 'mac';
  const linaddr = rows.linaddr[row];
  const offset = linaddr - enclave.base;
  // The MAC covers EID and LINADDR, and what EWB encrypted lay in the ELRANGE.
  invariant(offset >= 0 && offset < enclave.size && offset % PAGE === 0, 'a page from outside the ELRANGE');
  if (enclave.pages.get(offset / PAGE) !== NO_FRAME) {
    wipe(opened.subarray(i * PAGE, (i + 1) * PAGE));
    return 'linaddr-free';
  }
  s.versions.set(rows.va[row], rows.slot[row], 0);
  const bits = (pcmdBits(pcmds, i * PCMD_SIZE) & EVICTED_BITS) | (blocked ? EPCM_BLOCKED : 0);
  s.epcm.fill(frame, bits, enclave.secsFrame, linaddr);
  enclave.pages.set(offset / PAGE, frame);
  return null;
}

/** Writes the opened pages into the enclave and lets its threads see them; undone when there is no memory. */
function place(s: MonitorState, enclave: EnclaveRecord, rows: PageBatch, first: number, count: number): void {
  const offset = rows.linaddr[first] - enclave.base;
  const length = count * PAGE;
  const contents = opened.subarray(0, length);
  const written = available(() => enclave.memory.write(offset, contents), s.failures);
  wipe(contents);
  if (!written) {
    for (let i = first; i < first + count; i++) {
      enclave.pages.delete((rows.linaddr[i] - enclave.base) / PAGE);
      s.epcm.clear(rows.frame[i]);
      s.versions.set(rows.va[i], rows.slot[i], rows.version[i]);
    }
    available(() => enclave.memory.discard(offset, length), s.failures);
    result.count = 0;
    result.refusal = 'memory-available';
    return;
  }
  if (!installRun(s, enclave, offset, length))
    loseEnclave(enclave, 'a page could not be given back', LOST_REASON.RUNNER);
  for (let i = first; i < first + count; i++) {
    if (s.epcm.type(rows.frame[i]) === PT_TCS) settleTcs(s, enclave, rows.frame[i]);
    result.admission ||= enclave.admissionPages.has((rows.linaddr[i] - enclave.base) / PAGE);
  }
  enclave.paging.loaded += count;
}

/** Loads row `row`, a SECS, whose PCMD was read. */
export function loadSecs(s: MonitorState, rows: PageBatch, row: number): LoadRefusal | null {
  if (readRows(s, rows.contents, row, 1, sealed, PAGE) === 0) return 'source-readable';
  if (!openSealed(s, rows, row, 0, 0)) return 'mac';
  const page = opened.subarray(0, PAGE);
  const evicted = evictedUnder(s, Number(readU64(page, SECS_EID)), rows.version[row]);
  wipe(page);
  invariant(evicted !== undefined, 'an evicted SECS verified and its enclave is not known');
  takeFrame(s, rows, row);
  restoreEnclave(s, evicted, rows.frame[row]);
  return null;
}

/** Loads row `row`, a version array, whose PCMD was read. */
export function loadVersionArray(s: MonitorState, rows: PageBatch, row: number): LoadRefusal | null {
  if (readRows(s, rows.contents, row, 1, sealed, PAGE) === 0) return 'source-readable';
  if (!openSealed(s, rows, row, 0, 0)) return 'mac';
  const page = opened.subarray(0, PAGE);
  takeFrame(s, rows, row);
  s.versions.load(rows.frame[row], page);
  wipe(page);
  versionArrayLoaded(s, rows.version[row]);
  return null;
}

function takeFrame(s: MonitorState, rows: PageBatch, row: number): void {
  s.versions.set(rows.va[row], rows.slot[row], 0);
  s.epcm.fill(rows.frame[row], pcmdBits(pcmds, 0) & EVICTED_BITS, NO_FRAME, 0);
}

/** Decrypts page `i` of the buffers; false when it is not what was evicted under the version in its slot. */
function openSealed(s: MonitorState, rows: PageBatch, row: number, i: number, eid: number): boolean {
  const version = s.versions.get(rows.va[row], rows.slot[row]);
  rows.version[row] = version;
  const linaddr = rows.linaddr[row];
  // An address beyond 2^53 is none that EWB wrote; it must not be cut to one.
  if (version === 0 || !Number.isSafeInteger(linaddr)) return false;
  const at = i * PCMD_SIZE;
  const additional = header.fromPcmd(pcmds, at, eid, linaddr);
  const from = sealed.subarray(i * PAGE, (i + 1) * PAGE);
  return s.pageCipher.open(
    version,
    additional,
    from,
    opened.subarray(i * PAGE, (i + 1) * PAGE),
    pcmdMac(pcmds, at),
  );
}
