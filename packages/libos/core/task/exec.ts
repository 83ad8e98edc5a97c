/**
 * execve: another program in the same process. Its binaries are brought into memory of their own; a child that shares its parent's
 * thread gets one here. Arguments are kept with the thread while blocks of the binaries are fetched.
 */
import { E2BIG, EACCES, EAGAIN, EFAULT, EINVAL, ELOOP, ENOEXEC, ENOMEM, ENOTDIR } from '../errno';
import { Inode } from '../fs/inode';
import { closeAll } from '../fs/open-file';
import { headOf } from '../fs/host-names';
import { walk, walkFailure } from '../fs/path';
import { directoryOf, startFailure } from '../fs/process-files';
import { Loaded, loadProgram, newStack } from '../loader';
import { Space } from '../memory/space';
import { freeSpace } from '../memory/take';
import { execSelf, PENDING, requestPark, startProgram } from '../request';
import { copyIn, copyOut, now, random } from '../shim';
import { dropAttachments } from '../shm';
import { look } from '../signals';
import { bytesToString, failure, loadPath, scratch } from '../user';
import { Arguments } from './arguments';
import { setProgram } from '../fs/proc';
import { finishProcess } from './exit';
import { makeRoom, settle } from './fixed';
import { Process } from './process';
import { leaveSpace } from './residence';
import { current, freeSlot, MAX_THREADS, Thread, threads } from './thread';
import { dropTimers } from './timers';
import { isVforked, resumeParent } from './vfork';

const MAX_BYTES: usize = 512 * 1024;
const MAX_STRING: usize = 128 * 1024;
const MAX_SCRIPTS = 4;
const SCRIPT_LINE: u64 = 256;
const SIG_IGN: u64 = 1;
const SIGKILL = 9;
const STACK: u64 = 8 << 20;
const OTHERS_GO: u64 = 1_000_000;

const loaded = new Loaded();

/** A list of strings that ends with a null pointer: 0 or an errno. */
function loadList(user: u64, into: Array<string>, kept: Arguments): i64 {
  for (let at = user; user !== 0; at += 8) {
    if (!copyIn(scratch, at, 8)) return EFAULT;
    const pointer = load<u64>(scratch);
    if (pointer === 0) return 0;
    const text = loadString(pointer);
    if (failed !== 0) return failed;
    kept.bytes += <usize>text.length + 9;
    if (kept.bytes > MAX_BYTES) return E2BIG;
    into.push(text);
  }
  return 0;
}

let failed: i64 = 0;
function loadString(user: u64): string {
  let text = '';
  let at = user;
  failed = E2BIG;
  while (<usize>text.length <= MAX_STRING) {
    const part = 4096 - (at & 4095);
    if (!copyIn(scratch, at, part)) {
      failed = EFAULT;
      return '';
    }
    let length: u64 = 0;
    while (length < part && load<u8>(scratch + <usize>length) !== 0) length++;
    text += bytesToString(scratch, <i32>length);
    if (length < part) {
      failed = 0;
      return text;
    }
    at += part;
  }
  return '';
}

/** Whether an inode can be executed: 0 or an errno. */
function check(inode: Inode): i64 {
  return inode.isFile && (inode.mode & 0o111) !== 0 ? 0 : EACCES;
}

/** `#!interpreter [argument]`: the interpreter takes the place of the script. PENDING, an errno, or 0 with another inode. */
function script(kept: Arguments): i64 {
  const inode = kept.inode;
  if (inode.outside !== null) return scriptOutside(kept);
  const length = min(inode.size, SCRIPT_LINE);
  if (length < 4) return ENOEXEC;
  const waiting = inode.need(0, length);
  if (waiting !== 0) return waiting;
  inode.copyTo(scratch, 0, length);
  if (load<u8>(scratch) !== 0x23 || load<u8>(scratch, 1) !== 0x21) return 0;
  if (++kept.scripts > MAX_SCRIPTS) return ELOOP;
  let end = 2;
  while (end < <i32>length && load<u8>(scratch + end) !== 10) end++;
  return interpret(kept, bytesToString(scratch + 2, end - 2).trim());
}

/** A file of the host is text for an interpreter of the root, or nothing: its code is not measured. */
function scriptOutside(kept: Arguments): i64 {
  if (kept.head === null) {
    const got = headOf(kept.inode, scratch, <u32>SCRIPT_LINE);
    if (got < 0) return got;
    kept.head = bytesToString(scratch, <i32>got);
  }
  const head = kept.head!;
  if (!head.startsWith('#!')) return EACCES;
  const end = head.indexOf('\n');
  if (++kept.scripts > MAX_SCRIPTS) return ELOOP;
  return interpret(kept, head.substring(2, end < 0 ? head.length : end).trim());
}

