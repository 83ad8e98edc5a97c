/** The trusted runtime, run in the harness: border, calls, threads, exceptions, memory. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { type BuildResult, buildEnclave, COMMAND, STATUS, sampleDirectory } from '../src/index.js';
import { Caller, encode, Harness, PACKAGE, work } from './harness.js';

let probe: BuildResult;
let calc: BuildResult;

async function fresh(build: BuildResult, signer = 1): Promise<Caller> {
  return new Caller(await Harness.load(build, signer), build);
}

before(async () => {
  probe = await buildEnclave({ dir: join(PACKAGE, 'test/probe'), out: join(work, 'probe') });
  calc = await buildEnclave({ dir: sampleDirectory('calc'), out: join(work, 'calc') });
  assert.equal(probe.warnings, '');
  assert.equal(calc.warnings, '');
});

describe('calls', () => {
  it('adds, joins text and computes in the sample', async () => {
    const c = await fresh(calc);
    assert.equal(await c.call('add', [2, 3]), 5);
    assert.equal(await c.call('add', [-2, -3]), -5);
    assert.equal(await c.call('concat', ['Grüße, ', '世界']), 'Grüße, 世界');
    assert.equal(await c.call('mean', [1, 4]), 2.5);
    assert.equal(await c.call('divide', [7, 2]), 3);
    assert.equal(await c.call('empty'), undefined);
    await c.harness.close();
  });

  it('passes every type in both directions', async () => {
    const c = await fresh(probe);
    const values = [-1, 4294967295, -(2n ** 63n), 2n ** 64n - 1n, -1.5, true, 'é', Buffer.from('abc')];
    assert.equal(
      await c.call('all_types', values),
      '-1 4294967295 -9223372036854775808 18446744073709551615 -1500 1 é 3',
    );
    await c.harness.close();
  });

  it('refuses malformed messages', async () => {
    const c = await fresh(probe);
    const index = c.index('all_types');
    const good = c.request('all_types', [1, 2, 3n, 4n, 5, true, 'x', Buffer.from('y')]);
    const changed = (at: number, byte: number) => {
      const copy = Buffer.from(good);
      copy[at] = byte;
      return copy;
    };
    const bad: [string, Buffer][] = [
      ['nothing', Buffer.alloc(0)],
      ['truncated', good.subarray(0, good.length - 1)],
      ['trailing', Buffer.concat([good, Buffer.alloc(8)])],
      ['i32 out of range', changed(4, 1)],
      ['u32 out of range', changed(12, 1)],
      ['bool 2', changed(40, 2)],
      ['string too long', changed(48, 200)],
      ['string with a length that wraps', changed(55, 255)],
      ['string not UTF-8', changed(56, 0xff)],
      [
        'overlong UTF-8',
        c.request('all_types', [1, 2, 3n, 4n, 5, true, Buffer.from([0xc0, 0x80]), Buffer.alloc(0)]),
      ],
      [
        'surrogate',
        c.request('all_types', [1, 2, 3n, 4n, 5, true, Buffer.from([0xed, 0xa0, 0x80]), Buffer.alloc(0)]),
      ],
    ];
    for (const [what, request] of bad) {
      assert.equal((await c.harness.call(index, request)).status, STATUS.INVALID_REQUEST, what);
    }
    assert.equal((await c.harness.call(index, good)).status, STATUS.OK);
    await c.harness.close();
  });

  it('answers unknown calls and commands', async () => {
    const c = await fresh(calc);
    assert.equal((await c.harness.call(10_000, Buffer.alloc(0))).status, STATUS.UNKNOWN_CALL);
    for (const command of [-4, -6, -99, -2147483648, COMMAND.ORET]) {
      const event = await c.harness.send(`raw 0 ${command} 0`);
      assert.deepEqual(event, { kind: 'exit', rsi: STATUS.BAD_COMMAND, dirty: 0 });
    }
    const none = await c.harness.call(COMMAND.FETCH, Buffer.alloc(0));
    assert.equal(none.status, STATUS.NOTHING_KEPT);
    await c.harness.close();
  });

  it('refuses pointers that touch the enclave', async () => {
    const c = await fresh(calc);
    const { base } = c.harness;
    const end = base + BigInt(calc.size);
    const add = c.index('add');
    const hex = (n: bigint) => `0x${n.toString(16)}`;
    for (const pointer of [base, base - 8n, end - 8n, base - 63n, 0n, 0xffff_ffff_ffff_fff0n]) {
      const event = await c.harness.send(`raw 0 ${add} ${hex(pointer)}`);
      assert.deepEqual(event, { kind: 'exit', rsi: STATUS.INVALID_POINTER, dirty: 0 }, hex(pointer));
    }
    const fields: [number, bigint, number, bigint][] = [
      [0, base, 1, 16n],
      [0, base - 8n, 1, 16n],
      [0, end - 1n, 1, 16n],
      [0, 8n, 1, 2n ** 64n - 1n],
      [0, base - 4096n, 1, BigInt(calc.size) + 8192n],
      [2, base + 0x1000n, 3, 64n],
      [2, base - 8n, 3, 16n],
      [2, 0n, 3, 16n],
      [6, base, 7, 4096n],
      [6, end - 8n, 7, 4096n],
      [6, c.harness.outside, 7, 2n ** 64n - 1n],
    ];
    for (const [at, pointer, lengthAt, length] of fields) {
      const words = new Array(8).fill('keep');
      words[at] = hex(pointer);
      words[lengthAt] = length.toString();
      const event = await c.harness.send(`ms 0 ${add} ${words.join(' ')}`);
      assert.ok(
        event.kind === 'exit' && event.status === STATUS.INVALID_POINTER,
        `${at} ${hex(pointer)} ${length}`,
      );
      await c.harness.pop();
    }
    assert.equal(await c.call('add', [1, 1]), 2);
    await c.harness.close();
    const p = await fresh(probe);
    const low = p.harness.base;
    const size = BigInt(probe.size);
    const expected: [bigint, bigint, boolean][] = [
      [low - 1n, 1n, true],
      [low - 1n, 2n, false],
      [low + size, 1n, true],
      [low + size - 1n, 1n, false],
      [low - 10n, size + 20n, false],
      [2n ** 64n - 1n, 2n, false],
    ];
    for (const [address, length, outside] of expected) {
      assert.equal(await p.call('is_outside', [address, length]), outside, `${hex(address)} ${length}`);
    }
    await p.harness.close();
  });

  it('keeps a response that does not fit, once', async () => {
    const c = await fresh(probe);
    const index = c.index('bytes_of');
    const request = c.request('bytes_of', [1000]);
    const first = await c.harness.call(index, request, { capacity: 100 });
    assert.equal(first.status, STATUS.RESPONSE_TOO_LARGE);
    assert.equal(first.length, 1008);
    assert.equal(
      (await c.harness.call(COMMAND.FETCH, Buffer.alloc(0), { capacity: 1007 })).status,
      STATUS.RESPONSE_TOO_LARGE,
    );
    assert.equal(
      (await c.harness.call(COMMAND.FETCH, Buffer.alloc(0), { thread: 1 })).status,
      STATUS.NOTHING_KEPT,
    );
    const second = await c.harness.call(COMMAND.FETCH, Buffer.alloc(0), { capacity: 1008 });
    assert.equal(second.status, STATUS.OK);
    const bytes = c.result('bytes_of', second.response) as Buffer;
    assert.equal(bytes.length, 1000);
    assert.ok(bytes.every((b, i) => b === ((i * 7) & 255)));
    assert.equal((await c.harness.call(COMMAND.FETCH, Buffer.alloc(0))).status, STATUS.NOTHING_KEPT);
    await c.harness.call(index, request, { capacity: 0 });
    assert.equal(await c.call('sha256', [Buffer.alloc(0)]).then((b) => (b as Buffer).length), 32);
    assert.equal(
      (await c.harness.call(COMMAND.FETCH, Buffer.alloc(0))).status,
      STATUS.NOTHING_KEPT,
      'a later call drops it',
    );
    await c.harness.close();
  });

  it('survives requests and results larger than its heap', async () => {
    const c = await fresh(probe);
    assert.equal(await c.status('bytes_of', [10_000_000]), STATUS.OUT_OF_MEMORY);
    assert.equal(await c.status('sha256', [Buffer.alloc(100_000)]), STATUS.OUT_OF_MEMORY);
    const words = ['keep', (2n ** 40n).toString(), ...new Array(6).fill('keep')];
    const event = await c.harness.send(`ms 0 ${c.index('sha256')} ${words.join(' ')}`);
    assert.ok(event.kind === 'exit' && event.status === STATUS.OUT_OF_MEMORY);
    await c.harness.pop();
    assert.equal(((await c.call('sha256', [Buffer.alloc(60_000)])) as Buffer).length, 32);
    assert.equal(await c.call('heap_stress', [1n, 10n]), 0n, 'nothing leaked');
    await c.harness.close();
  });

  it("returns the author's own errors", async () => {
    const c = await fresh(probe);
    assert.equal(await c.status('fail_with', [77]), STATUS.FAILED + 77);
    assert.equal(await c.status('fail_with', [0x12345]), STATUS.FAILED + 0x2345);
    await c.harness.close();
  });

  it('initialises by command, by the first call, and refuses after the end', async () => {
    const c = await fresh(calc);
    assert.deepEqual(await c.harness.send('init 0 2 0'), {
      kind: 'exit',
      rsi: STATUS.INVALID_REQUEST,
      dirty: 0,
    });
    assert.deepEqual(await c.harness.send('init 0 1 7'), { kind: 'exit', rsi: STATUS.OK, dirty: 0 });
    assert.deepEqual(await c.harness.send('raw 1 -1 0'), { kind: 'exit', rsi: STATUS.OK, dirty: 0 });
    assert.equal(await c.call('add', [1, 2], 3), 3);
    assert.deepEqual(await c.harness.send(`raw 0 ${COMMAND.UNINIT} 0`), { kind: 'exit', rsi: 0, dirty: 0 });
    const after = await c.harness.start(c.index('add'), c.request('add', [1, 2]));
    assert.ok(after.kind === 'exit' && after.rsi === STATUS.CRASHED);
    await c.harness.close();
  });
});

describe('OCALLs', () => {
  it('asks the host and goes on', async () => {
    const c = await fresh(calc);
    const ocall = await c.harness.start(c.index('greet'), Buffer.alloc(0));
    assert.ok(ocall.kind === 'ocall' && ocall.index === 0 && ocall.dirty === 0 && ocall.request.length === 0);
    const event = await c.harness.answer(0, encode(['string'], ['Ada']));
    assert.ok(event.kind === 'exit' && event.status === 0 && event.dirty === 0);
    assert.equal(c.result('greet', event.response!), 'Hello Ada, from inside the enclave!');
    await c.harness.close();
  });

  it('reports what the host refused or garbled', async () => {
    const c = await fresh(calc);
    const answers: [number, Buffer][] = [
      [5, Buffer.alloc(0)],
      [0, Buffer.alloc(0)],
      [0, encode(['u64'], [100n])],
      [0, encode(['string'], [Buffer.from([0xff])])],
      [0, Buffer.concat([encode(['string'], ['x']), Buffer.alloc(1)])],
    ];
    for (const [status, response] of answers) {
      await c.harness.start(c.index('greet'), Buffer.alloc(0));
      const event = await c.harness.answer(status, response);
      assert.ok(
        event.kind === 'exit' && event.status === STATUS.FAILED + STATUS.OCALL_FAILED,
        response.toString('hex'),
      );
      await c.harness.pop();
    }
    const { base, outside } = c.harness;
    for (const [pointer, length, capacity] of [
      [base, 16, 16],
      [base - 8n, 16, 16],
      [outside, 17, 16],
      [0n, 16, 16],
    ] as const) {
      await c.harness.start(c.index('greet'), Buffer.alloc(0));
      const event = await c.harness.send(`oretms 0 ${pointer.toString(16)} ${length} ${capacity}`);
      assert.ok(
        event.kind === 'exit' && event.status === STATUS.FAILED + STATUS.OCALL_FAILED,
        String(pointer),
      );
      await c.harness.pop();
    }
    await c.harness.close();
  });

  it('takes an answer from other memory of the host, and says when the buffer is too small', async () => {
    const c = await fresh(probe);
    const big = Buffer.alloc(20_000, 9);
    const ocall = await c.harness.start(c.index('ask_bytes'), c.request('ask_bytes', [Buffer.from('q')]), {
      ocall: 512,
    });
    assert.ok(ocall.kind === 'ocall' && ocall.index === 1);
    assert.equal(ocall.capacity, 512 - 48 - 16);
    const event = await c.harness.answer(1000, encode(['bytes'], [big]));
    assert.ok(event.kind === 'exit' && event.status === 0);
    assert.deepEqual(c.result('ask_bytes', event.response!), big);
    await c.harness.pop();
    const none = await c.harness.start(c.index('ask_bytes'), c.request('ask_bytes', [big]), { ocall: 512 });
    assert.ok(none.kind === 'exit' && none.status === STATUS.FAILED + STATUS.OUT_OF_MEMORY);
    await c.harness.close();
  });

  it('nests calls up to a depth', async () => {
    const c = await fresh(probe);
    let event = await c.harness.start(c.index('recurse'), c.request('recurse', [5]));
    for (let depth = 4; depth >= 0; depth--) {
      assert.ok(event.kind === 'ocall' && event.request.readUInt32LE(0) === depth);
      event = await c.harness.start(c.index('recurse'), c.request('recurse', [depth]));
    }
    for (let value = 1; value <= 5; value++) {
      assert.ok(event.kind === 'exit' && event.status === 0 && event.dirty === 0);
      assert.equal(c.result('recurse', event.response!), value);
      await c.harness.pop();
      event = await c.harness.answer(0, encode(['u32'], [value]));
    }
    assert.ok(event.kind === 'exit' && c.result('recurse', event.response!) === 6);
    await c.harness.pop();
    assert.deepEqual(await c.harness.send('raw 0 -2 0'), { kind: 'exit', rsi: STATUS.BAD_COMMAND, dirty: 0 });

    event = await c.harness.start(c.index('recurse'), c.request('recurse', [20]));
    let levels = 1;
    while (event.kind === 'ocall') {
      event = await c.harness.start(c.index('recurse'), c.request('recurse', [20]));
      levels++;
    }
    assert.ok(event.kind === 'exit' && event.status === STATUS.TOO_DEEP && levels <= 9);
    await c.harness.close();
  });

  it('keeps threads apart', async () => {
    const c = await fresh(calc);
    assert.equal((await c.harness.start(c.index('greet'), Buffer.alloc(0), { thread: 0 })).kind, 'ocall');
    assert.equal(await c.call('add', [20, 22], 1), 42);
    const wrong = await c.harness.send('raw 1 -2 0');
    assert.ok(wrong.kind === 'exit' && wrong.rsi === STATUS.BAD_COMMAND);
    const event = await c.harness.answer(0, encode(['string'], ['x']));
    assert.ok(event.kind === 'exit' && event.status === 0);
    await c.harness.close();
    const p = await fresh(probe);
    for (const expected of [7n, 8n, 9n]) assert.equal(await p.call('tls_counter', [], 0), expected);
    for (const expected of [7n, 8n]) assert.equal(await p.call('tls_counter', [], 1), expected);
    await p.harness.close();
  });

  it("restores the enclave's floating-point settings", async () => {
    const c = await fresh(probe);
    await c.harness.start(c.index('float_after_ocall'), Buffer.alloc(0));
    const event = await c.harness.answer(0, encode(['bytes'], [Buffer.alloc(2)]));
    assert.ok(event.kind === 'exit' && c.result('float_after_ocall', event.response!) === 1 / 3 + 2);
    await c.harness.close();
  });
});

describe('exceptions', () => {
  it('ends the enclave when nobody handles them', async () => {
    const c = await fresh(calc);
    const event = await c.harness.start(c.index('divide'), c.request('divide', [1, 0]));
    assert.ok(event.kind === 'aex' && event.vector === 0);
    assert.ok((await c.harness.send(`raw 0 ${c.index('empty')} 0`)).kind === 'exit', 'no ECALL at CSSA 1');
    const offered = await c.harness.send('raw 0 -3 0');
    assert.ok(offered.kind === 'exit' && offered.rsi === STATUS.CRASHED && offered.dirty === 0);
    const other = await c.harness.start(c.index('add'), c.request('add', [1, 1]), { thread: 1 });
    assert.ok(other.kind === 'exit' && other.rsi === STATUS.CRASHED);
    await c.harness.close();
  });

  it('lets a handler repair the registers', async () => {
    const c = await fresh(calc);
    for (let round = 0; round < 3; round++) {
      const event = await c.harness.start(c.index('divide_or'), c.request('divide_or', [1, 0, -99]));
      assert.ok(event.kind === 'aex' && event.vector === 0);
      const init = await c.harness.send('raw 0 -1 0');
      assert.ok(init.kind === 'exit' && init.rsi === STATUS.BAD_COMMAND, 'only EXCEPT at CSSA 1');
      const offered = await c.harness.send('raw 0 -3 0');
      assert.ok(offered.kind === 'exit' && offered.rsi === STATUS.OK && offered.dirty === 0);
      const again = await c.harness.send('raw 0 -3 0');
      assert.ok(again.kind === 'exit' && again.rsi === STATUS.NO_EXCEPTION, 'offered once only');
      const done = await c.harness.send('resume 0');
      assert.ok(done.kind === 'exit' && done.status === 0 && done.dirty === 0, JSON.stringify(done));
      assert.equal(c.result('divide_or', done.response!), -99);
      await c.harness.pop();
    }
    assert.equal(await c.call('divide_or', [9, 3, 0]), 3);
    await c.harness.close();
  });

  it('shows the details of a page fault', async () => {
    const c = await fresh(probe);
    const address = c.harness.base + BigInt(probe.layout.heap.offset) - 8n;
    const event = await c.harness.start(c.index('read_guarded'), c.request('read_guarded', [address]));
    assert.ok(event.kind === 'aex' && event.vector === 14);
    await c.harness.send('raw 0 -3 0');
    const done = await c.harness.send('resume 0');
    assert.ok(done.kind === 'exit' && done.status === 0);
    assert.equal(
      c.result('read_guarded', done.response!),
      `vector 14 type 3 code 4 address ${address.toString(16)}`,
    );
    await c.harness.close();
  });

  it('gives registers, flags and the red zone back', async () => {
    const c = await fresh(probe);
    let event = await c.harness.start(c.index('registers_survive'), c.request('registers_survive', [20]));
    let rounds = 0;
    while (event.kind === 'aex') {
      assert.equal(event.vector, 3);
      await c.harness.send('raw 0 -3 0');
      event = await c.harness.send('resume 0');
      rounds++;
    }
    assert.equal(rounds, 20);
    assert.ok(event.kind === 'exit' && event.status === 0);
    assert.equal(c.result('registers_survive', event.response!), true);
    await c.harness.close();
  });

  it('stops at the guard page of the stack', async () => {
    const c = await fresh(probe);
    await c.call('read_guarded', [c.harness.outside]);
    const event = await c.harness.start(c.index('stack_overflow'), c.request('stack_overflow', [1000n]));
    assert.ok(event.kind === 'aex' && event.vector === 14);
    const offered = await c.harness.send('raw 0 -3 0');
    assert.ok(offered.kind === 'exit' && offered.rsi === STATUS.CRASHED);
    await c.harness.close();
  });

  it('aborts when every handler passes', async () => {
    const c = await fresh(calc);
    assert.equal(await c.call('divide_or', [4, 2, 0]), 2);
    await c.harness.start(c.index('fault_page'), Buffer.alloc(0));
    const offered = await c.harness.send('raw 0 -3 0');
    assert.ok(offered.kind === 'exit' && offered.rsi === STATUS.OK);
    const end = await c.harness.send('resume 0');
    assert.ok(end.kind === 'exit' && end.rsi === STATUS.CRASHED);
    await c.harness.close();
  });

  it('has no exception to offer at CSSA 0', async () => {
    const c = await fresh(calc);
    assert.deepEqual(await c.harness.send('raw 0 -3 0'), { kind: 'exit', rsi: STATUS.BAD_COMMAND, dirty: 0 });
    await c.harness.close();
  });
});

describe('memory', () => {
  it('allocates and frees without loss, whatever the heap held before', async () => {
    const c = await fresh(probe);
    for (const seed of [1n, 2n, 3n]) assert.equal(await c.call('heap_stress', [seed, 5000n]), 0n);
    await c.harness.close();
  });

  for (const [name, values] of [
    ['double_free', []],
    ['heap_overflow', []],
    ['stack_smash', [64]],
  ] as const) {
    it(`ends the enclave on ${name}`, async () => {
      const c = await fresh(probe);
      const event = await c.harness.start(c.index(name), c.request(name, values));
      assert.ok(event.kind === 'exit' && event.rsi === STATUS.CRASHED && event.dirty === 0);
      const after = await c.harness.start(c.index('formats'), Buffer.alloc(0), { thread: 1 });
      assert.ok(after.kind === 'exit' && after.rsi === STATUS.CRASHED);
      await c.harness.close();
    });
  }

  it('relocates tables of pointers and formats text', async () => {
    const c = await fresh(probe);
    assert.equal(await c.call('table_entry', [2]), 'two');
    assert.equal(
      await c.call('formats'),
      '-42|    7|7    |-0007|4000000000|beef|BEEF|00001234|text|te|z|%|0x10|99|-5000000000|lon|6',
    );
    await c.harness.close();
  });
});
