/** Messages as sendmsg and recvmsg have them: vectors of the program's memory, an address, descriptors and credentials. */
import { EBADF, EFAULT, EINVAL, EMSGSIZE } from '../errno';
import { fileOf, hold, install, letGo, OpenFile } from '../fs/open-file';
import { copyIn, copyOut } from '../shim';
import { current } from '../task/thread';
import { scratch } from '../user';
import { area, areaAddress } from './host';

export const MSG_OOB: u32 = 1;
export const MSG_PEEK: u32 = 2;
export const MSG_CTRUNC: u32 = 8;
export const MSG_TRUNC: u32 = 0x20;
export const MSG_DONTWAIT: u32 = 0x40;
export const MSG_EOR: u32 = 0x80;
export const MSG_WAITALL: u32 = 0x100;
export const MSG_NOSIGNAL: u32 = 0x4000;
export const MSG_WAITFORONE: u32 = 0x10000;
const MSG_CMSG_CLOEXEC: u32 = 0x40000000;

const MAX_VECTORS: u64 = 1024;
const MAX_TOTAL: u64 = 0x7fff_f000;
const MAX_FILES = 253;
const MAX_CONTROL: u64 = 8192;
const ADDRESS_ROOM: u32 = 128;
const SOL_SOCKET: u32 = 1;
const SCM_RIGHTS: u32 = 1;
const SCM_CREDENTIALS: u32 = 2;
const HEADER: u64 = 16;
const CREDENTIALS: u64 = 12;

/** One message on its way. Its vectors lie in the calling thread's area, its address behind them. */
export class Message {
  count: i32 = 0;
  total: u64 = 0;
  flags: u32 = 0;
  /** Of the address: given, or found. */
  addressLength: u32 = 0;
  /** What became of a received message. */
  outFlags: u32 = 0;
  /** Descriptors that go along; each counts as a reference. */
  files: Array<OpenFile> | null = null;
  /** Sender, for those who want to know; 0 for unknown. */
  pid: i32 = 0;
  wantsCredentials: bool = false;
  /** Where ancillary data may go, and how much of it has. */
  control: u64 = 0;
  controlLength: u64 = 0;

  /** One piece of memory. */
  single(user: u64, length: u64, flags: u32): void {
    const list = area();
    store<u64>(list, user);
    store<u64>(list, length, 8);
    this.clear(1, length > MAX_TOTAL ? MAX_TOTAL : length, flags);
  }

  private clear(count: i32, total: u64, flags: u32): void {
    this.count = count;
    this.total = total;
    this.flags = flags;
    this.addressLength = 0;
    this.outFlags = 0;
    this.files = null;
    this.pid = 0;
    this.wantsCredentials = false;
    this.control = 0;
    this.controlLength = 0;
  }

  /** The vectors of a list of the program: 0, or an error. */
  vectors(user: u64, count: u64, flags: u32): i64 {
    if (count > MAX_VECTORS) return EMSGSIZE;
    const list = area();
    if (count > 0 && !copyIn(list, user, count * 16)) return EFAULT;
    let total: u64 = 0;
    for (let i: u64 = 0; i < count; i++) {
      const length = load<u64>(list + <usize>i * 16, 8);
      if (<i64>length < 0) return EINVAL;
      total += length;
      if (total > MAX_TOTAL) return EINVAL;
    }
    this.clear(<i32>count, total, flags);
    return 0;
  }

  /** The address of a destination, copied to the area: 0, or an error. */
  to(user: u64, length: u32): i64 {
    if (length > ADDRESS_ROOM) return EINVAL;
    if (length > 0 && !copyIn(areaAddress(), user, length)) return EFAULT;
    this.addressLength = length;
    return 0;
  }

