/** Structures made at random, with pointers and lengths at every edge: each call is refused or served, nothing else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import type { CallDescription } from '@nestedsgx/edl';
import { IntelImage, parseSignedSo } from '@nestedsgx/image';
import { buildEdlEnclave, sampleDirectory } from '../src/index.js';
import { EdlHost } from './edl-host.js';
import { work } from './harness.js';

const RUNS = Number(process.env['NSGX_FUZZ_RUNS'] ?? 300) * 4;
const SEED = Number(process.env['NSGX_SEED'] ?? 20261122);
const SUCCESS = 0;
const INVALID_PARAMETER = 2;
const OUT_OF_MEMORY = 3;
/** End the enclave, or wait for another thread, as they should. */
const LEFT_OUT = new Set(['ecall_abort', 'ecall_wait', 'ecall_wake']);

/** A place for structures and one for buffers; what is between them must stay as it is. */
const STRUCTURE = 0x1000;
const BUFFERS = 0x4000;
const BUFFER_BYTES = 0x4000;
/** sizeof(struct list_t) */
const LIST = 40;

it('survives what a host can write into structures and buffers', async () => {
  const built = await buildEdlEnclave({ dir: sampleDirectory('marshal'), out: join(work, 'fuzz') });
  const image = new IntelImage(parseSignedSo(readFileSync(built.soPath)));
  await using host = await EdlHost.load('marshal', image, built.description.edl);
  host.bytes.fill(0);
  let state = SEED >>> 0 || 1;
  const random = (n: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const pick = <T>(list: readonly T[]): T => list[random(list.length)] as T;
  const low = host.harness.base;
  const end = low + BigInt(built.size);
  const buffer = (): bigint => host.base + BigInt(BUFFERS + random(200) * LIST);
  // None where nothing is mapped: what is outside and missing is a page fault, which ends the enclave as it should.
  const edges = [0n, low, low + 0x8000n, end - 1n, 2n ** 64n - 1n];
  const address = (): bigint => (random(3) > 0 ? buffer() : pick(edges));
  // Not more than the room behind any buffer, or more than the enclave has.
  const lengths = [
    0n,
    1n,
    2n,
    3n,
    4n,
    8n,
    40n,
    64n,
    100n,
    2n ** 31n,
    2n ** 32n,
    2n ** 62n,
    2n ** 63n,
    2n ** 64n - 1n,
  ];
  const word = (): bigint => (random(3) === 0 ? address() : pick(lengths));
  let depth = 0;
  host.handlers = {
    ocall_add: (a: number, b: number) => (a + b) | 0,
    ocall_print: () => undefined,
    ocall_answer: () => ({ value: 1 }),
    ocall_double: () => undefined,
    ocall_list: () => ({ value: 1 }),
    ocall_wide: () => 1n,
    ocall_nested: () => (depth++ > 1000 ? 0 : 1),
    ocall_nothing: () => undefined,
    ocall_switchless: (value: number) => value,
    sgx_oc_cpuidex: () => undefined,
  };
  const fill = (call: CallDescription): void => {
    const view = new DataView(host.bytes.buffer);
    for (let at = 0; at < call.size; at += 8) view.setBigUint64(STRUCTURE + at, word(), true);
    for (const p of call.parameters) {
      if (p.pass !== 'value') view.setBigUint64(STRUCTURE + p.offset, address(), true);
      if ('lengthOffset' in p && p.lengthOffset !== undefined)
        view.setBigUint64(STRUCTURE + p.lengthOffset, pick(lengths), true);
    }
    // All of it can be taken for lists: kind, two lengths, two addresses.
    for (let at = 0; at + 8 <= BUFFER_BYTES; at += 8)
      view.setBigUint64(BUFFERS + at, at % LIST < 24 ? pick(lengths) : address(), true);
  };
  const calls = built.description.edl.ecalls.map((call, index) => ({ call, index }));
  const usable = calls.filter(({ call }) => call.isPublic && !LEFT_OUT.has(call.name));
  const seen = new Map<number, number>();
  const used = await host.call('ecall_memory', [1, 0]);
  host.bytes.fill(0);
  for (let i = 0; i < RUNS; i++) {
    const { call, index } = pick(usable);
    fill(call);
    // Rounds of allocations and of OCALLs are the host's to choose; so many would only take time.
    if (call.name === 'ecall_ocalls') new DataView(host.bytes.buffer).setBigUint64(STRUCTURE + 8, 3n, true);
    if (call.name === 'ecall_memory') new DataView(host.bytes.buffer).setInt32(STRUCTURE + 16, 3, true);
    const at = call.size === 0 ? 0n : random(20) === 0 ? pick(edges) : host.base + BigInt(STRUCTURE);
    const thread = random(4);
    const status = await host.serve(await host.go(index, at, thread), thread);
    const what = `run ${i} of seed ${SEED}: ${call.name}`;
    assert.ok([SUCCESS, INVALID_PARAMETER, OUT_OF_MEMORY].includes(status), `${what} gave ${status}`);
    seen.set(status, (seen.get(status) ?? 0) + 1);
    for (const [from, to] of [
      [0, STRUCTURE],
      [STRUCTURE + 1024, BUFFERS],
      [BUFFERS + BUFFER_BYTES, host.bytes.length / 2],
    ] as const)
      assert.ok(
        host.bytes.subarray(from, to).every((byte) => byte === 0),
        `${what} wrote elsewhere`,
      );
  }
  for (const status of [SUCCESS, INVALID_PARAMETER, OUT_OF_MEMORY]) assert.ok((seen.get(status) ?? 0) > 0);
  assert.equal(await host.call('ecall_memory', [1, 0]), used);
  assert.equal(await host.call('ecall_add', [1, 2]), 3);
});
