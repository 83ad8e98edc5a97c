/** What an enclave of Intel's SDK starts with: features, attributes, memory for its calls. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SIGSTRUCT } from '@nestedsgx/arch';
import { GuestMemory } from '@nestedsgx/guest';
import { CallArena } from '../src/urts/call-arena.js';
import { chooseIntelAttributes } from '../src/urts/intel-attributes.js';
import { cpuFeatures, SYSTEM_FEATURES_SIZE, systemFeatures } from '../src/urts/system-features.js';

const BASELINE = 'fpu cmov mmx fxsr sse sse2 pni ssse3 sse4_1 sse4_2'.split(' ');
const flags = (...more: string[]) => new Set([...BASELINE, ...more]);

test('features stand at the bits of both layouts, and only with all that they need', () => {
  assert.deepEqual(cpuFeatures(flags(), false), { legacy: 0x7ffn, extended: 0x7ffn });
  // MOVBE and POPCNT changed places between the layouts.
  assert.deepEqual(cpuFeatures(flags('popcnt'), false), { legacy: 0xfffn, extended: 0x17ffn });
  assert.deepEqual(cpuFeatures(flags('movbe'), false), { legacy: 0x17ffn, extended: 0xfffn });
  assert.equal(cpuFeatures(flags('avx2'), false).extended, 0x7ffn, 'AVX2 without AVX state is not told');
  assert.equal(cpuFeatures(flags('avx', 'avx2'), false).extended, 0x81_07ffn);
  assert.equal(
    cpuFeatures(flags('abm'), false).extended,
    0x7ffn,
    'LZCNT is told for Intel only, as the SDK does',
  );
  assert.equal(cpuFeatures(flags('abm'), true).extended, 0x10_07ffn);
  assert.equal(cpuFeatures(flags('avx', 'avx512f', 'avx512dq'), true).legacy, 0x1_07ffn);
  assert.equal(cpuFeatures(flags('avx', 'avx512f', 'avx512dq'), true).extended, 0x901_07ffn);
});

test('the structure of ECMD_INIT_ENCLAVE has the layout of rts.h', () => {
  const cpuid = (leaf: number) => [leaf * 16 + 1, leaf * 16 + 2, leaf * 16 + 3, 0xffff_ffff];
  const bytes = systemFeatures({ flags: flags(), cpuid, edmm: true, aexNotify: true, processors: 6 });
  const view = new DataView(bytes.buffer);
  assert.equal(bytes.length, SYSTEM_FEATURES_SIZE);
  assert.equal(view.getBigUint64(0, true), 0x7ffn);
  assert.equal(view.getUint32(8, true), 5);
  assert.equal(view.getBigUint64(12, true), 0xc000_0000_0000_0003n);
  for (const leaf of [0, 1, 4, 7])
    assert.deepEqual(
      [0, 4, 8, 12].map((at) => view.getUint32(20 + leaf * 16 + at, true)),
      cpuid(leaf),
    );
  assert.equal(view.getUint32(20 + 2 * 16, true), 0, 'leaves that are not told are zero');
  assert.equal(view.getBigUint64(156, true), BigInt(SYSTEM_FEATURES_SIZE));
  assert.equal(view.getUint32(172, true), 6);
  const plain = systemFeatures({ flags: flags(), cpuid, edmm: false, aexNotify: false, processors: 1 });
  assert.equal(new DataView(plain.buffer).getUint32(8, true), 0);
  assert.equal(new DataView(plain.buffer).getBigUint64(12, true), 0xc000_0000_0000_0000n);
});

const image = (fields: Parameters<typeof SIGSTRUCT.encode>[0], FLAGS = 4n, XFRM = 0xe7n, miscselect = 0) => ({
  attributes: { FLAGS, XFRM },
  miscselect,
  sigstruct: SIGSTRUCT.encode(fields),
});
const SIGNED = {
  ATTRIBUTES: { FLAGS: 4n, XFRM: 3n },
  ATTRIBUTEMASK: { FLAGS: ~2n & (2n ** 64n - 1n), XFRM: ~0xe4n & (2n ** 64n - 1n) },
};

test('attributes are what the metadata asks for, as far as processor and signature go along', () => {
  assert.deepEqual(chooseIntelAttributes(image(SIGNED), true, 7n), {
    attributes: { FLAGS: 6n, XFRM: 7n },
    miscselect: 0,
  });
  assert.deepEqual(chooseIntelAttributes(image(SIGNED, 4n, 0xe7n, 3), false, 0xffn), {
    attributes: { FLAGS: 4n, XFRM: 0xe7n },
    miscselect: 1,
  });
  const refused = (body: () => unknown, code: string, message: RegExp) =>
    assert.throws(body, { code, message });
  const release = { ...SIGNED, ATTRIBUTEMASK: { ...SIGNED.ATTRIBUTEMASK, FLAGS: 2n ** 64n - 1n } };
  refused(() => chooseIntelAttributes(image(release), true, 7n), 'ENCLAVE_NOT_DEBUGGABLE', /NDEBUG/);
  assert.equal(chooseIntelAttributes(image(release), false, 7n).attributes.FLAGS, 4n);
  const avx = { ...SIGNED, ATTRIBUTES: { FLAGS: 4n, XFRM: 7n }, ATTRIBUTEMASK: { FLAGS: 0n, XFRM: 7n } };
  refused(() => chooseIntelAttributes(image(avx), false, 3n), 'IMAGE_UNSUPPORTED', /XFRM 0x7 .* 0x3/);
  const kss = { ...SIGNED, ATTRIBUTES: { FLAGS: 0x84n, XFRM: 3n } };
  refused(() => chooseIntelAttributes(image(kss), false, 7n), 'IMAGE_UNSUPPORTED', /ATTRIBUTES 0x4 .*0x84/);
  refused(
    () => chooseIntelAttributes(image(SIGNED, 4n, 1n), false, 7n),
    'IMAGE_UNSUPPORTED',
    /lacks x87 or SSE/,
  );
  const misc = { ...SIGNED, MISCSELECT: 2, MISCMASK: 2 };
  refused(() => chooseIntelAttributes(image(misc), false, 7n), 'IMAGE_UNSUPPORTED', /MISCSELECT 0x2/);
});

test('memory of calls is taken in a row, grows, is bounded and given back to the mark', () => {
  const base = 0x1000_0000_0000;
  const length = 8 << 20;
  const memory = new GuestMemory({ base, slice: new Uint8Array(length), gpa: 0, length });
  const arena = new CallArena(memory, 4 << 20);
  const { blocks } = memory;
  const outer = arena.mark();
  const first = arena.alloc(10, 8);
  const second = arena.alloc(1, 64);
  assert.equal(first % 4096n, 0n);
  assert.equal(second, first + 64n);
  const inner = arena.mark();
  const large = arena.alloc(3 << 20, 16);
  arena.view(large, 3 << 20).fill(1);
  assert.equal(memory.blocks, blocks + 1);
  assert.throws(() => arena.alloc(2 << 20, 8), { code: 'MESSAGE_TOO_LARGE' });
  arena.release(inner);
  assert.equal(memory.blocks, blocks);
  assert.equal(arena.alloc(1, 1), second + 1n);
  arena.release(outer);
  assert.equal(arena.alloc(4, 4), first);
  assert.throws(() => arena.view(BigInt(base - 1), 1), { code: 'GUEST_MEMORY_BAD_SIZE' });
  assert.throws(() => arena.view(2n ** 63n, 1), { code: 'GUEST_MEMORY_BAD_SIZE' });
  assert.throws(() => arena.view(BigInt(base + length - 1), 2), { code: 'GUEST_MEMORY_BAD_SIZE' });
  arena.close();
  assert.equal(memory.used, 0);
});