  /** Descriptors that are sent (SCM_RIGHTS). Credentials are the sender's own, whatever it says. */
  takeControl(user: u64, length: u64): i64 {
    if (length === 0 || user === 0) return 0;
    if (length > MAX_CONTROL) return EINVAL;
    if (!copyIn(scratch, user, length)) return EFAULT;
    for (let at: u64 = 0; at + HEADER <= length; ) {
      const size = load<u64>(scratch + <usize>at);
      if (size < HEADER || size > length - at) return EINVAL;
      const kind = load<u32>(scratch + <usize>at, 12);
      if (load<u32>(scratch + <usize>at, 8) === SOL_SOCKET && kind === SCM_RIGHTS) {
        const failed = this.takeFiles(scratch + <usize>(at + HEADER), <i32>((size - HEADER) / 4));
        if (failed !== 0) return failed;
      } else if (kind !== SCM_CREDENTIALS) return EINVAL;
      at += (size + 7) & ~7;
    }
    return 0;
  }

  private takeFiles(at: usize, count: i32): i64 {
    if (count > MAX_FILES) return EINVAL;
    const files = this.files === null ? new Array<OpenFile>() : this.files!;
    for (let i = 0; i < count; i++) {
      const file = fileOf(load<u32>(at + <usize>i * 4));
      if (file === null) {
        dropFiles(files);
        this.files = null;
        return EBADF;
      }
      hold(file);
      files.push(file);
    }
    this.files = files;
    return 0;
  }

  /** Copies between the vectors, from byte `skip` on, and the core's memory. */
  copy(at: usize, skip: u64, length: u64, out: bool): bool {
    const list = area();
    let left = length;
    let from = at;
    for (let i = 0; i < this.count && left > 0; i++) {
      const base = load<u64>(list + <usize>i * 16);
      const size = load<u64>(list + <usize>i * 16, 8);
      if (skip >= size) {
        skip -= size;
        continue;
      }
      const part = min(size - skip, left);
      if (out ? !copyOut(base + skip, from, part) : !copyIn(from, base + skip, part)) return false;
      skip = 0;
      left -= part;
      from += <usize>part;
    }
    return true;
  }

  /** Gives descriptors and credentials to the receiver, as far as there is room. */
  giveControl(): i64 {
    let at: u64 = 0;
    const room = this.control === 0 ? 0 : this.controlLength;
    if (this.wantsCredentials) {
      if (room >= HEADER + CREDENTIALS) {
        header(HEADER + CREDENTIALS, SCM_CREDENTIALS);
        store<u64>(scratch, this.pid, 16);
        store<u32>(scratch, 0, 24);
        if (!copyOut(this.control, scratch, HEADER + CREDENTIALS)) return EFAULT;
        at = min(room, (HEADER + CREDENTIALS + 7) & ~7);
      } else this.outFlags |= MSG_CTRUNC;
    }
    const files = this.files;
    this.files = null;
    if (files !== null) {
      const fit = room - at >= HEADER + 4 ? min(<u64>files.length, (room - at - HEADER) / 4) : 0;
      let given: u64 = 0;
      for (; given < fit; given++) {
        const fd = install(files[<i32>given], 0, (this.flags & MSG_CMSG_CLOEXEC) !== 0);
        if (fd < 0) break;
        store<u32>(scratch + <usize>(HEADER + given * 4), <u32>fd);
      }
      if (given < <u64>files.length) this.outFlags |= MSG_CTRUNC;
      // A descriptor that was installed is a reference of its own.
      dropFiles(files);
      if (given > 0) {
        const size = HEADER + given * 4;
        header(size, SCM_RIGHTS);
        if (!copyOut(this.control + at, scratch, size)) return EFAULT;
        at = min(room, (at + size + 7) & ~7);
      }
    }
    this.controlLength = at;
    return 0;
  }
}

function header(size: u64, kind: u32): void {
  store<u64>(scratch, size);
  store<u32>(scratch, SOL_SOCKET, 8);
  store<u32>(scratch, kind, 12);
}

/** Files that were on their way and are not received. */
export function dropFiles(files: Array<OpenFile> | null): void {
  if (files === null) return;
  for (let i = 0; i < files.length; i++) letGo(files[i]);
}

/** The message of the call under way: one is enough, as calls run to completion. */
export const message = new Message();

/** Who sends. */
export function senderPid(): i32 {
  return current.process.pid;
}
