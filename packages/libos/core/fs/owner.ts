/** Who asked to be told of changes of a file by SIGIO: it is kept, and nobody is told. */
import { EFAULT, EINVAL, ESRCH } from '../errno';
import { copyIn, copyOut } from '../shim';
import { isGroup, processOf } from '../task/session';
import { threadOf } from '../task/thread';
import { scratch } from '../user';
import { OpenFile } from './open-file';

const F_SETOWN = 8;
const F_GETOWN = 9;
const F_SETOWN_EX = 15;
const F_GETOWN_EX = 16;
const F_OWNER_PID = 1;
const F_OWNER_PGRP = 2;

/** struct f_owner_ex: whether it is a thread, a process or a group, and its number. */
const OWNER_EX = 8;

function setOwner(file: OpenFile, kind: i32, id: i32): i64 {
  const known = kind === F_OWNER_PGRP ? isGroup(id) : kind === F_OWNER_PID ? processOf(id) !== null : threadOf(id) !== null;
  if (id !== 0 && !known) return ESRCH;
  file.ownerKind = kind;
  file.owner = id;
  return 0;
}

/** fcntl(2) with one of these commands. */
export function ownerOf(file: OpenFile, command: i32, argument: u64): i64 {
  const id = <i32>argument;
  if (command === F_GETOWN) return file.ownerKind === F_OWNER_PGRP ? -file.owner : file.owner;
  if (command === F_SETOWN) return id === i32.MIN_VALUE ? EINVAL : id < 0 ? setOwner(file, F_OWNER_PGRP, -id) : setOwner(file, F_OWNER_PID, id);
  if (command === F_GETOWN_EX) {
    store<i32>(scratch, file.ownerKind);
    store<i32>(scratch, file.owner, 4);
    return copyOut(argument, scratch, OWNER_EX) ? 0 : EFAULT;
  }
  if (command !== F_SETOWN_EX) return EINVAL;
  if (!copyIn(scratch, argument, OWNER_EX)) return EFAULT;
  return load<u32>(scratch) > <u32>F_OWNER_PGRP ? EINVAL : setOwner(file, load<i32>(scratch), load<i32>(scratch, 4));
}
