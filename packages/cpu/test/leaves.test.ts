import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { LeafRequest, LeafResult } from '@nestedsgx/arch';
import { CallPool } from '@nestedsgx/os';
import type { ExitInfo } from '../src/host/index.js';
import { assemble, enclu } from './assemble.js';
import { AT, BenchMachine, type EnclaveOptions, type TestEnclave } from './bench-machine.js';

const GPRSGX = 4096 - 184;
const rel = (offset: number) => `_start+${offset - AT.CODE}(%rip)`;
const patched = { patch: true };
const trapped = { patch: false };

let pool: CallPool;
before(() => {
  pool = new CallPool(4);
});
after(() => pool.close());

/** Serves leaves as the monitor would until the entry is over. */
async function serve(
  enclave: TestEnclave,
  entry: Promise<ExitInfo>,
  answer: (request: LeafRequest) => LeafResult,
): Promise<ExitInfo> {
  let over = false;
  entry.finally(() => {
    over = true;
  });
  while (!over) {
    for (const request of enclave.running.pendingLeaves())
      enclave.running.answerLeaf(request.thread, answer(request));
    await new Promise((resolve) => setImmediate(resolve));
  }
  return entry;
}

async function withEnclave(
  processor: { patch: boolean },
  options: EnclaveOptions,
  run: (enclave: TestEnclave) => Promise<void>,
): Promise<void> {
  const machine = new BenchMachine({ ...processor, spare: false });
  try {
    const enclave = machine.start(options);
    await run(enclave);
    enclave.close();
  } finally {
    machine.close();
  }
}

const LONG_FORM = (leaf: number) => `mov $${leaf},%rax\n.byte 0x0f,0x01,0xd7\n`;
/** As Intel's trusted runtime does before EREPORT. */
const GAP_FORM = (leaf: number) => `mov $${leaf},%rax\nclc\ncld\n.byte 0x0f,0x01,0xd7\n`;

for (const [name, form] of [
  ['short', enclu],
  ['long', LONG_FORM],
  ['distant', GAP_FORM],
] as const)
  for (const processor of [patched, trapped])
    test(`a leaf keeps every register and sets its flags (${name} mov, patch ${processor.patch})`, async () => {
      const registers = 'rcx rdx rbx rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
      const code = assemble(`
        lea ${rel(AT.DATA + 0x800)}, %rsp
        ${registers.map((r, i) => `mov $${0x1000 + i}, %${r}`).join('\n')}
        vmovdqu ${rel(AT.DATA + 0x1000)}, %ymm7
        mov $0x7fffffff,%eax
        add $1,%eax
        ${form(1)}
        pushfq
        popq ${rel(AT.DATA + 0x100)}
        mov %rax, ${rel(AT.DATA)}
        ${registers.map((r, i) => `mov %${r}, ${rel(AT.DATA + 8 + i * 8)}`).join('\n')}
        mov %rsp, ${rel(AT.DATA + 0x108)}
        vmovdqu %ymm7, ${rel(AT.DATA + 0x1020)}
        mov $5,%edi
        ${form(4)}`);
      await withEnclave(processor, { code }, async (enclave) => {
        assert.equal(enclave.running.patchedSites, processor.patch ? 2 : 0);
        enclave.memory.write(
          AT.DATA + 0x1000,
          Uint8Array.from({ length: 32 }, (_, i) => i + 1),
        );
        for (const [zf, cf, rax] of [
          [true, false, 0x100n],
          [false, true, 0n],
          [false, false, 0xffff_ffff_ffff_fff0n],
        ] as const) {
          const seen: LeafRequest[] = [];
          const exit = await serve(enclave, enclave.gate.enterAsync(pool, 2), (request) => {
            seen.push(request);
            return { rax, zf, cf };
          });
          assert.equal(exit.kind, 'EEXIT');
          assert.deepEqual(seen, [{ thread: 0, leaf: 1, rbx: 0x1002n, rcx: 0x1000n, rdx: 0x1001n }]);
          const data = new DataView(enclave.memory.read(AT.DATA, 0x2000).buffer);
          assert.equal(data.getBigUint64(0, true), rax);
          registers.forEach((r, i) => {
            assert.equal(data.getBigUint64(8 + i * 8, true), BigInt(0x1000 + i), r);
          });
          assert.equal(data.getBigUint64(0x108, true), BigInt(enclave.base + AT.DATA + 0x800));
          const flags = data.getBigUint64(0x100, true);
          assert.equal((flags >> 6n) & 1n, zf ? 1n : 0n, 'ZF');
          assert.equal(flags & 1n, cf ? 1n : 0n, 'CF');
          assert.equal(flags & 0x880n, 0n, 'SF and OF are cleared by EGETKEY');
          assert.deepEqual(new Uint8Array(data.buffer, 0x1020, 32), new Uint8Array(data.buffer, 0x1000, 32));
        }
      });
    });

