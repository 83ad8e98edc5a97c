/**
 * /dev/attestation, in the layout of Gramine: report data and target are written, report and quote are read; keys by name;
 * and, beyond Gramine, tls/: a key made here and a certificate for it that carries evidence. What a file reads is made when
 * it is opened. What concerns the processor and the host is native/src/attestation.c.
 */
import { EACCES } from '../errno';
import { answered, request } from '../net/host';
import { MAX_THREADS } from '../task/slots';
import { current } from '../task/thread';
import { stringToBytes } from '../user';
import { Inode, S_IFDIR, S_IFREG } from './inode';
import { link } from './path';

const OP_ATTEST: u64 = 104;
/** Bytes of a request and of its answer; native/include/attestation.h has it too. */
const ROOM: usize = 32768;

/** What is wanted of OP_ATTEST; files that need it have this number and ATTESTATION as `made`. */
const REPORT = 1;
const QUOTE = 2;
const MRENCLAVE_KEY = 3;
const MRSIGNER_KEY = 4;
const MY_TARGET = 5;
const CERTIFICATE = 6;
const PRIVATE_KEY = 7;
/** The others. */
const TYPE = 8;
const REPORT_DATA = 9;
const TARGET = 10;
const KEY = 11;
const KEYS = 12;

/** Between the numbers of core/fs/proc.ts. */
const ATTESTATION = 32;

/** How quotes of this system are called; Gramine's are `dcap`. */
const TYPE_TEXT = 'nestedsgx';
const REPORT_DATA_BYTES = 64;
const TARGET_BYTES = 512;
const LONG_KEY = 32;
const SHORT_KEY = 16;
const MOST_KEYS = 64;

const reportData: usize = memory.data(64, 16);
const target: usize = memory.data(512, 16);
const areas = new StaticArray<usize>(MAX_THREADS);

/** Why `opening` failed, PENDING when the call is to be made again. */
export let openFailure: i64 = 0;

@inline export function isAttestation(inode: Inode): bool {
  return inode.made >= ATTESTATION && inode.made < ATTESTATION + 16;
}

function file(folder: Inode, name: string, mode: u32, kind: i32): Inode {
  const inode = new Inode(S_IFREG | mode);
  inode.made = ATTESTATION + kind;
  link(folder, name, inode);
  return inode;
}

function folder(parent: Inode, name: string): Inode {
  const inode = new Inode(S_IFDIR | 0o755);
  link(parent, name, inode);
  inode.readOnly = true;
  return inode;
}

export function bootAttestation(dev: Inode): void {
  const own = folder(dev, 'attestation');
  file(own, 'attestation_type', 0o444, TYPE);
  file(own, 'my_target_info', 0o444, MY_TARGET);
  file(own, 'user_report_data', 0o644, REPORT_DATA);
  file(own, 'target_info', 0o644, TARGET);
  file(own, 'report', 0o444, REPORT);
  file(own, 'quote', 0o444, QUOTE);
  const keys = folder(own, 'keys');
  keys.made = ATTESTATION + KEYS;
  file(keys, 'default', 0o600, KEY);
  file(keys, '_sgx_mrenclave', 0o400, MRENCLAVE_KEY);
  file(keys, '_sgx_mrsigner', 0o400, MRSIGNER_KEY);
  const tls = folder(own, 'tls');
  file(tls, 'cert.pem', 0o444, CERTIFICATE);
  file(tls, 'key.pem', 0o400, PRIVATE_KEY);
}

/** A key of a new name, or null when its folder is not the one for keys, or has enough. */
export function newKey(parent: Inode, name: string): Inode | null {
  if (parent.made !== ATTESTATION + KEYS || parent.entries!.size >= MOST_KEYS) return null;
  return file(parent, name, 0o600, KEY);
}

/** What an opened file reads and takes, or null with `openFailure`. */
export function opening(given: Inode, writes: bool): Inode | null {
  // /proc/self/fd leads to what another opening made.
  const inode = given.jump === null ? given : given.jump!;
  const kind = inode.made - ATTESTATION;
  openFailure = 0;
  if (writes && kind !== REPORT_DATA && kind !== TARGET && kind !== KEY) {
    openFailure = EACCES;
    return null;
  }
  const copy = new Inode(inode.mode);
  copy.made = inode.made;
  copy.jump = inode;
  copy.links = 0;
  if (kind === TYPE) {
    copy.reserve(TYPE_TEXT.length + 1);
    copy.size = stringToBytes(TYPE_TEXT, copy.data);
  } else if (kind === KEY) fill(copy, inode.data, inode.size);
  else if (kind <= PRIVATE_KEY && !fetch(copy, kind)) return null;
  return copy;
}

function fill(copy: Inode, from: usize, length: u64): void {
  if (length === 0) return;
  copy.reserve(length);
  memory.copy(copy.data, from, <usize>length);
  copy.size = length;
}

/** The native half's answer; false with `openFailure`. */
function fetch(copy: Inode, kind: i32): bool {
  let area = areas[current.slot];
  if (answered(OP_ATTEST) && load<u64>(current.request, 8) === <u64>kind) {
    store<u64>(current.request, 0);
    const length = current.waitResult;
    if (length < 0 || <u64>length > <u64>ROOM) {
      openFailure = length < 0 ? length : EACCES;
      return false;
    }
    fill(copy, area, length);
    memory.fill(area, 0, <usize>length);
    return true;
  }
  if (area === 0) {
    area = heap.alloc(ROOM);
    areas[current.slot] = area;
  }
  memory.copy(area, reportData, REPORT_DATA_BYTES);
  memory.copy(area + REPORT_DATA_BYTES, target, TARGET_BYTES);
  current.touched = true;
  openFailure = request(OP_ATTEST, kind, area, 0, 0, 0, 0);
  return false;
}

/** Takes what an opened file has after a write of `length` bytes: that, or an error. */
export function written(copy: Inode, length: u64): i64 {
  const kind = copy.made - ATTESTATION;
  if (kind === REPORT_DATA) set(reportData, REPORT_DATA_BYTES, copy);
  else if (kind === TARGET) set(target, TARGET_BYTES, copy);
  else if (kind === KEY) {
    if (copy.size !== LONG_KEY && copy.size !== SHORT_KEY) return EACCES;
    const inode = copy.jump!;
    inode.reserve(LONG_KEY);
    set(inode.data, LONG_KEY, copy);
    inode.size = copy.size;
  } else return EACCES;
  return length;
}

/** As Gramine does it: what is missing is zero, what is too much is not looked at. */
function set(to: usize, room: usize, copy: Inode): void {
  const length = min(<usize>copy.size, room);
  memory.copy(to, copy.data, length);
  memory.fill(to + length, 0, room - length);
}
