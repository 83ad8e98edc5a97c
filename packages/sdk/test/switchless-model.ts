/** The trusted half of switchless calls as threads of this process, and guest RAM that both halves see. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GuestMemory } from '@nestedsgx/guest';
import { CallPool, loadLibrary, type Mapping, mmap, type NativeLibrary } from '@nestedsgx/os';

/** What both halves share, declared anew from the description in the SDK's headers. */
export const STRUCTURES = `
#include <stddef.h>
#include <stdint.h>
#pragma pack(push, 1)
struct task { uint64_t status, function; char *data; uint32_t result; };
struct lines { uint64_t direction, count; uint64_t *events, *unused; void *handler; };
struct manager { uint64_t kind; struct lines lines; struct task *tasks; void *table; };
struct crew {
  void *shared; uint32_t kind, pad; uint64_t processed, missed; int32_t wake; uint32_t pad2;
  uint64_t all, running, sleeping; void *threads;
};
struct shared {
  struct { uint64_t words, untrusted, trusted, fallback, sleep; void *callbacks[4]; } config;
  void *table; uint64_t once[2], enclave, missed;
  struct manager ocalls, ecalls;
  int64_t stop;
  struct crew untrusted, trusted;
  uint64_t waker, wake, initialised;
};
#pragma pack(pop)
`;

const MODEL = `${STRUCTURES}
#include <unistd.h>
#include <x86intrin.h>
#define NOW(place) (*(volatile __typeof__(place) *)&(place))

/* What a thread of the model shall do. */
struct run { struct shared *s; uint32_t *gate; char *data; uint64_t function, count, step, last, missed; };

static int take(uint64_t *events, uint64_t line) {
  uint64_t bit = 1ull << line % 64;
  return (__atomic_fetch_and(&events[line / 64], ~bit, __ATOMIC_SEQ_CST) & bit) != 0;
}

/* One OCALL on a line of its own; its result, or -1 when nobody took it. */
int64_t model_ocall(struct run *r, uint64_t line) {
  struct manager *m = &r->s->ocalls;
  volatile struct task *t = &m->tasks[line];
  t->function = r->function;
  t->data = r->data;
  t->result = 1;
  t->status = 1;
  __atomic_fetch_or(&m->lines.events[line / 64], 1ull << line % 64, __ATOMIC_SEQ_CST);
  for (uint64_t i = 0; t->status == 1; i++) {
    if (i >= r->s->config.fallback && take(m->lines.events, line)) {
      r->missed++;
      NOW(r->s->untrusted.missed)++;
      NOW(r->s->missed) = 1;
      return -1;
    }
    _mm_pause();
  }
  while (t->status != 3) _mm_pause();
  NOW(r->s->untrusted.processed)++;
  return t->result;
}

/* A number of OCALLs, on one line after another; how many somebody took. */
int64_t model_ocalls(struct run *r) {
  int64_t taken = 0;
  for (uint64_t i = 0; i < r->count; i++) {
    int64_t result = model_ocall(r, i * r->step % r->s->ocalls.lines.count);
    if (result < 0) continue;
    r->last = result;
    taken++;
  }
  return taken;
}

/* Function 0 adds one to its data, 1 makes an OCALL, 2 takes its time, 3 hides that it works, 4 crashes; 5 is none. */
static uint32_t ecall(struct run *r, volatile struct task *t) {
  switch (t->function) {
  case 0: ++*(volatile uint32_t *)t->data; return 0;
  case 1: r->data = t->data; return (uint32_t)model_ocall(r, 5);
  case 2: usleep(20000); return 0;
  case 3: t->status = 77; usleep(3000); return 0;
  case 4: return 0x1006;
  default: return 0x1001;
  }
}

/* A trusted worker that does not tire. */
int64_t model_worker(struct run *r) {
  struct manager *m = &r->s->ecalls;
  int64_t done = 0;
  while (!NOW(r->s->stop)) {
    for (uint64_t line = 0; line < m->lines.count; line++) {
      if (!(NOW(m->lines.events[line / 64]) >> line % 64 & 1) || !take(m->lines.events, line)) continue;
      volatile struct task *t = &m->tasks[line];
      if (t->status != 1) return -1;
      t->status = 2;
      t->result = ecall(r, t);
      t->status = 3;
      done++;
    }
    _mm_pause();
  }
  return done;
}

/* An enclave behind its gate: waits for one entry, makes OCALLs, leaves with RDI = -1. */
int64_t model_enclave(struct run *r) {
  uint32_t seen = r->gate[16];
  while (NOW(r->gate[0]) == seen) _mm_pause();
  int64_t taken = model_ocalls(r);
  NOW(r->gate[17]) = 1;
  NOW(r->gate[18]) = NOW(r->gate[19]) = ~0u;
  NOW(r->gate[20]) = NOW(r->gate[21]) = 0;
  __atomic_store_n(&r->gate[16], r->gate[0], __ATOMIC_SEQ_CST);
  return taken;
}
`;

const RAM = 4 << 20;
const GPA = 0x40_0000;

/** Gives `body` the path of a temporary folder. */
export function inFolder<T>(body: (path: (name: string) => string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-model-'));
  try {
    return body((name) => join(folder, name));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

let library: NativeLibrary | undefined;

function modelLibrary(): NativeLibrary {
  library ??= inFolder((path) => {
    writeFileSync(path('model.c'), MODEL);
    execFileSync('gcc', [
      ...['-std=gnu11', '-O2', '-Wall', '-Wno-address-of-packed-member', '-fPIC', '-shared'],
      ...['-o', path('model.so'), path('model.c')],
    ]);
    return loadLibrary(path('model.so'));
  });
  return library;
}

/** What a thread of the model does; see the source above. */
export interface Run {
  gate?: number;
  data?: number;
  function?: number;
  count?: number;
  step?: number;
}

/** Guest RAM, and threads that play the enclave. */
export class SwitchlessModel {
  readonly memory: GuestMemory;
  readonly #ram: Mapping;
  readonly #pool = new CallPool(4, { followCaller: false });

  constructor() {
    this.#ram = mmap({ length: RAM, prot: 'rw', shared: true });
    const base = this.#ram.address - GPA;
    this.memory = new GuestMemory({ base, slice: this.#ram.bytes, gpa: GPA, length: RAM });
  }

  /** Starts a thread; `read` gives what it noted: its last result, and OCALLs that nobody took. */
  run(what: 'worker' | 'ocalls' | 'enclave', shared: number, run: Run = {}) {
    const block = this.memory.alloc(64, { zero: true });
    const words = new BigUint64Array(block.bytes.buffer, block.bytes.byteOffset, 8);
    const { gate = 0, data = 0, function: fn = 0, count = 1, step = 1 } = run;
    [shared, gate, data, fn, count, step].forEach((value, i) => {
      words[i] = BigInt(value);
    });
    const done = this.#pool.submit(modelLibrary().symbolAddress(`model_${what}`), block.address);
    return { done, read: () => ({ last: Number(words[6]), missed: Number(words[7]) }) };
  }

  /** Waits for all threads, runs `last`, and gives the memory back. */
  async close(last: () => void): Promise<void> {
    await this.#pool.close();
    last();
    this.#ram.unmap();
  }
}
