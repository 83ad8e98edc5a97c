/** A host that answers wrongly: lengths that were not asked for, impossible errors, answers cut short. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { buildProgramImage, LIBOS_INTERFACE } from '../src/index.js';
import { hostFacts, hostHandlers } from '../src/run/host.js';
import { compile } from './programs.js';

let cvm: Cvm;
before(async () => {
  cvm = await Cvm.launch();
});
after(() => cvm.close());

/** Answers to reads by the length that was asked for: what the first word says, and how many bytes follow. */
const READS: Readonly<Record<number, readonly [result: bigint, bytes: number] | null>> = {
  8: [9n, 9],
  9: [4n, 2],
  10: [-5000n, 0],
  11: null,
  12: [12n, 100],
  13: [0x7fff_ffff_ffffn, 13],
  14: [14n, 14],
};
/** Answers to writes to stderr. */
const WRITES: Readonly<Record<number, bigint>> = { 1: 2n, 2: -4096n, 3: -32n };

test('answers that cannot be are errors of the call, and nothing else changes', async () => {
  const image = buildProgramImage({ program: compile('hostile') });
  const { privateKeyPem } = await generateKey();
  let output = '';
  const handlers = {
    ...hostHandlers({ root: image.root }),
    host_read(_: number, length: number): Uint8Array {
      const answer = READS[length];
      if (answer === null || answer === undefined) return new Uint8Array(3);
      const bytes = new Uint8Array(8 + answer[1]).fill(0xee);
      new DataView(bytes.buffer).setBigInt64(0, answer[0], true);
      return bytes;
    },
    host_write(fd: number, data: Uint8Array): bigint {
      if (fd === 2) return WRITES[data.length] ?? 0n;
      output += Buffer.from(data).toString();
      return BigInt(data.length);
    },
    host_wait: () => 0xffff_ffff,
  };
  await using enclave = await cvm.load(
    { sgxs: image.image, sig: signImage(image.image, privateKeyPem, image.signOptions) },
    LIBOS_INTERFACE,
    { ocalls: handlers, ocallBufferBytes: 512 * 1024 },
  );
  const status = enclave.ecalls.run(new TextEncoder().encode('hostile\0'), new Uint8Array(0), hostFacts());
  assert.equal(status, 0);
  assert.deepEqual(output.trim().split('\n'), [
    ...[8, 9, 10, 11, 12, 13].map((length) => `read ${length}: -1 EIO 0`),
    'read 14: 14  0',
    'write 1: -1 EIO',
    'write 2: -1 EIO',
    'write 3: -1 EPIPE',
    'poll(&polled, 1, 0) = 1',
  ]);
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