/** Goes on with what the first line of a script names. */
function interpret(kept: Arguments, line: string): i64 {
  let space = 0;
  while (space < line.length && line.charCodeAt(space) !== 32 && line.charCodeAt(space) !== 9) space++;
  const path = line.substring(0, space);
  if (path.length === 0) return ENOEXEC;
  const argument = line.substring(space).trim();
  const found = walk(path, directoryOf(-100, path)!, true);
  if (found === null) return walkFailure;
  const wrong = check(found);
  if (wrong !== 0) return wrong;
  const strings = new Array<string>();
  strings.push(path);
  if (argument.length > 0) strings.push(argument);
  strings.push(kept.name);
  for (let i = 1; i < kept.strings.length; i++) strings.push(kept.strings[i]);
  kept.strings = strings;
  kept.inode = found;
  kept.head = null;
  return script(kept);
}

function begin(folder: i64, path: u64, argv: u64, envp: u64): i64 {
  const name = loadPath(path);
  if (failure !== 0) return failure;
  const start = directoryOf(folder, name);
  if (start === null) return startFailure !== 0 ? startFailure : ENOTDIR;
  const found = walk(name, start, true);
  if (found === null) return walkFailure;
  const wrong = check(found);
  if (wrong !== 0) return wrong;
  const kept = new Arguments(found, name);
  const bad = loadList(argv, kept.strings, kept);
  if (bad !== 0) return bad;
  // Linux gives a program without arguments an empty one.
  if (kept.strings.length === 0) kept.strings.push('');
  const worse = loadList(envp, kept.variables, kept);
  if (worse !== 0) return worse;
  current.exec = kept;
  return 0;
}

function exec(folder: i64, path: u64, argv: u64, envp: u64): i64 {
  if (current.exec === null) {
    const wrong = begin(folder, path, argv, envp);
    if (wrong !== 0) return wrong;
  }
  const kept = current.exec!;
  const result = run(kept);
  if (result !== PENDING || kept.done) current.exec = null;
  return result;
}

function run(kept: Arguments): i64 {
  const waiting = script(kept);
  if (waiting !== 0) return waiting;
  const process = current.process;
  const shared = isVforked(current);
  if (shared && freeSlot() < 0) return EAGAIN;
  // Nobody may run in memory that another process of the group is to have.
  const before = process.space;
  if (!shared && (before.group !== null || before.fixed === kept.inode) && dismissOthers(process)) return requestPark(now(1) + OTHERS_GO);
  const space = new Space();
  const wrong = loadProgram(kept.inode, space, loaded);
  if (wrong !== 0) return wrong;
  const top = newStack(space, STACK);
  const stack = top === 0 ? 0 : buildStack(top, kept);
  if (stack === 0 || (loaded.fixed !== null && !makeRoom(space, loaded.fixed!, shared ? null : before))) {
    freeSpace(space);
    return ENOMEM;
  }
  kept.done = true;
  setProgram(process.pid, kept.inode, kept.strings);
  changeProgram(process);
  if (loaded.fixed !== null) settle(space, loaded.fixed!, shared ? null : before);
  else if (!shared) leaveSpace(before);
  process.space = space;
  return shared ? startOwnThread(process, kept, stack) : replace(process, kept, stack);
}

/** Descriptors that are marked are closed, handlers forgotten. */
function changeProgram(process: Process): void {
  closeAll(process.files, true);
  dropTimers(process, null, true);
  dropAttachments(process.pid);
  for (let signal = 1; signal < 65; signal++) {
    const at = process.actions + <usize>signal * 32;
    if (load<u64>(at) !== SIG_IGN) memory.fill(at, 0, 32);
  }
}

function nameThread(thread: Thread, name: string): void {
  memory.fill(thread.name, 0, 16);
  const from = name.lastIndexOf('/') + 1;
  for (let i = 0; i < 15 && from + i < name.length; i++) store<u8>(thread.name + i, <u8>name.charCodeAt(from + i));
}

function startOwnThread(process: Process, kept: Arguments, stack: u64): i64 {
  const slot = freeSlot();
  const thread = new Thread(process.pid, slot, process);
  thread.blocked = current.blocked;
  nameThread(thread, kept.name);
  threads[slot] = thread;
  look(thread);
  resumeParent(current);
  return startProgram(slot, process.pid, loaded.entry, stack);
}

