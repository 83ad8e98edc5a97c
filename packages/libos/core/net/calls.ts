/** send, recv and their relatives. */
import { EBADF, EFAULT, EINVAL, ENOTSOCK } from '../errno';
import { fileOf, OpenFile } from '../fs/open-file';
import { PENDING } from '../request';
import { copyIn, copyOut } from '../shim';
import { current } from '../task/thread';
import { scratch, storeU32 } from '../user';
import { dropFiles, message, MSG_DONTWAIT, MSG_WAITFORONE } from './message';
import { giveAddress, Socket } from './socket';

const HEADER: u64 = 56;
const MANY: u64 = 64;
const MAX_MANY: u64 = 1024;

let failing: i64 = 0;

function fileOfSocket(fd: u64): OpenFile | null {
  const file = fileOf(fd);
  failing = file === null ? EBADF : file.socket === null ? ENOTSOCK : 0;
  return failing === 0 ? file : null;
}

function deliver(file: OpenFile): i64 {
  const result = (<Socket>file.socket!).send(file, message);
  // What was not taken is not sent.
  dropFiles(message.files);
  message.files = null;
  return result;
}

export function sysSendto(fd: u64, user: u64, length: u64, flags: u64, address: u64, addressLength: u64): i64 {
  const file = fileOfSocket(fd);
  if (file === null) return failing;
  if (address === 0 && <u32>flags === 0) return file.socket!.write(file, user, length);
  message.single(user, length, <u32>flags);
  const failed = address === 0 ? 0 : message.to(address, <u32>addressLength);
  return failed !== 0 ? failed : deliver(file);
}

export function sysRecvfrom(fd: u64, user: u64, length: u64, flags: u64, address: u64, addressLength: u64): i64 {
  const file = fileOfSocket(fd);
  if (file === null) return failing;
  if (address === 0 && <u32>flags === 0) return file.socket!.read(file, user, length);
  message.single(user, length, <u32>flags);
  const got = (<Socket>file.socket!).receive(file, message);
  if (got < 0) return got;
  dropFiles(message.files);
  message.files = null;
  const failed = giveAddress(address, addressLength, message.addressLength);
  return failed !== 0 ? failed : got;
}

function sendMessage(file: OpenFile, user: u64, flags: u32): i64 {
  if (!copyIn(scratch, user, HEADER)) return EFAULT;
  const name = load<u64>(scratch);
  const nameLength = load<u32>(scratch, 8);
  const list = load<u64>(scratch, 16);
  const count = load<u64>(scratch, 24);
  const control = load<u64>(scratch, 32);
  const controlLength = load<u64>(scratch, 40);
  let failed = message.vectors(list, count, flags);
  if (failed === 0 && name !== 0) failed = message.to(name, nameLength);
  if (failed === 0) failed = message.takeControl(control, controlLength);
  return failed !== 0 ? failed : deliver(file);
}

function receiveMessage(file: OpenFile, user: u64, flags: u32): i64 {
  if (!copyIn(scratch, user, HEADER)) return EFAULT;
  const name = load<u64>(scratch);
  const nameLength = load<i32>(scratch, 8);
  const list = load<u64>(scratch, 16);
  const count = load<u64>(scratch, 24);
  const control = load<u64>(scratch, 32);
  const controlLength = load<u64>(scratch, 40);
  if (nameLength < 0) return EINVAL;
  const failed = message.vectors(list, count, flags);
  if (failed !== 0) return failed;
  message.control = control;
  message.controlLength = controlLength;
  const got = (<Socket>file.socket!).receive(file, message);
  if (got < 0) return got;
  if (message.giveControl() !== 0) return EFAULT;
  if (name !== 0 && giveAddress(name, user + 8, message.addressLength) !== 0) return EFAULT;
  store<u64>(scratch, message.controlLength);
  store<u32>(scratch, message.outFlags, 8);
  return copyOut(user + 40, scratch, 12) ? got : EFAULT;
}

export function sysSendmsg(fd: u64, user: u64, flags: u64): i64 {
  const file = fileOfSocket(fd);
  return file === null ? failing : sendMessage(file, user, <u32>flags);
}

export function sysRecvmsg(fd: u64, user: u64, flags: u64): i64 {
  const file = fileOfSocket(fd);
  return file === null ? failing : receiveMessage(file, user, <u32>flags);
}

/** One message after the other; `current.many` of them are done when the call is made again. */
export function sysSendmmsg(fd: u64, user: u64, count: u64, flags: u64): i64 {
  const file = fileOfSocket(fd);
  if (file === null) return failing;
  for (let i = current.many; i < min(count, MAX_MANY); i++) {
    const sent = sendMessage(file, user + i * MANY, <u32>flags);
    if (sent === PENDING) return PENDING;
    if (sent < 0) return many(i, sent);
    if (storeU32(user + i * MANY + HEADER, <u32>sent) !== 0) return many(i, EFAULT);
    next(i + 1);
  }
  return many(min(count, MAX_MANY), 0);
}

export function sysRecvmmsg(fd: u64, user: u64, count: u64, flags64: u64, timeout: u64): i64 {
  const file = fileOfSocket(fd);
  if (file === null) return failing;
  let flags = <u32>flags64 & ~MSG_WAITFORONE;
  for (let i = current.many; i < min(count, MAX_MANY); i++) {
    if (i > 0 && (<u32>flags64 & MSG_WAITFORONE) !== 0) flags |= MSG_DONTWAIT;
    const got = receiveMessage(file, user + i * MANY, flags);
    if (got === PENDING) return PENDING;
    if (got < 0) return many(i, got);
    if (storeU32(user + i * MANY + HEADER, <u32>got) !== 0) return many(i, EFAULT);
    next(i + 1);
  }
  return many(min(count, MAX_MANY), 0);
}

/** What follows is a message of its own, whatever the call was made again for. */
function next(done: u64): void {
  current.many = done;
  current.again = false;
  current.touched = true;
}

function many(done: u64, failed: i64): i64 {
  current.many = 0;
  return done > 0 || failed === 0 ? done : failed;
}
