/** /proc and /sys as programs need them: texts that are made when they are opened. */
import { cpuCount } from '../scheduling';
import { stackBytes } from '../memory/images';
import { mapsText } from '../memory/maps-text';
import { arenaBytes, freeBytes } from '../memory/places';
import { now } from '../shim';
import { processTime } from '../task/cpu-time';
import { Process } from '../task/process';
import { current } from '../task/thread';
import { bytesToString, stringToBytes } from '../user';
import { Inode, S_IFDIR, S_IFLNK, S_IFREG } from './inode';
import { fileOf, OPEN_MAX } from './open-file';
import { mounts, pathWithin } from './outside';
import { link, pathOf, root } from './path';

const MAPS = 1;
const STATUS = 2;
const STAT = 3;
const STATM = 4;
const MOUNTS = 5;
const CMDLINE = 6;
const LIMITS = 7;
const MEMINFO = 8;
const CPUINFO = 9;
const UPTIME = 10;
const SYSTEM_STAT = 11;
const MOUNTINFO = 12;
const COMM = 13;
const CPUS = 14;
/** What does not change has its text. */
const FIXED = 64;

const NANO: u64 = 1_000_000_000;
const texts = new Array<string>();
/** Numbers of folders and links whose contents depend on who asks. */
let descriptors: u64 = 0;
let executable: u64 = 0;

/** What a process runs, and its arguments. */
class Running {
  constructor(
    public program: Inode,
    public strings: Array<string>,
  ) {}
}
const running = new Map<i32, Running>();

export function setProgram(pid: i32, program: Inode, strings: Array<string>): void {
  running.set(pid, new Running(program, strings));
}

/** A child runs what its parent does. */
export function copyProgram(from: i32, to: i32): void {
  if (running.has(from)) running.set(to, running.get(from));
}

/** Nobody asks for it any more. */
export function forgetProgram(pid: i32): void {
  running.delete(pid);
}

function folder(path: string): Inode {
  const names = path.split('/');
  let at: Inode = root;
  for (let i = 1; i < names.length; i++) {
    if (!at.entries!.has(names[i])) link(at, names[i], new Inode(S_IFDIR | 0o555));
    at = at.entries!.get(names[i]);
    at.readOnly = true;
  }
  return at;
}

function file(parent: Inode, name: string, made: i32): void {
  const inode = new Inode(S_IFREG | 0o444);
  inode.made = made;
  inode.readOnly = true;
  link(parent, name, inode);
}

function fixed(path: string, name: string, text: string): void {
  file(folder(path), name, FIXED + texts.length);
  texts.push(text);
}

function linkTo(parent: Inode, name: string, target: string): Inode {
  const inode = new Inode(S_IFLNK | 0o777);
  inode.target = target;
  inode.size = target.length;
  inode.readOnly = true;
  link(parent, name, inode);
  return inode;
}

export function bootProc(dev: Inode, main: Inode | null): void {
  const proc = folder('/proc');
  const own = folder('/proc/2');
  linkTo(proc, 'self', '2');
  linkTo(proc, 'mounts', 'self/mounts');
  file(own, 'maps', MAPS);
  file(own, 'status', STATUS);
  file(own, 'stat', STAT);
  file(own, 'statm', STATM);
  file(own, 'mounts', MOUNTS);
  file(own, 'mountinfo', MOUNTINFO);
  file(own, 'cmdline', CMDLINE);
  file(own, 'limits', LIMITS);
  file(own, 'comm', COMM);
  fixed('/proc/2', 'cgroup', '0::/\n');
  fixed('/proc/2', 'oom_score_adj', '0\n');
  const exe = linkTo(own, 'exe', '');
  exe.own = true;
  executable = exe.number;
  linkTo(own, 'root', '/');
  const fds = folder('/proc/2/fd');
  fds.own = true;
  descriptors = fds.number;
  if (main !== null) {
    setProgram(2, main, new Array<string>());
    const path = targetOf(main, false);
    const name = path.substring(path.lastIndexOf('/') + 1);
    stringToBytes(name.substring(0, 15), current.name);
  }
  file(proc, 'meminfo', MEMINFO);
  file(proc, 'cpuinfo', CPUINFO);
  file(proc, 'uptime', UPTIME);
  file(proc, 'stat', SYSTEM_STAT);
  fixed('/proc', 'loadavg', '0.00 0.00 0.00 1/1 2\n');
  fixed('/proc', 'version', 'Linux version 6.1.0 (NestedSGX library OS) #1\n');
  fixed('/proc', 'filesystems', 'nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tdevtmpfs\n');
  fixed('/proc/sys/kernel', 'osrelease', '6.1.0\n');
  fixed('/proc/sys/kernel', 'ostype', 'Linux\n');
  fixed('/proc/sys/kernel', 'hostname', 'nestedsgx\n');
  fixed('/proc/sys/kernel', 'pid_max', '4194304\n');
  fixed('/proc/sys/kernel', 'ngroups_max', '65536\n');
  fixed('/proc/sys/kernel', 'cap_last_cap', '40\n');
  fixed('/proc/sys/vm', 'overcommit_memory', '0\n');
  fixed('/proc/sys/vm', 'max_map_count', '65530\n');
  fixed('/proc/sys/net/core', 'somaxconn', '4096\n');
  fixed('/proc/sys/fs', 'file-max', `${OPEN_MAX}\n`);
  const cpu = folder('/sys/devices/system/cpu');
  file(cpu, 'online', CPUS);
  file(cpu, 'possible', CPUS);
  file(cpu, 'present', CPUS);
  linkTo(dev, 'fd', '/proc/self/fd').readOnly = false;
  linkTo(dev, 'stdin', '/proc/self/fd/0').readOnly = false;
  linkTo(dev, 'stdout', '/proc/self/fd/1').readOnly = false;
  linkTo(dev, 'stderr', '/proc/self/fd/2').readOnly = false;
}

