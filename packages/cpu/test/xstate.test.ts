import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CallPool } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine } from './bench-machine.js';
import { seeded } from './seeded.js';

const SEED = Number(process.env.NSGX_SEED ?? 20_261_122);
const GPRSGX = 4096 - 184;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;
const SOURCE = AT.DATA + 0x1000;
const COPY = AT.DATA + 0x4000;
const AVX512 = 0xe0n;

let machine: BenchMachine;
let pool: CallPool;
let wide: boolean;
before(() => {
  machine = new BenchMachine();
  pool = new CallPool(2);
  wide = (machine.processor.facts().xcr0 & AVX512) === AVX512;
});
after(async () => {
  await pool.close();
  machine.close();
});

const all = () => (wide ? 0xe7n : 7n);
const vector = () => (wide ? { name: 'zmm', count: 32, bytes: 64 } : { name: 'ymm', count: 16, bytes: 32 });

/** Loads vectors, masks, MXCSR, x87 control word and stack from SOURCE; stores them to COPY. */
function load(): string {
  const { name, count, bytes } = vector();
  const move = wide ? 'vmovdqu64' : 'vmovdqu';
  const lines = Array.from({ length: count }, (_, i) => `${move} ${rel(SOURCE + i * bytes)}, %${name}${i}`);
  if (wide) for (let i = 0; i < 8; i++) lines.push(`kmovw ${rel(SOURCE + 0x800 + i * 2)}, %k${i}`);
  lines.push(`ldmxcsr ${rel(SOURCE + 0x820)}`, 'fninit');
  for (let i = 0; i < 8; i++) lines.push(`fldl ${rel(SOURCE + 0x840 + i * 8)}`);
  lines.push(`fldcw ${rel(SOURCE + 0x824)}`);
  return lines.join('\n');
}
function store(): string {
  const { name, count, bytes } = vector();
  const move = wide ? 'vmovdqu64' : 'vmovdqu';
  const lines = Array.from({ length: count }, (_, i) => `${move} %${name}${i}, ${rel(COPY + i * bytes)}`);
  if (wide) for (let i = 0; i < 8; i++) lines.push(`kmovw %k${i}, ${rel(COPY + 0x800 + i * 2)}`);
  lines.push(`stmxcsr ${rel(COPY + 0x820)}`, `fnstcw ${rel(COPY + 0x824)}`);
  for (let i = 7; i >= 0; i--) lines.push(`fstpl ${rel(COPY + 0x840 + i * 8)}`);
  return lines.join('\n');
}

function pattern(random: () => number): Uint8Array {
  const bytes = Uint8Array.from({ length: 0x900 }, () => random() & 0xff);
  const view = new DataView(bytes.buffer);
  // Exceptions stay masked; rounding, denormals and flags vary.
  view.setUint32(0x820, 0x1f80 | (random() & 0xe07f), true);
  view.setUint16(0x824, 0x037f & ~(random() & 0x0c00), true);
  for (let i = 0; i < 8; i++) view.setFloat64(0x840 + i * 8, random() / 977 - 1e6, true);
  return bytes;
}

const used = (bytes: Uint8Array) => [
  bytes.subarray(0, vector().count * vector().bytes),
  wide ? bytes.subarray(0x800, 0x810) : new Uint8Array(),
  bytes.subarray(0x820, 0x826),
  bytes.subarray(0x840, 0x880),
];

test('seeded contents of every component survive thousands of exits', () => {
  const random = seeded(SEED);
  const code = assemble(`
    test %edi,%edi
    jnz 1f
    ${load()}
    mov $100,%r12d
  2: ud2
    dec %r12d
    jnz 2b
    ${store()}
    ${enclu(4)}
  1: addq $2, ${rel(AT.SSA + GPRSGX + 136)}
    ${load()}
    ${enclu(4)}`);
  const enclave = machine.start({ code, xfrm: all(), dataPages: 8 });
  const { gate } = enclave;
  try {
    for (let round = 0; round < 20; round++) {
      const first = pattern(random);
      enclave.memory.write(SOURCE, first);
      assert.equal(gate.enter(0, 0), EXIT_KIND.AEX);
      // The handler fills every register with something else before the frame is resumed.
      enclave.memory.write(SOURCE, pattern(random));
      for (let exit = 0; exit < 100; exit++) {
        assert.equal(gate.enter(1, 0), EXIT_KIND.EEXIT);
        assert.equal(gate.resume(), exit === 99 ? EXIT_KIND.EEXIT : EXIT_KIND.AEX);
      }
      assert.deepEqual(used(enclave.memory.read(COPY, 0x900)), used(first), `round ${round}, seed ${SEED}`);
    }
  } finally {
    enclave.close();
  }
});

