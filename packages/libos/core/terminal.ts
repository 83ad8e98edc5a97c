/** ioctl: what programs ask of terminals (include/uapi/asm-generic/ioctls.h). */
import { EBADF, EFAULT, ENOTTY } from './errno';
import { waitingBytes } from './fs/notify';
import { DEVICE_HOST, DEVICE_TTY } from './fs/inode';
import { fileOf, O_NONBLOCK, setCloexec } from './fs/open-file';
import { hostModes } from './fs/stat';
import { copyIn, copyOut } from './shim';
import { scratch, storeU32 } from './user';

const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCGWINSZ: u32 = 0x5413;
const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;

let rows: u16 = 24;
let columns: u16 = 80;
export function setWindow(packed: u32): void {
  if (packed === 0) return;
  rows = <u16>(packed >> 16);
  columns = <u16>packed;
}

function isTerminal(device: i32): bool {
  if (device === DEVICE_TTY) return true;
  return device >= DEVICE_HOST && device < DEVICE_TTY && (hostModes[device - DEVICE_HOST] & 0o170000) === 0o020000;
}

export function sysIoctl(fd: u64, command64: u64, argument: u64): i64 {
  const file = fileOf(fd);
  if (file === null) return EBADF;
  const command = <u32>command64;
  if (command === FIONBIO) {
    if (!copyIn(scratch, argument, 4)) return EFAULT;
    file.flags = load<u32>(scratch) !== 0 ? file.flags | O_NONBLOCK : file.flags & ~O_NONBLOCK;
    return 0;
  }
  if (command === FIOCLEX || command === FIONCLEX) {
    setCloexec(fd, command === FIOCLEX);
    return 0;
  }
  if (command === FIONREAD && file.pipe !== null) {
    store<u32>(scratch, file.pipe!.length);
    return copyOut(argument, scratch, 4) ? 0 : EFAULT;
  }
  if (command === FIONREAD && file.thing !== null) {
    const bytes = waitingBytes(file);
    return bytes < 0 ? ENOTTY : storeU32(argument, <u32>bytes);
  }
  if (command === FIONREAD && file.inode.isFile) {
    const size = file.inode.size;
    store<u32>(scratch, size > file.position ? <u32>(size - file.position) : 0);
    return copyOut(argument, scratch, 4) ? 0 : EFAULT;
  }
  if (command === FIONREAD && file.socket !== null) {
    const queued = file.socket!.queued();
    return queued < 0 ? queued : storeU32(argument, <u32>queued);
  }
  if (!isTerminal(file.inode.device)) return ENOTTY;
  memory.fill(scratch, 0, 64);
  switch (command) {
    case TCGETS: {
      // A terminal in its ordinary state: ICRNL|IXON, OPOST|ONLCR, CS8|CREAD|B38400, ISIG|ICANON|ECHO….
      store<u32>(scratch, 0x500);
      store<u32>(scratch, 5, 4);
      store<u32>(scratch, 0xbf, 8);
      store<u32>(scratch, 0x8a3b, 12);
      store<u64>(scratch, 0x0001_0004_157f_1c03, 17);
      return copyOut(argument, scratch, 36) ? 0 : EFAULT;
    }
    case TIOCGWINSZ: {
      store<u16>(scratch, rows);
      store<u16>(scratch, columns, 2);
      return copyOut(argument, scratch, 8) ? 0 : EFAULT;
    }
    case TIOCGPGRP: {
      store<u32>(scratch, 2);
      return copyOut(argument, scratch, 4) ? 0 : EFAULT;
    }
    case TIOCSPGRP:
      return 0;
    default:
      // Changing the host's terminal is the host's business.
      return command >= TCSETS && command <= TCSETSF ? 0 : ENOTTY;
  }
}
