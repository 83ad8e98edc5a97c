/** Memory that a program frees goes back to the host, and protections are taken by it, whatever the host makes of it. */
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { generateKey, signImage } from '@nestedsgx/image/node';
import { Cvm, type Enclave } from '@nestedsgx/sdk';
import { buildProgramImage, LIBOS_INTERFACE } from '../src/index.js';
import { hostFacts, hostHandlers } from '../src/run/host.js';
import { HostIo } from '../src/run/net/host-io.js';
import { pageHandlers } from '../src/run/pages.js';
import { compile, native } from './programs.js';

let cvm: Cvm;
let program: string;
const folder = mkdtempSync(join(tmpdir(), 'nsgx-memory-'));
before(async () => {
  program = compile('memory-return');
  cvm = await Cvm.launch();
});
after(async () => {
  await cvm.close();
  rmSync(folder, { recursive: true });
});

type Pages = (operation: number, offset: bigint, length: bigint) => bigint;
/** From this operation on protections are taken (LIBOS_PAGES_RESTRICT). */
const RESTRICT = 8;

/** Runs the program with a host that serves `host_pages` in its way; gives what it said. */
async function run(pages: (honest: Pages) => Pages) {
  const image = buildProgramImage({ program, memory: 192 << 20 });
  const { privateKeyPem } = await generateKey();
  const path = join(folder, 'output');
  const out = openSync(path, 'w');
  const descriptors = [0, out, out] as const;
  const { connection } = await cvm.guest();
  const io = new HostIo(connection.memory, { descriptors, transport: 'ocall' });
  let enclave!: Enclave<typeof LIBOS_INTERFACE>;
  const honest = pageHandlers(() => enclave).host_pages;
  try {
    await using loaded = await cvm.load(
      { sgxs: image.image, sig: signImage(image.image, privateKeyPem, image.signOptions) },
      LIBOS_INTERFACE,
      {
        ocalls: {
          ...hostHandlers({ root: image.root, descriptors }),
          ...io.handlers(),
          host_pages: pages(honest),
        },
        driver: io.driver(LIBOS_INTERFACE.ocalls.findIndex(({ name }) => name === 'host_io')),
        threads: 4,
      },
    );
    enclave = loaded;
    const argv = new TextEncoder().encode('memory-return\0');
    const status = await loaded.async.run(argv, new Uint8Array(0), hostFacts(descriptors));
    return { status, output: readFileSync(path, 'utf8') };
  } finally {
    io.stop();
    io.close();
    closeSync(out);
  }
}

test('what is freed goes back, and comes again as zero', async () => {
  const trimmed: bigint[] = [0n, 0n];
  const { status, output } = await run((honest) => (operation, offset, length) => {
    if (operation < RESTRICT) trimmed[operation] += length;
    return honest(operation, offset, length);
  });
  assert.equal(output, native(program, []).stdout);
  assert.equal(status, 0);
  assert.equal(trimmed[0], trimmed[1]);
  assert.ok(trimmed[0] >= 32n << 20n, `${trimmed[0]} bytes were returned`);
});

test('a host that takes nothing changes nothing', async () => {
  const { status, output } = await run(
    (honest) =>
      (operation, ...range) =>
        operation < RESTRICT ? -1n : honest(operation, ...range),
  );
  assert.equal(output, native(program, []).stdout);
  assert.equal(status, 0);
});

test('a host that says it took what it did not is found out by EACCEPT', async () => {
  const { status, output } = await run(
    (honest) =>
      (operation, ...range) =>
        operation < RESTRICT ? 0n : honest(operation, ...range),
  );
  assert.equal(output, native(program, []).stdout);
  assert.equal(status, 0);
});

test('a host that trims pages and leaves them there has a program without memory, not one with old contents', async () => {
  const { status, output } = await run(
    (honest) =>
      (operation, ...range) =>
        operation === 1 ? 0n : honest(operation, ...range),
  );
  assert.equal(status, 139);
  assert.ok(output.length > 0 && native(program, []).stdout.startsWith(output), output);
});

test('a host that does not take permissions, or others, is found out: nothing counts as protected', async () => {
  const lies: ((honest: Pages) => Pages)[] = [
    () => () => -1n,
    () => () => 0n,
    (honest) =>
      (_, ...range) =>
        honest(RESTRICT + 3, ...range),
    (honest) =>
      (_, ...range) =>
        honest(RESTRICT, ...range),
  ];
  for (const lie of lies) {
    const { status, output } = await run(lie);
    assert.match(output, /cannot apply additional memory protection after relocation/);
    assert.equal(status, 127);
  }
});