test('seeded contents survive interrupts at any instruction', async () => {
  const random = seeded(SEED + 1);
  const code = assemble(`
    ${load()}
    mov $40000000,%ecx
  2: dec %ecx
    jnz 2b
    ${store()}
    ${enclu(4)}`);
  const enclave = machine.start({ code, xfrm: all(), dataPages: 8 });
  try {
    let interrupts = 0;
    const kicker = setInterval(() => enclave.running.kick(0), 1);
    try {
      for (let round = 0; round < 15; round++) {
        const first = pattern(random);
        enclave.memory.write(SOURCE, first);
        let exit = await enclave.gate.enterAsync(pool, 2);
        for (; exit.kind === 'AEX'; interrupts++) exit = await enclave.gate.enterAsync(pool, 3);
        assert.equal(exit.kind, 'EEXIT');
        assert.deepEqual(used(enclave.memory.read(COPY, 0x900)), used(first), `round ${round}, seed ${SEED}`);
      }
    } finally {
      clearInterval(kicker);
    }
    assert.ok(interrupts > 0);
  } finally {
    enclave.close();
  }
});

test('what XFRM leaves out is neither saved nor restored, and initial after an exit', () => {
  const code = assemble(`
    ${load()}
    ud2
    ${store()}
    ${enclu(4)}`);
  const random = seeded(SEED + 2);
  for (const xfrm of [3n, 7n]) {
    const enclave = machine.start({ code, xfrm, dataPages: 8 });
    const { gate } = enclave;
    try {
      const first = pattern(random);
      enclave.memory.write(SOURCE, first);
      assert.equal(gate.enter(0, 0), EXIT_KIND.AEX);
      const ssa = enclave.ssa();
      assert.equal(ssa.getBigUint64(512, true) & ~xfrm, 0n, 'XSTATE_BV');
      assert.equal(ssa.getBigUint64(520, true), 0n, 'XCOMP_BV');
      const end = xfrm === 3n ? 576 : 832;
      const rest = enclave.memory.read(AT.SSA + end, GPRSGX - end);
      assert.ok(
        rest.every((byte) => byte === 0),
        'nothing behind the components of XFRM',
      );
      enclave.memory.write(AT.SSA + GPRSGX + 136, rip(ssa.getBigUint64(GPRSGX + 136, true) + 2n));
      assert.equal(gate.resume(), EXIT_KIND.EEXIT);
      const copy = enclave.memory.read(COPY, 0x900);
      const { count, bytes } = vector();
      const kept = xfrm === 3n ? 16 : 32;
      for (let i = 0; i < count; i++) {
        const got = copy.subarray(i * bytes, (i + 1) * bytes);
        const saved = i < 16 ? kept : 0;
        assert.deepEqual(
          got.subarray(0, saved),
          first.subarray(i * bytes, i * bytes + saved),
          `register ${i}`,
        );
        assert.ok(
          got.subarray(saved).every((byte) => byte === 0),
          `register ${i} beyond XFRM ${xfrm}`,
        );
      }
      if (wide)
        assert.ok(
          copy.subarray(0x800, 0x810).every((byte) => byte === 0),
          'masks',
        );
    } finally {
      enclave.close();
    }
  }
});

function rip(value: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  return bytes;
}

test('an exit leaves the extended state initial: the handler sees nothing of what it interrupted', () => {
  const random = seeded(SEED + 3);
  const code = assemble(`
    test %eax,%eax
    jnz 1f
    ${load()}
    ud2
  1: fninit
    ${store()}
    ${enclu(4)}`);
  const enclave = machine.start({ code, xfrm: all(), dataPages: 8 });
  try {
    enclave.memory.write(SOURCE, pattern(random));
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
    assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.EEXIT);
    const copy = enclave.memory.read(COPY, 0x900);
    assert.ok(copy.subarray(0, vector().count * vector().bytes).every((byte) => byte === 0));
    assert.ok(
      copy.subarray(0x800, 0x810).every((byte) => byte === 0),
      'masks',
    );
    assert.equal(new DataView(copy.buffer).getUint32(0x820, true), 0x1f80, 'MXCSR');
  } finally {
    enclave.close();
  }
});