for (const processor of [patched, trapped])
  test(`a leaf that faults is an exception at its ENCLU (patch ${processor.patch})`, async () => {
    const code = assemble(`nop\nmov $0x1234,%ecx\nstc\nmov $0,%eax\nhere: .byte 0x0f,0x01,0xd7\n${enclu(4)}`);
    const at = Buffer.from(code.buffer, code.byteOffset).indexOf(Buffer.from([0x0f, 0x01, 0xd7]));
    await withEnclave(processor, { code, miscselect: 1 }, async (enclave) => {
      const exit = await serve(enclave, enclave.gate.enterAsync(pool, 2), () => ({
        rax: 0n,
        zf: false,
        cf: false,
        fault: { vector: 14, errorCode: 6, address: 0x123456n },
      }));
      assert.deepEqual(exit, { kind: 'AEX', vector: 14, errorCode: 6, address: 0x123000n });
      const ssa = enclave.ssa();
      assert.equal(ssa.getBigUint64(GPRSGX + 136, true), BigInt(enclave.base + AT.CODE + at), 'RIP');
      assert.equal(ssa.getBigUint64(GPRSGX, true), 0n, 'RAX is the leaf');
      assert.equal(ssa.getBigUint64(GPRSGX + 8, true), 0x1234n, 'RCX');
      assert.equal(ssa.getBigUint64(GPRSGX + 128, true) & 1n, 1n, 'CF');
      assert.equal(ssa.getUint32(GPRSGX + 160, true), 0x8000_030e);
      assert.equal(ssa.getBigUint64(GPRSGX - 16, true), 0x123456n);
    });
  });

test('the enclave sees its own bytes, and a jump straight to the ENCLU still works', async () => {
  // The first entry jumps behind the mov with RAX set by other means.
  const code = assemble(`
    mov %rdi,%rsi
    xor %edx,%edx
    mov $4,%ecx
    xchg %rcx,%rax
    jmp behind
    nop
    nop
    mov $4,%eax
  behind: .byte 0x0f,0x01,0xd7`);
  await withEnclave(patched, { code }, async (enclave) => {
    assert.equal(enclave.running.patchedSites, 1);
    const kind = enclave.gate.enter(9, 0);
    assert.equal(enclave.gate.exit(kind).kind, 'EEXIT');
    assert.equal(enclave.gate.responseNumber(1), 9);
    assert.deepEqual(enclave.memory.read(AT.CODE, code.length), code, 'the enclave memory is not patched');
  });
});

test('a mov made another by a REX prefix is left alone; one split over pages gets a breakpoint', async () => {
  const split = `.org 0xffc\nmov $4,%eax\n.byte 0x0f,0x01,0xd7\n`;
  const code = assemble(`
    mov $4,%eax
    mov $4,%r8d
    .byte 0x0f,0x01,0xd7
    ${split}`);
  await withEnclave(patched, { code }, async (enclave) => {
    assert.equal(enclave.running.patchedSites, 1);
    assert.equal(enclave.memory.readMapped(AT.CODE + 0x1001, 1)[0], 0xcc);
    const kind = enclave.gate.enter(0, 0);
    assert.equal(enclave.gate.exit(kind).kind, 'EEXIT');
    assert.equal(enclave.gate.responseNumber(3), 4, 'R8');
  });
});

test('flags that the stub must not inherit come back behind a leaf: AC, NT, DF and ID', async () => {
  const flags = 0x244400;
  const code = assemble(`
    nop
    lea ${rel(AT.DATA + 0x800)},%rsp
    pushq $${flags | 0x202}
    popfq
    ${enclu(1)}
    pushfq
    pop %rdi
    pushq $2
    popfq
    ${enclu(4)}`);
  for (const processor of [patched, trapped])
    await withEnclave(processor, { code }, async (enclave) => {
      const exit = await serve(enclave, enclave.gate.enterAsync(pool, 2), () => ({
        rax: 0n,
        zf: false,
        cf: false,
      }));
      assert.equal(exit.kind === 'EEXIT' && Number(exit.rdi) & flags, flags);
    });
});
