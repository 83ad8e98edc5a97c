/**
 * ioctl: what programs ask of terminals (include/uapi/asm-generic/ioctls.h). Modes are those of the host's terminal, which
 * the host puts back when the program ends; the window and who is in the foreground are known inside.
 */
import { EBADF, EFAULT, EINVAL, EIO, ENOTTY, ESRCH } from './errno';
import { waitingBytes } from './fs/notify';
import { DEVICE_HOST, DEVICE_TTY } from './fs/inode';
import { fileOf, O_ASYNC, O_NONBLOCK, OpenFile, setCloexec } from './fs/open-file';
import { hostModes } from './fs/stat';
import { answerLength, area, net, NET_QUEUED, NET_TERMINAL, netAnswered } from './net/host';
import { copyIn, copyOut, now } from './shim';
import { firstProcess } from './task/exit';
import { isGroup } from './task/session';
import { park } from './task/queue';
import { TERMINAL_MAY, TERMINAL_NEVER, usesTerminal } from './task/stops';
import { current } from './task/thread';
import { foreground, learnModes, setForeground, ttyFd } from './tty';
import { scratch, storeU32 } from './user';

const SIGTTOU: u64 = 22;
const TCGETS: u32 = 0x5401;
const TCSETS: u32 = 0x5402;
const TCSETSF: u32 = 0x5404;
const TCSBRK: u32 = 0x5409;
const TCXONC: u32 = 0x540a;
const TCFLSH: u32 = 0x540b;
const TIOCGPGRP: u32 = 0x540f;
const TIOCSPGRP: u32 = 0x5410;
const TIOCGWINSZ: u32 = 0x5413;
const FIONREAD: u32 = 0x541b;
const TIOCGSID: u32 = 0x5429;
const TERMIOS: u32 = 36;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;

let rows: u16 = 24;
let columns: u16 = 80;
export function setWindow(packed: u32): void {
  if (packed === 0) return;
  rows = <u16>(packed >> 16);
  columns = <u16>packed;
}

/** The host's descriptor behind a device that is a terminal, or -1. */
function terminalOf(device: i32): i32 {
  if (device === DEVICE_TTY) return ttyFd;
  if (device < DEVICE_HOST || device > DEVICE_TTY) return -1;
  return (hostModes[device - DEVICE_HOST] & 0o170000) === 0o020000 ? device - DEVICE_HOST : -1;
}

/** One that the host is asked for: `length` bytes of the area go along. */
function control(fd: i32, command: u32, argument: u64, length: u32): i64 {
  if (netAnswered(NET_TERMINAL)) return current.waitResult;
  return net(NET_TERMINAL, fd, command, argument, length);
}

function getModes(fd: i32, user: u64): i64 {
  if (!netAnswered(NET_TERMINAL)) memory.fill(area(), 0, TERMIOS);
  const result = control(fd, TCGETS, 0, TERMIOS);
  if (result < 0) return result;
  if (answerLength() < TERMIOS) return EIO;
  return copyOut(user, area(), TERMIOS) ? 0 : EFAULT;
}

/** Who is in the background is not to change the terminal: 0, or what becomes of the call. */
function inBackground(): i64 {
  const may = usesTerminal(SIGTTOU);
  return may === TERMINAL_MAY ? 0 : may === TERMINAL_NEVER ? EIO : park(now(1), true);
}

function setModes(fd: i32, command: u32, user: u64): i64 {
  const waits = netAnswered(NET_TERMINAL) ? 0 : inBackground();
  if (waits !== 0) return waits;
  if (!copyIn(area(), user, TERMIOS)) return EFAULT;
  const result = control(fd, command, 0, TERMIOS);
  if (result >= 0) learnModes(area());
  return result > 0 ? 0 : result;
}

/** Puts a group of processes into the foreground: signals of the terminal's keys are for it. */
function setGroup(user: u64): i64 {
  if (!copyIn(scratch, user, 4)) return EFAULT;
  const group = load<i32>(scratch);
  if (group < 0) return EINVAL;
  if (!isGroup(group)) return ESRCH;
  const waits = inBackground();
  if (waits !== 0) return waits;
  setForeground(group);
  return 0;
}

/** Kept, without effect: servers ask for it for what they wait for otherwise. */
function setAsync(file: OpenFile, user: u64): i64 {
  if (!copyIn(scratch, user, 4)) return EFAULT;
  const on = load<u32>(scratch) !== 0;
  if (on === ((file.flags & O_ASYNC) !== 0)) return 0;
  if (file.pipe === null && file.socket === null && terminalOf(file.inode.device) < 0) return ENOTTY;
  file.flags ^= O_ASYNC;
  return 0;
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
  if (command === FIOASYNC) return setAsync(file, argument);
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
  const device = file.inode.device;
  if (command === FIONREAD && (device >= DEVICE_HOST && device <= DEVICE_TTY)) return queued(device, argument);
  const terminal = terminalOf(device);
  if (terminal < 0) return ENOTTY;
  memory.fill(scratch, 0, 64);
  switch (command) {
    case TCGETS:
      return getModes(terminal, argument);
    case TCSETS:
    case TCSETS + 1:
    case TCSETSF:
      return setModes(terminal, command, argument);
    case TCSBRK:
    case TCFLSH:
      return min(control(terminal, command, <u32>argument, 0), 0);
    case TCXONC:
      return 0;
    case TIOCGSID:
      return storeU32(argument, current.process.sid);
    case TIOCGWINSZ: {
      store<u16>(scratch, rows);
      store<u16>(scratch, columns, 2);
      return copyOut(argument, scratch, 8) ? 0 : EFAULT;
    }
    case TIOCGPGRP:
      return storeU32(argument, foreground !== 0 ? foreground : firstProcess()!.pgid);
    case TIOCSPGRP:
      return setGroup(argument);
    default:
      return ENOTTY;
  }
}

/** Bytes that wait outside. */
function queued(device: i32, user: u64): i64 {
  const fd = device === DEVICE_TTY ? ttyFd : device - DEVICE_HOST;
  if (fd < 0) return ENOTTY;
  if (!netAnswered(NET_QUEUED)) return net(NET_QUEUED, fd, 0, 0, 0);
  return current.waitResult < 0 ? current.waitResult : storeU32(user, <u32>current.waitResult);
}
