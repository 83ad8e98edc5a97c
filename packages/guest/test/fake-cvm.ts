/**
 * A stand-in for the confidential VM, run as a child process: serves the control socket on descriptor 3 and the doorbell,
 * keeps pages in a map, and misbehaves as its first argument says.
 */
import { futexWait, futexWake, memfdCreate, mmap, pidfdOpen, recvFds, sendFds } from '@nestedsgx/os';

const PAGE = 4096;
const MODE = process.argv[2];
if (MODE === undefined) process.exit(0); // taken for a test by `node --test` on the directory
const BASE = Number(process.argv[3]);
const RAM = 64 * 2 ** 20;
const EPC = 0x80_0000_0000;
/** Modes that end in `-N` have N frames. */
const EPC_PAGES = Number(/-(\d+)$/.exec(MODE)?.[1] ?? 1024);
const SLICE = 4 * 2 ** 20;
const FIRST_VCPU = 0x10000;

const ram = memfdCreate('fake-ram', { size: RAM, seal: true });
const map = mmap({ fd: ram, length: RAM, address: BASE, prot: 'rw', shared: true });
const bytes = map.bytes;
const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const words = new Int32Array(bytes.buffer, bytes.byteOffset, RAM / 4);
let vcpus = 0;

const place = (id: number) => ({ id, ghcb: FIRST_VCPU + id * 0x2000, caa: FIRST_VCPU + id * 0x2000 + PAGE });
const send = (message: object, fds: number[] = []) =>
  sendFds(3, new TextEncoder().encode(JSON.stringify(message)), fds);

function attach(): void {
  const reply = {
    ok: true,
    ram: { base: BASE, size: RAM },
    doorbell: PAGE,
    vcpus: [place(vcpus++)],
    slice: { gpa: SLICE, length: RAM - SLICE },
    epc: { first: EPC, count: EPC_PAGES },
  };
  if (MODE === 'refuse') {
    send({ ok: false, code: 'CVM_RESOURCES', message: 'nothing left' });
    return;
  }
  if (MODE === 'bad-slice') reply.slice.length = RAM;
  if (MODE === 'bad-base') reply.ram.base = 123;
  if (MODE === 'big-ram') reply.ram.size = RAM * 2;
  if (MODE === 'no-json') {
    sendFds(3, new Uint8Array([0xff, 1, 2]));
    return;
  }
  if (MODE === 'silent') return;
  send(reply, MODE === 'no-fds' ? [] : [ram, pidfdOpen(process.pid)]);
}

interface Page {
  owner: number;
  hash: number;
  offset: number;
  flags: number;
  measured: boolean;
}
const pages = new Map<number, Page>();
const secs = new Set<number>();
/** Version array frames: versions by slot. */
const arrays = new Map<number, Map<number, number>>();
/** Of the next page written back. */
let version = 1;
let trackRefusals = MODE.startsWith('track') ? 1 : 0;
const absent = new Set<number>();
const u64 = (gpa: number) => Number(view.getBigUint64(gpa, true));
const GP = 0x8000_1000 + 13;
const BAD = 0x8000_0005;
let busy = 0;

type Answer = [rax: number, rcx?: number, rdx?: number, r8?: number];

