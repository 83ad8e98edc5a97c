/** Random messages and structures against the runtime: it answers with a status and goes on working. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, it } from 'node:test';
import * as fc from 'fast-check';
import { type BuildResult, buildEnclave, COMMAND, STATUS } from '../src/index.js';
import { Caller, Harness, PACKAGE, work } from './harness.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 150);
const SEED = Number(process.env['NSGX_FUZZ_SEED'] ?? 20261122);

let probe: BuildResult;

before(async () => {
  console.log(`fuzz: seed ${SEED}, ${RUNS} runs each`);
  probe = await buildEnclave({ dir: join(PACKAGE, 'test/probe'), out: join(work, 'probe-fuzz') });
});

const EXPECTED = new Set<number>([
  STATUS.OK,
  STATUS.INVALID_REQUEST,
  STATUS.OUT_OF_MEMORY,
  STATUS.FORBIDDEN,
  STATUS.FAILED + 1,
  STATUS.FAILED + 2,
  STATUS.FAILED + STATUS.BAD_SEAL,
  STATUS.FAILED + STATUS.KEY_REFUSED,
]);

it('answers random and bit-flipped requests', async () => {
  const c = new Caller(await Harness.load(probe), probe);
  const blob = (await c.call('seal_with', [2, Buffer.from('sealed')])) as Buffer;
  const seeds: [string, Buffer][] = [
    ['all_types', c.request('all_types', [1, 2, 3n, 4n, 5, true, 'text ü', Buffer.from('bytes')])],
    ['unseal_with', c.request('unseal_with', [Buffer.from('bound'), blob])],
    [
      'gcm_decrypt',
      c.request('gcm_decrypt', [Buffer.alloc(16), Buffer.alloc(12), Buffer.alloc(3), Buffer.alloc(40)]),
    ],
    ['sha256', c.request('sha256', [Buffer.alloc(700)])],
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.nat(seeds.length),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 6 }),
      fc.uint8Array({ maxLength: 600 }),
      fc.nat(3),
      async (which, flips, random, mode) => {
        const [name, good] = seeds[which] ?? ['', Buffer.alloc(576)];
        let request: Uint8Array = Buffer.from(good);
        if (mode === 0) request = random;
        if (mode === 1) request = good.subarray(0, random.length);
        if (request.length > 0) for (const [at, byte] of flips) request[at % request.length] ^= byte;
        const event = await c.harness.call(name === '' ? COMMAND.REPORT : c.index(name), request);
        assert.ok(EXPECTED.has(event.status), `status ${event.status}`);
        assert.equal(event.rsi, event.status);
        assert.equal(event.dirty, 0);
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
  assert.equal(await c.call('heap_stress', [9n, 100n]), 0n);
  await c.harness.close();
});

it('answers random marshalling structures', async () => {
  let c = new Caller(await Harness.load(probe), probe);
  const { base, outside } = c.harness;
  const size = BigInt(probe.size);
  const pointer = fc.oneof(
    fc.constant('keep'),
    fc.bigInt(-64n, size + 64n).map((at) => `0x${(base + at).toString(16)}`),
    fc.constantFrom('0', '8', `0x${outside.toString(16)}`, '0xffffffffffffffff', '0xfffffffffffff000'),
  );
  const length = fc.oneof(
    fc.constant('keep'),
    fc.nat(200_000).map(String),
    fc.bigInt(0n, 2n ** 64n - 1n).map((n) => `0x${n.toString(16)}`),
  );
  const commands = [c.index('bytes_of'), c.index('sha256'), COMMAND.FETCH, COMMAND.REPORT, 999];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...commands),
      fc.tuple(pointer, length, pointer, length, pointer, length),
      async (command, [request, requestLength, response, capacity, ocall, ocallCapacity]) => {
        // A huge length from a good pointer would reach unmapped memory: the host's fault, and the enclave's #PF.
        const bounded = (at: string, n: string) =>
          at === 'keep' || at.startsWith(`0x${outside.toString(16)}`) ? 'keep' : n;
        const words = [
          request,
          bounded(request, requestLength),
          response,
          bounded(response, capacity),
          '0',
          '0',
        ];
        const event = await c.harness.send(
          `ms 0 ${command} ${[...words, ocall, bounded(ocall, ocallCapacity)].join(' ')}`,
        );
        assert.ok(event.kind !== 'ocall');
        if (event.kind === 'aex') {
          // Reading or writing memory that the host has not mapped may fault; the thread is then the host's to repair.
          assert.equal(event.vector, 14);
          await c.harness.close();
          c = new Caller(await Harness.load(probe), probe);
          return;
        }
        assert.equal(event.dirty, 0);
        await c.harness.pop();
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
  assert.equal(((await c.call('random_bytes', [5])) as Buffer).length, 5);
  await c.harness.close();
});