/** Other threads of the process are to go; whether there are any. What they had is not theirs to write to any more. */
function dismissOthers(process: Process): bool {
  let any = false;
  for (let slot = 0; slot < MAX_THREADS; slot++) {
    const thread = threads[slot];
    if (thread === null || thread === current || thread.process !== process || thread.leaving) continue;
    any = true;
    thread.dismissed = true;
    thread.clearTid = thread.robustList = 0;
    look(thread);
    thread.wake();
  }
  return any;
}

/** The calling thread goes on with the program; others of the process go. */
function replace(process: Process, kept: Arguments, stack: u64): i64 {
  dismissOthers(process);
  current.tid = process.pid;
  current.clearTid = 0;
  current.robustList = 0;
  current.stackFlags = 2;
  nameThread(current, kept.name);
  return execSelf(loaded.entry, stack);
}

const AT_PHDR: u64 = 3;
const AT_EXECFN: u64 = 31;

/** The first stack (System V ABI, x86-64 supplement); RSP, or 0 when it has no room or is not there. */
function buildStack(top: u64, kept: Arguments): u64 {
  const strings = kept.strings;
  const variables = kept.variables;
  let size: usize = 0;
  for (let i = 0; i < strings.length; i++) size += strings[i].length + 1;
  for (let i = 0; i < variables.length; i++) size += variables[i].length + 1;
  size += kept.name.length + 1 + 16 + 8;
  const words = 1 + strings.length + 1 + variables.length + 1 + 2 * 18;
  const text = top - 64 - ((<u64>size + 15) & ~15);
  const rsp = (text - <u64>words * 8) & ~15;
  const bytes = <usize>(top - rsp);
  if (<u64>bytes > STACK / 2) return 0;
  const block = heap.alloc(bytes);
  memory.fill(block, 0, bytes);
  let at = block + <usize>(text - rsp);
  let word = block;
  store<u64>(word, strings.length);
  word += 8;
  for (let i = 0; i < strings.length; i++, word += 8) {
    store<u64>(word, rsp + (at - block));
    at = put(strings[i], at);
  }
  word += 8;
  for (let i = 0; i < variables.length; i++, word += 8) {
    store<u64>(word, rsp + (at - block));
    at = put(variables[i], at);
  }
  word += 8;
  const name = rsp + (at - block);
  at = put(kept.name, at);
  const platform = rsp + (at - block);
  at = put('x86_64', at);
  const seed = rsp + (at - block);
  word = pair(word, AT_PHDR, loaded.headers);
  word = pair(word, 4, 56);
  word = pair(word, 5, loaded.headerCount);
  word = pair(word, 6, 4096);
  word = pair(word, 7, loaded.interpreter);
  word = pair(word, 8, 0);
  word = pair(word, 9, loaded.programEntry);
  for (let id: u64 = 11; id < 15; id++) word = pair(word, id, 0);
  word = pair(word, 15, platform);
  word = pair(word, 17, 100);
  word = pair(word, 23, 0);
  word = pair(word, 25, seed);
  word = pair(word, 26, 2);
  pair(word, AT_EXECFN, name);
  const there = copyOut(rsp, block, bytes) && random(seed, 16);
  heap.free(block);
  return there ? rsp : 0;
}

function put(text: string, at: usize): usize {
  for (let i = 0; i < text.length; i++) store<u8>(at + i, <u8>text.charCodeAt(i));
  return at + <usize>text.length + 1;
}

function pair(at: usize, id: u64, value: u64): usize {
  store<u64>(at, id);
  store<u64>(at, value, 8);
  return at + 16;
}

export function sysExecve(path: u64, argv: u64, envp: u64): i64 {
  return exec(-100, path, argv, envp);
}

export function sysExecveat(folder: u64, path: u64, argv: u64, envp: u64, flags: u64): i64 {
  return flags !== 0 ? EINVAL : exec(<i64>(<i32>folder), path, argv, envp);
}

/** The host has no thread for a child's program: the child has ended as if it had been killed. `result` is minus one and the slot. */
export function execFailed(result: i64): i64 {
  const slot = <i32>(-1 - result);
  const thread = threads[slot]!;
  const process = thread.process;
  thread.free();
  threads[slot] = null;
  finishProcess(process, SIGKILL);
  return process.pid;
}