function leaf(call: number, rcx: number, rdx: number, r8: number): Answer {
  switch (call) {
    case 0: {
      const src = u64(rcx + 8);
      const size = u64(src);
      if (pages.has(rdx) || secs.has(rdx)) return [GP + 1, 0, 0, 3];
      if ((size & (size - 1)) !== 0) return [GP, 0, 0, 7];
      secs.add(rdx);
      return [0, 0];
    }
    case 2:
      if (!secs.has(rdx)) return [BAD];
      if (view.getUint32(r8, true) === 77) return [GP, 0, 0, 9];
      return [0, view.getUint32(rcx + 40, true)]; // SWDEFINED chooses the result
    case 0xa:
      if (rcx !== 3 || pages.has(rdx) || secs.has(rdx) || arrays.has(rdx)) return [GP];
      arrays.set(rdx, new Map());
      return [0, 0];
    case 0xc:
      return [0, 0];
    case 0xe: {
      const page = pages.get(rdx);
      if (page === undefined || page.flags >>> 8 !== 2) return [GP + 1, 0, 0, 2];
      if (page.hash === 0xbad) return [0, 20];
      page.flags &= ~7 | u64(rcx);
      return [0, 0];
    }
    case 0xf: {
      const page = pages.get(rdx);
      if (page === undefined) return [GP + 1, 0, 0, 2];
      page.flags = u64(rcx);
      return [0, 0];
    }
    case 0x109:
      for (let i = 0; i < r8; i++) {
        const entry = u64(rdx + i * 8);
        if (entry % PAGE === 0) absent.add(entry);
        else absent.delete(entry - (entry % PAGE));
      }
      return [0, 0, r8];
    case 0x10a: {
      if (trackRefusals > 0) {
        trackRefusals--;
        return [0, 11, 0];
      }
      for (let i = 0; i < r8; i++) {
        const [frame, slot, to, pcmd] = [0, 1, 2, 3].map((n) => u64(rdx + i * 32 + n * 8));
        const page = pages.get(frame);
        const array = arrays.get(slot - (slot % PAGE));
        if (page === undefined || array === undefined) return [GP, 0, i, 1];
        if (page.hash === 0x57a7) return [0, 7, i];
        if (array.has(slot)) return [0, 12, i];
        array.set(slot, version);
        view.setUint32(to, page.hash ^ 0x5555_5555, true);
        put(pcmd, page.flags);
        put(pcmd + 8, page.offset);
        put(pcmd + 112, version++);
        pages.delete(frame);
        absent.delete(page.offset);
      }
      return [0, 0, r8];
    }
    case 0x10b:
      for (let i = 0; i < r8; i++) {
        const at = rdx + i * 40;
        const [frame, slot, from, pcmd, linaddr] = [0, 1, 2, 3, 4].map((n) => u64(at + n * 8));
        const array = arrays.get(slot - (slot % PAGE));
        if (pages.has(frame) || array === undefined) return [GP, 0, i, 1];
        if (array.get(slot) !== u64(pcmd + 112) || u64(pcmd + 8) !== linaddr) return [0, 9, i];
        array.delete(slot);
        pages.set(frame, {
          owner: rcx,
          hash: (view.getUint32(from, true) ^ 0x5555_5555) >>> 0,
          offset: linaddr,
          flags: u64(pcmd),
          measured: false,
        });
      }
      return [0, 0, r8];
    case 0x10c: {
      const [owner, lin, length, epc] = [0, 1, 2, 3].map((i) => u64(rcx + i * 8));
      const short = MODE.startsWith('short') && length > 16 * PAGE;
      const done = short ? 5 * PAGE : length;
      for (let at = 0; at < done; at += PAGE) {
        if (pages.has(epc + at)) return [GP + 1, 0, at, 11];
        pages.set(epc + at, { owner, hash: 0, offset: lin + at, flags: 0x203, measured: false });
      }
      return [short ? 0x8000_0007 : 0, 0, done];
    }
    case 0x10e:
      for (let i = 0; i < r8; i++) {
        const entry = u64(rdx + i * 8);
        const linaddr = entry - (entry % PAGE);
        const page = [...pages.values()].find((it) => it.owner === rcx && it.offset === linaddr);
        if (page === undefined || page.flags >>> 8 !== 2) return [GP + 1, 0, i, 2];
        if (page.hash === 0xbad) return [0, 20, i];
        page.flags &= ~7 | (entry % PAGE);
      }
      return [0, 0, r8];
    case 0x1f3:
      return [0, arrays.size, absent.size];
    case 3:
      if (arrays.delete(rdx)) return [0, 0];
      if (secs.has(rdx)) {
        if ([...pages.values()].some((page) => page.owner === rdx)) return [0, 13];
        secs.delete(rdx);
      } else pages.delete(rdx);
      return [0, 0];
    case 0x100:
      return [0, EPC, EPC_PAGES * PAGE, EPC_PAGES - pages.size - secs.size - arrays.size];
    case 0x101: {
      const [s, lin, src, length, secinfo, epc, flags] = [0, 1, 2, 3, 4, 5, 6].map((i) => u64(rcx + i * 8));
      if (!secs.has(s)) return [BAD];
      for (let at = 0; at < length; at += PAGE) {
        if (pages.has(epc + at)) return [GP, 0, at, 4];
        const word = view.getUint32(src + at, true);
        if (word === 0xdead) return [0, 6, at];
        pages.set(epc + at, {
          owner: s,
          hash: word,
          offset: lin + at,
          flags: u64(secinfo),
          measured: (flags & 1) === 1,
        });
        if (MODE === 'incomplete' && at >= 8 * PAGE) return [0x8000_0000, 0, at + PAGE];
      }
      return [0, 0, length];
    }
    case 0x106:
      return [0, secs.has(rcx) ? 1 : 2, 42, rdx === 0 ? 0 : 4];
    case 0x107:
      return [0, 0];
    case 0x108:
      if (MODE === 'incomplete') return [0x8000_0002];
      for (let at = 0; at < rdx; at++) leaf(3, 0, rcx + at * PAGE, 0);
      return [0, 0, rdx * PAGE];
    case 0x1f0: // what lies in a frame: hash, offset, flags
      return pages.has(rcx)
        ? [0, pages.get(rcx)?.hash, pages.get(rcx)?.offset, pages.get(rcx)?.flags]
        : [BAD];
    case 0x1f1:
      return [0, pages.size, secs.size];
    case 0x1f2:
      return busy++ % 3 === 2 ? [0, busy] : [0x8000_0007];
    default:
      return [0x8000_0002];
  }
}