/** The folders of processors, of which each is a package of its own: what the host has is not known. */
export function bootProcessors(count: i32): void {
  for (let cpu = 0; cpu < count; cpu++) {
    const topology = `/sys/devices/system/cpu/cpu${cpu}/topology`;
    fixed(topology, 'core_id', '0\n');
    fixed(topology, 'physical_package_id', `${cpu}\n`);
    fixed(topology, 'thread_siblings_list', `${cpu}\n`);
    fixed(topology, 'core_siblings_list', `${cpu}\n`);
  }
}

/** Folders of the host, in either form. */
function mountLines(info: bool): string {
  let text = '';
  for (let i = 0; i < mounts.length; i++) {
    const mount = mounts[i];
    const path = mount.path.replaceAll(' ', '\\040');
    const access = mount.writable ? 'rw' : 'ro';
    text += info
      ? `${i + 5} 1 0:${mount.device} / ${path} ${access} - 9p host ${access}\n`
      : `host ${path} 9p ${access} 0 0\n`;
  }
  return text;
}

/** A path of a file by search; for removed ones what Linux says of them. */
function nameOf(at: Inode, wanted: Inode, path: string): string {
  const entries = at.entries!;
  const names = entries.keys();
  for (let i = 0; i < names.length; i++) {
    const next = entries.get(names[i]);
    if (next === wanted) return `${path}/${names[i]}`;
    if (next.entries === null || next.number === descriptors || next.outside !== null) continue;
    const found = nameOf(next, wanted, `${path}/${names[i]}`);
    if (found !== '') return found;
  }
  return '';
}

function targetOf(inode: Inode, special: bool): string {
  if (special) return `anon_inode:[${inode.number}]`;
  if (inode.isDirectory) return pathOf(inode);
  if (inode.outside !== null) return `${pathOf(inode.outside!.mount.root)}/${pathWithin(inode)}`;
  const name = nameOf(root, inode, '');
  return name !== '' ? name : inode.device !== 0 ? `/dev/pts/${inode.device}` : '/memfd (deleted)';
}

/** Called for folders and links that a walk comes by: those of the process that asks are made to be its own. */
export function refresh(inode: Inode): void {
  if (inode.number === executable) {
    const pid = current.process.pid;
    if (!running.has(pid)) return;
    inode.jump = running.get(pid).program;
    inode.target = targetOf(running.get(pid).program, false);
  } else if (inode.number === descriptors) {
    inode.entries = new Map<string, Inode>();
    for (let fd = 0; fd < OPEN_MAX; fd++) {
      const open = fileOf(fd);
      if (open === null) continue;
      const entry = linkTo(inode, fd.toString(), targetOf(open.inode, open.special !== 0));
      entry.jump = open.inode;
    }
  }
}

function bytes(name: string, kilobytes: u64): string {
  return `${name}:${kilobytes.toString().padStart(16, ' ')} kB\n`;
}

function statusText(process: Process): string {
  const size = (arenaBytes() - freeBytes() + stackBytes()) / 1024;
  return (
    `Name:\t${bytesToString(current.name, nameLength())}\nUmask:\t${(<i32>process.umask).toString(8).padStart(4, '0')}\n` +
    `State:\tR (running)\nTgid:\t${process.pid}\nPid:\t${process.pid}\nPPid:\t${parentOf(process)}\nTracerPid:\t0\n` +
    'Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nFDSize:\t4096\nGroups:\t \n' +
    `VmPeak:\t${size} kB\nVmSize:\t${size} kB\nVmHWM:\t${size} kB\nVmRSS:\t${size} kB\nThreads:\t${process.threadCount()}\n` +
    'CapInh:\t0000000000000000\nCapPrm:\t000001ffffffffff\nCapEff:\t000001ffffffffff\nCapBnd:\t000001ffffffffff\n' +
    `NoNewPrivs:\t0\nSeccomp:\t0\nCpus_allowed_list:\t${cpuList()}\nMems_allowed_list:\t0\n`
  );
}

function nameLength(): i32 {
  let length = 0;
  while (length < 15 && load<u8>(current.name + length) !== 0) length++;
  return length;
}

function parentOf(process: Process): i32 {
  return process.parent === null ? 1 : process.parent!.pid;
}

