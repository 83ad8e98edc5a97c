import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CallPool } from '@nestedsgx/os';
import { EXIT_KIND } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type TestEnclave } from './bench-machine.js';
import { seeded } from './seeded.js';

const SEED = Number(process.env.NSGX_SEED ?? 20_261_122);
const ROUNDS = Number(process.env.NSGX_FUZZ_RUNS ?? 3000);
const GPRSGX = 4096 - 184;
const FIELD = { RFLAGS: GPRSGX + 128, RIP: GPRSGX + 136, FSBASE: GPRSGX + 168, GSBASE: GPRSGX + 176 };
const MXCSR = 24;
const MXCSR_MASK = 28;
const XSTATE_BV = 512;
const XCOMP_BV = 520;
/** CF PF AF ZF SF DF OF NT AC ID. RF goes with the first instruction. */
const CARRIED = 0x244cd5n;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;

let machine: BenchMachine;
before(() => {
  machine = new BenchMachine();
});
after(() => machine.close());

// A resumed frame stores its flags and bases, and leaves.
const code = assemble(`
  lea ${rel(AT.DATA + 0x800)},%rsp
  ud2
resumed:
  pushfq
  popq ${rel(AT.DATA)}
  pushq $2
  popfq
  rdfsbase %rax
  mov %rax,${rel(AT.DATA + 8)}
  rdgsbase %rax
  mov %rax,${rel(AT.DATA + 16)}
  ${enclu(4)}
  .quad resumed-_start`);
const resumed = new DataView(code.buffer, code.byteOffset).getUint32(code.byteLength - 8, true);

const canonical = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;

/** Whether the manual's ERESUME refuses the frame with #GP. */
function refused(frame: DataView, xfrm: bigint, mask: number): boolean {
  const word = (at: number) => frame.getBigUint64(at, true);
  return (
    !canonical(word(FIELD.RIP)) ||
    !canonical(word(FIELD.FSBASE)) ||
    !canonical(word(FIELD.GSBASE)) ||
    (word(XSTATE_BV) & ~xfrm) !== 0n ||
    word(XCOMP_BV) !== 0n ||
    word(XCOMP_BV + 8) !== 0n ||
    (frame.getUint32(MXCSR, true) & ~mask) !== 0
  );
}

function forge(frame: DataView, random: () => number): void {
  const wide = () => (BigInt(random()) << 32n) | BigInt(random());
  const address = () => {
    const value = wide();
    return random() % 3 === 0 ? value : BigInt.asUintN(64, BigInt.asIntN(48, value));
  };
  for (let changes = 1 + (random() % 3); changes > 0; changes--)
    switch (random() % 12) {
      case 0:
        frame.setBigUint64(XSTATE_BV, BigInt(random() % 2 ? random() & 7 : random()), true);
        break;
      case 1:
        frame.setBigUint64(XCOMP_BV, random() % 3 ? 0n : 1n << BigInt(random() % 64), true);
        break;
      case 2:
        frame.setBigUint64(XCOMP_BV + 8, random() % 3 ? 0n : 1n << BigInt(random() % 64), true);
        break;
      case 3:
        frame.setUint8(XSTATE_BV + 24 + (random() % 40), random() & 0xff);
        break;
      case 4:
        // MXCSR with everything masked, and now and then a bit that does not exist.
        frame.setUint32(
          MXCSR,
          0x1f80 | (random() & 0xe07f) | (random() % 4 ? 0 : 1 << (16 + (random() % 16))),
          true,
        );
        break;
      case 5:
        frame.setBigUint64(FIELD.FSBASE, address(), true);
        break;
      case 6:
        frame.setBigUint64(FIELD.GSBASE, address(), true);
        break;
      case 7:
        frame.setBigUint64(
          FIELD.RIP,
          frame.getBigUint64(FIELD.RIP, true) ^ (1n << BigInt(47 + (random() % 17))),
          true,
        );
        break;
      case 8:
      case 9:
        frame.setBigUint64(FIELD.RFLAGS, wide(), true);
        break;
      case 10:
        // Legacy and AVX areas: any contents are legal there.
        frame.setUint8(random() % 2 ? 32 + (random() % 384) : 576 + (random() % 256), random() & 0xff);
        break;
      default:
        // Fields that ERESUME does not read: EXITINFO and its neighbours, URSP, URBP; unused bytes of the frame.
        frame.setUint8(
          random() % 2 ? GPRSGX + 144 + (random() % 24) : 1024 + (random() % 2000),
          random() & 0xff,
        );
    }
}

function write(enclave: TestEnclave, offset: number, value: bigint): void {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, true);
  enclave.memory.write(offset, bytes);
}

