/** A host that answers wrongly: lengths that were not asked for, impossible errors, answers cut short. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { buildProgramImage, LIBOS_INTERFACE } from '../src/index.js';
import { hostFacts, hostHandlers } from '../src/run/host.js';
import { pageHandlers, type Trimmed } from '../src/run/pages.js';
import { compile, native } from './programs.js';

let cvm: Cvm;
before(async () => {
  cvm = await Cvm.launch();
});
after(() => cvm.close());

/** Answers to reads by the length that was asked for. */
const READS: Readonly<Record<number, bigint>> = {
  8: 9n,
  9: -(2n ** 63n),
  10: -5000n,
  11: 2n ** 32n,
  12: 5n,
  13: 0x7fff_ffff_ffffn,
  14: 14n,
};
/** Answers to writes to stderr. */
const WRITES: Readonly<Record<number, bigint>> = { 1: 2n, 2: -4096n, 3: -28n };

// native/include/channel.h
const STRIDE = 4096 + (128 + 64) * 1024;
const IO = Object.freeze({ READ: 1n, WRITE: 2n, POLL: 7n });

/** A host that answers requests itself, and wrongly. */
async function liar(): Promise<{ address: number; host_io(slot: number): void; output: () => string }> {
  const { connection } = await cvm.guest();
  const block = connection.memory.alloc(64 * STRIDE, { alignment: 4096, zero: true });
  let output = '';
  const answer = (op: bigint, a: bigint[], data: Uint8Array): bigint => {
    const length = Number(a[1]);
    if (op === IO.READ) {
      data.fill(0xee);
      return READS[length] ?? 0n;
    }
    if (op === IO.POLL) {
      data.fill(0xff, 0, 64);
      return 2n ** 40n;
    }
    if (op !== IO.WRITE || a[0] === 2n) return WRITES[length] ?? 0n;
    output += Buffer.from(data.subarray(0, length)).toString();
    return BigInt(length);
  };
  return {
    address: block.address,
    host_io(slot) {
      const bytes = block.bytes.subarray(slot * STRIDE, (slot + 1) * STRIDE);
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const a = Array.from({ length: 6 }, (_, i) => view.getBigUint64(8 + 8 * i, true));
      const result = answer(BigInt(view.getUint32(4, true)), a, bytes.subarray(4096));
      // The address of a sender is longer than there is room for.
      view.setUint32(68, 0xffff_ffff, true);
      view.setBigInt64(72, result, true);
      view.setUint32(64, view.getUint32(0, true), true);
    },
    output: () => output,
  };
}

function facts(address: number, transport = 1): Uint8Array {
  return new Uint8Array(BigUint64Array.of(BigInt(address), BigInt(transport), 0n).buffer);
}

test('answers that cannot be are errors of the call, and nothing else changes', async () => {
  const image = buildProgramImage({ program: compile('hostile') });
  const { privateKeyPem } = await generateKey();
  const host = await liar();
  let loaded: Trimmed;
  const handlers = {
    ...hostHandlers({ root: image.root }),
    ...pageHandlers(() => loaded),
    io_facts: () => facts(host.address),
    host_io: (slot: number) => host.host_io(slot),
  };
  await using enclave = await cvm.load(
    { sgxs: image.image, sig: signImage(image.image, privateKeyPem, image.signOptions) },
    LIBOS_INTERFACE,
    { ocalls: handlers, ocallBufferBytes: 512 * 1024 },
  );
  loaded = enclave;
  const status = enclave.ecalls.run(new TextEncoder().encode('hostile\0'), new Uint8Array(0), hostFacts());
  assert.equal(status, 0);
  assert.deepEqual(host.output().trim().split('\n'), [
    ...[8, 9, 10, 11].map((length) => `read ${length}: -1 EIO 0`),
    'read 12: 5  0',
    'read 13: -1 EIO 0',
    'read 14: 14  0',
    'write 1: -1 EIO',
    'write 2: -1 EIO',
    'write 3: -1 ENOSPC',
    'poll(&polled, 1, 0) = -1 EIO',
  ]);
});

test('interrupts at any time, and calls for attention without a reason, change nothing', async () => {
  const program = compile('storm', '-DALONE', '-pthread', '-mavx');
  const image = buildProgramImage({ program });
  const { privateKeyPem } = await generateKey();
  const host = await liar();
  let loaded: Trimmed;
  await using enclave = await cvm.load(
    { sgxs: image.image, sig: signImage(image.image, privateKeyPem, image.signOptions) },
    LIBOS_INTERFACE,
    {
      ocalls: {
        ...hostHandlers({ root: image.root }),
        ...pageHandlers(() => loaded),
        io_facts: () => facts(host.address),
        host_io: (slot: number) => host.host_io(slot),
        // Neither when it is asked to, nor for as long as it is asked to.
        alarm: () => undefined,
        interrupt: () => undefined,
        park: () => undefined,
      },
      threads: 8,
      offerInterrupts: true,
    },
  );
  loaded = enclave;
  enclave.interruptEvery(1);
  let over = false;
  const nagging = (async () => {
    for (let i = 0; !over; i++) {
      const next = await enclave.async.attend([0, 65, 0xffff_ffff, 17, 23][i % 5], 0xffff_ffff);
      assert.ok(next >= -2n);
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  const status = await enclave.async.run(new TextEncoder().encode('storm\0'), new Uint8Array(0), hostFacts());
  over = true;
  await nagging;
  enclave.interruptEvery(0);
  assert.equal(host.output(), native(program, []).stdout);
  assert.equal(status, 0);
  assert.ok(enclave.interruptsTaken > 0 && enclave.stats().interrupts > enclave.interruptsTaken);
});

test('channels lie outside of the enclave, or it does not start', async () => {
  const image = buildProgramImage({ program: compile('hostile') });
  const { privateKeyPem } = await generateKey();
  const sig = signImage(image.image, privateKeyPem, image.signOptions);
  const { connection } = await cvm.guest();
  const before = connection.memory.base;
  for (const wrong of ['inside', 'overlapping', 'unaligned', 'transport', 'short']) {
    let address = 0;
    await using enclave = await cvm.load({ sgxs: image.image, sig }, LIBOS_INTERFACE, {
      ocalls: {
        ...hostHandlers({ root: image.root }),
        io_facts: () =>
          wrong === 'short' ? new Uint8Array(16) : facts(address, wrong === 'transport' ? 3 : 0),
      },
    });
    const { base } = enclave.range;
    address = { inside: base, overlapping: base - STRIDE, unaligned: before + 4 }[wrong] ?? before;
    const argv = new TextEncoder().encode('hostile\0');
    assert.throws(() => enclave.ecalls.run(argv, new Uint8Array(0), hostFacts()), {
      code: 'ENCLAVE_STATUS',
    });
  }
});

test('an enclave runs one program, and takes no facts that are cut short', async () => {
  const image = buildProgramImage({ program: compile('hostile') });
  const { privateKeyPem } = await generateKey();
  const sig = signImage(image.image, privateKeyPem, image.signOptions);
  const argv = new TextEncoder().encode('hostile\0');
  const none = new Uint8Array(0);
  for (const facts of [none, new Uint8Array(32), hostFacts().subarray(0, 40)]) {
    await using enclave = await cvm.load({ sgxs: image.image, sig }, LIBOS_INTERFACE, {
      ocalls: hostHandlers({ root: image.root }),
    });
    assert.throws(() => enclave.ecalls.run(argv, none, facts), { code: 'ENCLAVE_STATUS' });
    assert.throws(() => enclave.ecalls.run(argv, none, hostFacts()), { code: 'ENCLAVE_STATUS' });
  }
});