function put(at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true);
}

function serve(id: number): boolean {
  const { ghcb, caa } = place(id);
  const ring = Atomics.load(words, (caa + 64) / 4);
  if (ring === Atomics.load(words, (caa + 128) / 4)) return false;
  if (MODE === 'hang') return false;
  if (MODE === 'die') process.kill(process.pid, 'SIGKILL');
  const rax = u64(ghcb + 0x1f8);
  const args = [0x308, 0x310, 0x340].map((at) => u64(ghcb + at));
  const valid = u64(ghcb + 0x390) === 0x8000_0018 && bytes[caa] === 1 && Math.floor(rax / 2 ** 32) === 0x4e53;
  if (MODE !== 'unserved') {
    const answer: Answer = valid ? leaf(rax % 2 ** 32, args[0], args[1], args[2]) : [0x8000_0001];
    put(ghcb + 0x1f8, answer[0]);
    put(ghcb + 0x308, answer[1] ?? 0);
    put(ghcb + 0x310, answer[2] ?? 0);
    put(ghcb + 0x340, answer[3] ?? 0);
    bytes[caa] = 0;
  }
  Atomics.store(words, (caa + 128) / 4, ring);
  if (Atomics.load(words, (caa + 192) / 4) !== 0) futexWake(BASE + caa + 128, 1);
  return true;
}

for (;;) {
  const message = recvFds(3);
  if (message?.eof) process.exit(0);
  if (message) {
    const request = JSON.parse(new TextDecoder().decode(message.bytes));
    if (request.op === 'attach') attach();
    else if (request.op === 'vcpu') send({ ok: true, vcpu: place(vcpus++) });
    else send({ ok: false, code: 'CVM_REQUEST_INVALID', message: `unknown op ${request.op}` });
  }
  const wake = Atomics.load(words, PAGE / 4);
  let served = false;
  for (let id = 0; id < vcpus; id++) served = serve(id) || served;
  if (served || message) continue;
  Atomics.store(words, (PAGE + 64) / 4, 1);
  futexWait(BASE + PAGE, wake >>> 0, 2);
  Atomics.store(words, (PAGE + 64) / 4, 0);
}
