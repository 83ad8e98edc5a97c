/** Enclaves in Intel's format through the untrusted half of Intel's protocol: every kind of parameter, OCALLs, faults. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { sampleDirectory, sampleImage } from '@nestedsgx/enclave';
import { type AnyCalls, Cvm, type IntelEnclave, type IntelLoadOptions } from '../src/index.js';

const image = sampleImage('marshal') as `${string}.signed.so`;
const edl = join(sampleDirectory('marshal'), 'marshal.edl');
const home = mkdtempSync(join(tmpdir(), 'nsgx-intel-'));
let cvm: Cvm;

before(async () => {
  cvm = await Cvm.launch({ stateDir: join(home, 'state') });
});
after(async () => {
  await cvm?.close();
  rmSync(home, { recursive: true });
});

const load = (ocalls: AnyCalls = {}, options: IntelLoadOptions = {}): Promise<IntelEnclave> =>
  cvm.load(image, { edl, ocalls, ...options });

const list = (kind: number, data: number[], values: number[]) => ({
  kind,
  bytes: data.length,
  numbers: values.length,
  data: Uint8Array.from(data),
  values,
});

test('values, structures, arrays, buffers and text cross, both ways of calling', async () => {
  await using e = await load();
  const c = e.ecalls;
  assert.equal(c.ecall_add(2, 3), 5);
  assert.equal(await e.async.ecall_add(-2, 1), -1);
  assert.equal(c.ecall_types(-1, 2, -3n, 1.5, true, 4, 2n ** 63n), 2n ** 63n + 1008n);
  assert.equal(c.ecall_mean(1, 2), 1.5);
  assert.deepEqual(
    [0, 5, 6].map((colour) => c.ecall_next_colour(colour)),
    [5, 6, 0],
  );
  assert.deepEqual(c.ecall_move({ x: 1, y: 0.5, tag: -1 }, 2), { x: 3, y: 2.5, tag: 0 });
  assert.deepEqual(c.ecall_move_at({ x: 1, y: 2, tag: 3 }, -1).out.point, { x: 0, y: 1, tag: 4 });
  assert.deepEqual(c.ecall_move_at(null, -1).out.point, null);
  assert.deepEqual(
    c.ecall_array([1, 2, 3, 4], undefined, [
      [10, 20],
      [30, 40],
    ]).out,
    {
      taken: [14, 23, 32, 41],
      both: [
        [40, 20],
        [30, 10],
      ],
    },
  );
  assert.equal(c.ecall_sum([1, 2, -5], 3n), -2);
  assert.equal(c.ecall_sum(Int32Array.of(7, 8), 2), 15);
  assert.equal(c.ecall_sum(null, 0), -1);
  const filled = new Uint8Array(5).fill(0xee);
  c.ecall_fill(filled, 5, 9);
  assert.deepEqual(
    filled,
    Uint8Array.of(0, 9, 9, 9, 9),
    'an out buffer never carries what the host had there',
  );
  const large = Uint8Array.from({ length: 200_000 }, (_, i) => i * 7);
  const backwards = large.slice().reverse();
  c.ecall_reverse(large, large.length);
  assert.deepEqual(Buffer.compare(large, backwards), 0);
  assert.equal(c.ecall_cells(Uint8Array.of(1, 2, 3, 4), 2, 2), 10n);
  assert.equal(c.ecall_length('äöü'), 6n);
  assert.equal(c.ecall_upper('nested sgx').out.text, 'NESTED SGX');
  assert.equal(c.ecall_wide('Grüße 😀'), 7n);
  assert.deepEqual(
    (({ value, out }) => [value, [...out.list.data], out.list.values])(c.ecall_list(list(1, [1, 2], [30]))),
    [33, [2, 3], [31]],
  );
  assert.equal(c.ecall_lists([list(1, [1], []), list(1, [], [5])], 2), 11);
});

test('user_check parameters are addresses of memory that the host took', async () => {
  await using e = await load();
  const block = e.alloc(64);
  block.bytes.set([1, 2, 3]);
  assert.equal(e.ecalls.ecall_raw(block.address, 64), 6);
  assert.equal(e.ecalls.ecall_raw(e.range.base, 64), 0xffff_ffff, 'its own memory is no argument');
  e.free(block);
});

test('arguments that do not fit are refused before the enclave is entered', async () => {
  await using e = await load();
  const before = e.stats().ecalls;
  for (const bad of [
    () => e.ecalls.ecall_add(1),
    () => e.ecalls.ecall_add(1, 2 ** 31),
    () => e.ecalls.ecall_add(1, 2, 3),
    () => e.ecalls.ecall_sum([1], 2),
    () => e.ecalls.ecall_length(5),
    () => e.ecalls.ecall_reverse(new Uint8Array(2), 3),
  ])
    assert.throws(bad, { code: 'EDL_VALUE' });
  assert.throws(() => e.ecalls.ecall_reverse(new Uint8Array(1), 2n ** 40n), { code: /EDL_VALUE|EDL_MEMORY/ });
  assert.equal(e.ecalls.ecall_add(1, 1), 2);
  assert.ok(e.stats().ecalls >= before);
});

test('OCALLs: results, text, buffers, errno, deep copies, nested calls', async () => {
  const seen: string[] = [];
  const ocalls: AnyCalls = {
    ocall_add: (a, b) => a + b,
    ocall_print: (text) => void seen.push(text),
    ocall_answer: (question) => ({
      value: 3,
      out: { answer: Buffer.from(`${question}!`.padEnd(8, '\0')) },
      errno: 0,
    }),
    ocall_double: (values) => ({ out: { values: values.map((v: number) => v * 2) } }),
    ocall_nothing: () => undefined,
    ocall_list: (given) => ({
      value: given.values[0],
      out: { list: { ...given, data: Uint8Array.of(4, 5, 6) } },
    }),
    ocall_wide: (text) => [...text].length,
    ocall_nested: (value) => e.ecalls.ecall_private(value),
    ocall_switchless: (value) => value + 1,
  };
  await using e = await load(ocalls);
  assert.equal(e.ecalls.ecall_ocall(20), 42);
  const answered = e.ecalls.ecall_ocall_text('why', new Uint8Array(8), 8);
  assert.equal(answered.value, 3);
  assert.deepEqual(seen, ['why']);
  assert.deepEqual(e.ecalls.ecall_ocall_buffers([1, 2, 3, 4]), {
    value: 0,
    out: { values: [2, 4, 6, 8], code: 14 },
  });
  assert.equal(e.ecalls.ecall_ocall_list(), 10 + 15 + 30);
  assert.equal(e.ecalls.ecall_ocall_wide(), 7);
  assert.equal(e.ecalls.ecall_nested(2), 2 + (1 + (0 + 1) + 1) + 1);
  assert.equal(e.ecalls.ecall_switchless(6), 7);
  // Promises are answers where the event loop is free.
  e.ecalls.ecall_add(0, 0);
  assert.equal(e.stats().ocalls > 8, true);
});

test('a private ECALL, one that the OCALL does not allow, and a number that is none are refused by name', async () => {
  let refusal: unknown;
  await using e = await load({
    ocall_nested: () => {
      try {
        return e.ecalls.ecall_sum([1], 1);
      } catch (error) {
        refusal = error;
        return 5;
      }
    },
  });
  assert.throws(() => e.ecalls.ecall_private(1), {
    code: 'SGX_STATUS',
    statusName: 'SGX_ERROR_ECALL_NOT_ALLOWED',
  });
  assert.equal(e.ecalls.ecall_nested(1), 6);
  assert.equal((refusal as { statusName?: string }).statusName, 'SGX_ERROR_ECALL_NOT_ALLOWED');
  assert.throws(() => e.ecall(9999), { statusName: 'SGX_ERROR_INVALID_FUNCTION' });
  assert.throws(() => e.ecall(-1), { code: 'ECALL_UNKNOWN' });
});

test('handlers that are missing, throw or promise in a synchronous call', async () => {
  const failures: (Error & { code?: string })[] = [];
  const ocalls = {
    ocall_add: () => {
      throw new Error('no sums today');
    },
    ocall_wide: async (text: string) => text.length,
  };
  await using e = await load(ocalls, { onOcallError: (error) => failures.push(error) });
  // SGX_ERROR_UNEXPECTED, as the enclave tells it: it copes, and the host hears of it.
  assert.equal(e.ecalls.ecall_ocall(1), -0x10000 - 1);
  assert.match(failures[0].message, /no sums today/);
  assert.equal(e.ecalls.ecall_ocall_list(), -0x10000 - 1);
  assert.deepEqual(
    failures.map(({ code }) => code),
    ['OCALL_FAILED', 'OCALL_UNKNOWN'],
  );
  assert.equal(await e.async.ecall_ocall(1), -0x10000 - 1);
  assert.equal(failures.length, 3, 'asynchronous calls tell as well');
  assert.throws(() => e.ecalls.ecall_ocall_wide(), { code: 'OCALL_PROMISE_IN_SYNC_ECALL' });
  assert.equal(await e.async.ecall_ocall_wide(), 8);
  assert.equal(e.ecalls.ecall_add(1, 1), 2, 'the enclave goes on');
});

test('threads of an enclave wait for each other through the SDK’s events', async () => {
  await using e = await load();
  const waiting = e.async.ecall_wait();
  let woken = 0;
  for (let i = 0; i < 200 && woken !== 1; i++) {
    woken = await e.async.ecall_wake();
    if (woken !== 1) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(woken, 1);
  assert.equal(await waiting, 1n);
});

test('a synchronous call that has to wait fails at once, and its thread comes back', async () => {
  await using e = await load();
  assert.throws(() => e.ecalls.ecall_wait(), { code: 'OCALL_PROMISE_IN_SYNC_ECALL' });
  assert.equal(e.stats().freeThreads, 3);
  assert.equal(e.ecalls.ecall_add(1, 2), 3, 'other threads go on');
  assert.equal(e.ecalls.ecall_wake(), 1);
  for (let i = 0; i < 200 && e.stats().freeThreads < 4; i++)
    await new Promise((resolve) => setTimeout(resolve, 5));
  assert.equal(e.stats().freeThreads, 4);
});

test('closing ends waits at once', async () => {
  const e = await load();
  // The enclave is told that the wait failed, or is gone first.
  const end = e.async.ecall_wait().then(String, (error: { code?: string }) => String(error.code));
  await new Promise((resolve) => setTimeout(resolve, 50));
  const start = performance.now();
  await e.close();
  assert.match(await end, /^(18446744073709551615|ENCLAVE_CLOSED|ENCLAVE_LOST)$/);
  assert.ok(performance.now() - start < 1000, `${performance.now() - start} ms`);
});

test('many asynchronous calls share the threads', async () => {
  await using e = await load();
  const sums = await Promise.all(Array.from({ length: 500 }, (_, i) => e.async.ecall_add(i, i)));
  assert.deepEqual(
    sums,
    Array.from({ length: 500 }, (_, i) => 2 * i),
  );
  assert.equal(e.stats().threads, 4);
});

test('exceptions go to the enclave’s handler; an abort ends it and says why', async () => {
  await using e = await load();
  assert.equal(e.ecalls.ecall_divide(7, 2), 3);
  assert.equal(e.ecalls.ecall_divide(7, 0), -1);
  assert.equal(await e.async.ecall_divide(1, 0), -1);
  assert.throws(
    () => e.ecalls.ecall_abort(),
    (error: { code?: string }) =>
      ['SGX_STATUS', 'ENCLAVE_FAULT', 'ENCLAVE_CRASHED'].includes(error.code ?? ''),
  );
  assert.throws(() => e.ecalls.ecall_add(1, 1), { code: /ENCLAVE_CRASHED|SGX_STATUS/ });
});

test('identity is that of the signature, and CPUID is the processor’s', async () => {
  await using e = await load();
  const { identity } = e.ecalls.ecall_report().out;
  assert.deepEqual(identity.slice(0, 32), e.mrenclave);
  const [, ebx, ecx, edx] = e.ecalls.ecall_cpuid(0, 0).out.info;
  const vendor = Buffer.from(Int32Array.of(ebx, edx, ecx).buffer).toString('latin1');
  assert.match(vendor, /^[\x20-\x7e]{12}$/);
});

test('a structure can be passed by hand, without the EDL file', async () => {
  await using e = await cvm.load(image);
  const structure = new Uint8Array(12);
  new DataView(structure.buffer).setInt32(4, 40, true);
  new DataView(structure.buffer).setInt32(8, 2, true);
  const index = 0;
  assert.equal(new DataView(e.ecall(index, structure).buffer).getInt32(0, true), 42);
  assert.equal(new DataView((await e.ecallAsync(index, structure)).buffer).getInt32(0, true), 42);
});

test('what is wrong with files and options is said before anything is built', async () => {
  await assert.rejects(cvm.load(image, { edl: join(home, 'no.edl') }), { code: 'EDL_FILE' });
  const bad = join(home, 'bad.edl');
  writeFileSync(bad, 'enclave { trusted { public int f(int a) }; };');
  await assert.rejects(cvm.load(image, { edl: bad }), { code: 'EDL_SYNTAX', message: /bad\.edl:1:/ });
  await assert.rejects(cvm.load(image, { ecalls: [], ocalls: [] } as never), { code: 'IMAGE_UNSUPPORTED' });
  const short = join(home, 'short.signed.so');
  writeFileSync(short, Buffer.from('\x7fELF and nothing else', 'latin1'));
  await assert.rejects(cvm.load(short as `${string}.signed.so`), { code: /IMAGE_/ });
});

test('OCALLs that do not fit the untrusted stack are an error with the cure', async () => {
  await using e = await load(
    { ocall_answer: () => ({ value: 0 }), ocall_print: () => undefined },
    { stackBytes: 64 * 1024 },
  );
  assert.throws(() => e.ecalls.ecall_ocall_text('x', new Uint8Array(80_000), 80_000), {
    code: 'OCALL_STACK_OVERFLOW',
  });
});

test('enclaves made and closed in a loop give everything back', async () => {
  const { connection } = await cvm.guest();
  const used = async () => {
    await using e = await load();
    e.ecalls.ecall_add(1, 2);
    return e.mrenclave;
  };
  await used();
  const before = connection.memory.used;
  for (let i = 0; i < 5; i++) await used();
  assert.equal(connection.memory.used, before);
});