test('forged frames: ERESUME refuses what the manual refuses, and takes over what it takes over', () => {
  const random = seeded(SEED);
  const xfrm = 7n;
  const enclave = machine.start({ code, xfrm });
  const { gate, running } = enclave;
  const rip = BigInt(enclave.base + AT.CODE + resumed);
  const data = () => new DataView(enclave.memory.read(AT.DATA, 24).buffer);
  let accepted = 0;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const what = `round ${round}, seed ${SEED}`;
      assert.equal(gate.enter(0, 0), EXIT_KIND.AEX, what);
      const frame = enclave.ssa();
      const mask = frame.getUint32(MXCSR_MASK, true) || 0xffbf;
      frame.setBigUint64(FIELD.RIP, rip, true);
      const sound = enclave.memory.read(AT.SSA, 4096);
      new DataView(sound.buffer).setBigUint64(FIELD.RIP, rip, true);
      forge(frame, random);
      // A frame that asks for a notification would be entered at OENTRY if its TCS allowed that; this one does not.
      enclave.memory.write(AT.SSA, new Uint8Array(frame.buffer, frame.byteOffset, 4096));
      const exit = gate.exit(gate.resume());
      if (refused(frame, xfrm, mask)) {
        assert.deepEqual(
          exit,
          { kind: 'ENTRY_FAILED', vector: 13, errorCode: 0, address: BigInt(enclave.base + AT.TCS) },
          what,
        );
        assert.equal(running.threadState(0).cssa, 1, what);
        enclave.memory.write(AT.SSA, sound);
        assert.equal(gate.resume(), EXIT_KIND.EEXIT, `${what}: the repaired frame`);
      } else if (canonicalButElsewhere(frame, rip)) {
        assert.equal(exit.kind, 'AEX', what);
        enclave.memory.write(AT.SSA, sound);
        assert.equal(gate.resume(), EXIT_KIND.EEXIT, what);
      } else {
        assert.equal(exit.kind, 'EEXIT', what);
        assert.equal(
          data().getBigUint64(0, true) & ~0x202n,
          frame.getBigUint64(FIELD.RFLAGS, true) & CARRIED,
          `${what}: flags`,
        );
        assert.equal(data().getBigUint64(8, true), frame.getBigUint64(FIELD.FSBASE, true), `${what}: FSBASE`);
        assert.equal(
          data().getBigUint64(16, true),
          frame.getBigUint64(FIELD.GSBASE, true),
          `${what}: GSBASE`,
        );
        accepted++;
      }
      assert.equal(running.threadState(0).cssa, 0, what);
      assert.equal(running.lost, null, what);
    }
    assert.ok(accepted > ROUNDS / 10 && accepted <= ROUNDS, `${accepted} accepted`);
  } finally {
    enclave.close();
  }
});

/** A flipped bit above the 47th that left the address canonical can only be in the other half. */
function canonicalButElsewhere(frame: DataView, rip: bigint): boolean {
  return frame.getBigUint64(FIELD.RIP, true) !== rip;
}

test('a frame that sends the thread anywhere costs nobody but its enclave', async () => {
  const random = seeded(SEED + 7);
  const pool = new CallPool(1);
  const other = machine.start({ code: assemble(enclu(4)), base: machine.base + 0x81_0000_0000 });
  let lost = 0;
  try {
    for (let round = 0; round < 40; round++) {
      const enclave = machine.start({ code, xfrm: 7n });
      try {
        assert.equal(enclave.gate.enter(0, 0), EXIT_KIND.AEX);
        for (let i = 0; i < 18; i++) write(enclave, AT.SSA + GPRSGX + i * 8, BigInt(random()) * 5n);
        // Anywhere in the runner's own code, its trampolines, the enclave, or low memory.
        const targets = [
          0x4100_0000 + (random() % 0x6000),
          0x4810_0000 + (random() % 64),
          random() % 0x10000,
        ];
        targets.push(enclave.base + AT.CODE + (random() % code.byteLength));
        write(enclave, AT.SSA + FIELD.RIP, BigInt(targets[round % targets.length]!));
        write(enclave, AT.SSA + GPRSGX + 32, BigInt(enclave.base + AT.DATA + 0x800));
        // The runner's own code may also just wait: then its guest ends the enclave.
        const patience = setTimeout(() => enclave.running.stop(), 1000);
        const exit = await enclave.gate.enterAsync(pool, 3);
        clearTimeout(patience);
        if (exit.kind === 'LOST') lost++;
        assert.equal(other.gate.enter(0, 0), EXIT_KIND.EEXIT, `round ${round}, seed ${SEED}`);
        assert.equal(other.running.lost, null);
      } finally {
        enclave.close();
      }
    }
    assert.ok(lost < 40, `${lost} enclaves ended themselves`);
  } finally {
    other.close();
    await pool.close();
  }
});