function cpuList(): string {
  return cpuCount() === 1 ? '0' : `0-${cpuCount() - 1}`;
}

function statText(process: Process): string {
  const ticks = processTime(process) / (NANO / 100);
  const size = arenaBytes() - freeBytes() + stackBytes();
  let text =
    `${process.pid} (${bytesToString(current.name, nameLength())}) R ${parentOf(process)} ${process.pgid} ${process.sid} ` +
    `0 -1 0 0 0 0 0 ${ticks} 0 0 0 20 0 ${process.threadCount()} 0 0 ${size} ${size / 4096} 18446744073709551615`;
  // Addresses, signals and what else nobody asks for.
  for (let i = 26; i <= 52; i++) text += ' 0';
  return `${text}\n`;
}

function cpuTexts(): string {
  let text = '';
  for (let cpu = 0; cpu < cpuCount(); cpu++)
    text +=
      `processor\t: ${cpu}\nvendor_id\t: NestedSGX\nmodel name\t: SGX enclave\nphysical id\t: 0\nsiblings\t: ${cpuCount()}\n` +
      `core id\t\t: ${cpu}\ncpu cores\t: ${cpuCount()}\nfpu\t\t: yes\nflags\t\t: fpu tsc cx8 cmov mmx fxsr sse sse2 lm\n\n`;
  return text;
}

function systemStat(): string {
  const ticks = processTime(current.process) / (NANO / 100);
  let text = `cpu  ${ticks} 0 0 0 0 0 0 0 0 0\n`;
  for (let cpu = 0; cpu < cpuCount(); cpu++) text += `cpu${cpu} ${cpu === 0 ? ticks : 0} 0 0 0 0 0 0 0 0 0\n`;
  return `${text}intr 0\nctxt 0\nbtime ${(now(0) - now(1)) / NANO}\nprocesses 1\nprocs_running 1\nprocs_blocked 0\n`;
}

function commandLine(): string {
  const pid = current.process.pid;
  if (!running.has(pid)) return '';
  const kept = running.get(pid);
  // The first program's arguments are on its stack alone.
  if (kept.strings.length === 0) return `${targetOf(kept.program, false)}\0`;
  return `${kept.strings.join('\0')}\0`;
}

function limitLine(name: string, soft: string, hard: string, unit: string): string {
  return `${name.padEnd(26, ' ')}${soft.padEnd(21, ' ')}${hard.padEnd(21, ' ')}${unit.padEnd(10, ' ')}\n`;
}

function textOf(made: i32): string {
  const process = current.process;
  const used = (arenaBytes() - freeBytes()) / 4096;
  switch (made) {
    case MAPS:
      return mapsText();
    case STATUS:
      return statusText(process);
    case STAT:
      return statText(process);
    case STATM:
      return `${used} ${used} 0 0 0 ${used} 0\n`;
    case MOUNTS:
      return 'root / rootfs ro 0 0\ntmpfs /tmp tmpfs rw 0 0\nproc /proc proc ro 0 0\ndevtmpfs /dev devtmpfs rw 0 0\n' + mountLines(false);
    case MOUNTINFO:
      return (
        '1 1 0:1 / / ro - rootfs root ro\n2 1 0:2 / /tmp rw - tmpfs tmpfs rw\n3 1 0:3 / /proc ro - proc proc ro\n' +
        '4 1 0:4 / /dev rw - devtmpfs devtmpfs rw\n' +
        mountLines(true)
      );
    case CMDLINE:
      return commandLine();
    case LIMITS:
      return (
        limitLine('Limit', 'Soft Limit', 'Hard Limit', 'Units') +
        limitLine('Max stack size', stackBytes().toString(), stackBytes().toString(), 'bytes') +
        limitLine('Max open files', OPEN_MAX.toString(), OPEN_MAX.toString(), 'files')
      );
    case MEMINFO:
      return (
        bytes('MemTotal', arenaBytes() / 1024) +
        bytes('MemFree', freeBytes() / 1024) +
        bytes('MemAvailable', freeBytes() / 1024) +
        bytes('Buffers', 0) +
        bytes('Cached', 0) +
        bytes('SwapTotal', 0) +
        bytes('SwapFree', 0)
      );
    case CPUINFO:
      return cpuTexts();
    case UPTIME:
      return `${now(1) / NANO}.${((now(1) / 10_000_000) % 100).toString().padStart(2, '0')} 0.00\n`;
    case SYSTEM_STAT:
      return systemStat();
    case COMM:
      return `${bytesToString(current.name, nameLength())}\n`;
    case CPUS:
      return `${cpuList()}\n`;
    default:
      return texts[made - FIXED];
  }
}

/** What an open file of such a name reads: its text as of now. */
export function made(inode: Inode): Inode {
  const text = textOf(inode.made);
  const copy = new Inode(inode.mode);
  copy.readOnly = true;
  copy.links = 0;
  const bytes = heap.alloc(text.length + 1);
  copy.fill(bytes, stringToBytes(text, bytes));
  heap.free(bytes);
  return copy;
}
