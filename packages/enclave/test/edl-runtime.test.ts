/** Enclaves with an interface in EDL, run in the harness: every way over the border, both halves hostile. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { IntelImage, parseSignedSo } from '@nestedsgx/image';
import { buildEdlEnclave, type EdlBuildResult, sampleDirectory } from '../src/index.js';
import { ECMD, EdlHost, StatusError } from './edl-host.js';
import { work } from './harness.js';

const OK = 0;
const UNEXPECTED = 1;
const INVALID_PARAMETER = 2;
const OUT_OF_MEMORY = 3;
const INVALID_FUNCTION = 0x1001;
const CRASHED = 0x1006;
const NOT_ALLOWED = 0x1007;
const STACK_OVERRUN = 0x1009;
const MAX = 2n ** 64n - 1n;

let built: EdlBuildResult;
let image: IntelImage;
let host: EdlHost;

const fresh = (init = true) => EdlHost.load('marshal', image, built.description.edl, init);
const refused = (status: number) => (error: unknown) =>
  error instanceof StatusError && error.status === status;

before(async () => {
  built = await buildEdlEnclave({ dir: sampleDirectory('marshal'), out: join(work, 'marshal') });
  assert.equal(built.warnings, '');
  image = new IntelImage(parseSignedSo(readFileSync(built.soPath)));
  host = await fresh();
});
after(() => host.close());

describe('ECALLs', () => {
  it('take values of every kind', async () => {
    assert.equal(await host.call('ecall_add', [2147483647, 1]), -2147483648);
    assert.equal(await host.call('ecall_empty'), undefined);
    assert.equal(
      await host.call('ecall_types', [-1, 65535, -5, 2.5, true, 3, 2n ** 63n]),
      2n ** 63n + 66542n,
    );
    assert.equal(await host.call('ecall_mean', [1.5, 2]), 1.75);
    assert.equal(await host.call('ecall_next_colour', [5]), 6);
    assert.deepEqual(await host.call('ecall_move', [{ x: 1, y: -1.5, tag: 9 }, 2]), {
      x: 3,
      y: 0.5,
      tag: 10,
    });
    assert.deepEqual(
      await host.call('ecall_swap', [new Uint8Array([1, 2, 3, 4])]),
      new Uint8Array([4, 3, 2, 1]),
    );
  });

  it('copy buffers in and out', async () => {
    assert.deepEqual(await host.call('ecall_move_at', [{ x: 0, y: 0, tag: -1 }, 7]), {
      value: undefined,
      out: { point: { x: 7, y: 7, tag: 0 } },
    });
    assert.deepEqual(
      await host.call('ecall_array', [
        [1, 2, 3, 4],
        undefined,
        [
          [10, 20],
          [30, 40],
        ],
      ]),
      {
        value: undefined,
        out: {
          taken: [14, 23, 32, 41],
          both: [
            [40, 20],
            [30, 10],
          ],
        },
      },
    );
    assert.equal(await host.call('ecall_sum', [[1, 2, -10], 3]), -7);
    const filled = new Uint8Array(5).fill(0xee);
    await host.call('ecall_fill', [filled, 5, 3]);
    assert.deepEqual(filled, new Uint8Array([0, 3, 3, 3, 3]));
    const bytes = Uint8Array.from([1, 2, 3]);
    await host.call('ecall_reverse', [bytes, 3]);
    assert.deepEqual(bytes, new Uint8Array([3, 2, 1]));
    assert.equal(await host.call('ecall_cells', [new Uint8Array(12).fill(2), 3, 4]), 24n);
    const large = new Uint8Array(100_000).fill(1);
    assert.equal(await host.call('ecall_cells', [large, 1, large.length]), 100_000n);
  });

  it('take text', async () => {
    assert.equal(await host.call('ecall_length', ['Grüße']), 7n);
    assert.equal(await host.call('ecall_length', ['']), 0n);
    assert.deepEqual(await host.call('ecall_upper', ['abcÜz']), {
      value: undefined,
      out: { text: 'ABCÜZ' },
    });
    assert.equal(await host.call('ecall_wide', ['Grüße \u{1f600}']), 7n);
  });

  it('pass NULL, empty buffers and plain addresses on', async () => {
    assert.equal(await host.call('ecall_sum', [null, 3]), -1);
    assert.equal(await host.call('ecall_sum', [[], 0]), -1);
    assert.equal(await host.call('ecall_length', [null]), 0n);
    assert.equal(await host.call('ecall_wide', [null]), 0n);
    assert.equal(await host.call('ecall_list', [null]).then((r) => (r as { value: unknown }).value), -1);
    const at = host.alloc(4, 1);
    host.view(at, 4).set([1, 2, 3, 4]);
    assert.equal(await host.call('ecall_raw', [at, 4]), 10);
    assert.equal(await host.call('ecall_raw', [host.harness.base, 4]), 2 ** 32 - 1);
  });

  it('copy structures deeply', async () => {
    const list = { kind: 1, bytes: 3, numbers: 2, data: new Uint8Array([1, 2, 3]), values: [4, 5] };
    assert.deepEqual(await host.call('ecall_list', [list]), {
      value: 15,
      out: {
        list: { kind: 1, bytes: 3n, numbers: 2n, data: new Uint8Array([2, 3, 4]), values: [5, 6] },
      },
    });
    const shrunk = (await host.call('ecall_list', [{ ...list, kind: 8 }])) as { out: { list: object } };
    assert.deepEqual(shrunk.out.list, {
      kind: 8,
      bytes: 3n,
      numbers: 1n,
      data: new Uint8Array([2, 3, 4]),
      values: [5],
    });
    const none = { kind: 1, bytes: 7, numbers: 9, data: null, values: null };
    assert.equal(await host.call('ecall_lists', [[list, none, list], 3]), 60);
    await assert.rejects(host.call('ecall_list', [{ ...list, kind: 9 }]), refused(INVALID_PARAMETER));
    assert.equal(await host.call('ecall_add', [1, 1]), 2);
  });

  it('give back all memory', async () => {
    assert.equal(await host.call('ecall_memory', [50_000, 200]), 0n);
    const before = await host.call('ecall_memory', [1, 0]);
    for (let i = 0; i < 30; i++) await host.call('ecall_cells', [new Uint8Array(90_000), 1, 90_000]);
    assert.equal(await host.call('ecall_memory', [500_000, 1]), before);
  });
});

describe('a hostile host', () => {
  it('cannot put structures inside', async () => {
    const { base } = host.harness;
    const end = base + BigInt(built.size);
    const add = host.edl.ecalls.findIndex(({ name }) => name === 'ecall_add');
    for (const at of [0n, base, base + 0x8000n, base - 8n, end - 1n, MAX - 3n, host.harness.base + 0x100000n])
      assert.equal(await host.status(add, at), INVALID_PARAMETER, at.toString(16));
    // One without a structure takes no address at all.
    assert.equal(await host.status(1, host.base), INVALID_PARAMETER);
  });

  it('cannot have its buffers read from inside or past the address space', async () => {
    const { base } = host.harness;
    const end = base + BigInt(built.size);
    for (const at of [base, base - 1n, end - 1n, base + 0x8000n, MAX - 2n]) {
      const spoil = (name: string, p: string, args: unknown[]) =>
        host.spoilt(name, args, (s) => host.word(host.field(name, p, s), at));
      assert.equal(await spoil('ecall_sum', 'values', [[1], 1]), INVALID_PARAMETER, 'in');
      assert.equal(await spoil('ecall_fill', 'to', [undefined, 4, 1]), INVALID_PARAMETER, 'out');
      assert.equal(
        await spoil('ecall_array', 'given', [
          [1, 2, 3, 4],
          undefined,
          [
            [1, 2],
            [3, 4],
          ],
        ]),
        INVALID_PARAMETER,
      );
      assert.equal(await spoil('ecall_length', 'text', ['text']), INVALID_PARAMETER, 'string');
      assert.equal(
        await spoil('ecall_list', 'list', [{ kind: 0, bytes: 0, numbers: 0, data: null, values: null }]),
        INVALID_PARAMETER,
      );
    }
  });

  it('cannot make lengths wrap or miss their element', async () => {
    const set = (name: string, args: unknown[], values: Record<string, bigint>) =>
      host.spoilt(name, args, (s) => {
        for (const [p, value] of Object.entries(values)) host.word(host.field(name, p, s), value);
      });
    const cells = new Uint8Array(8);
    const cases: [bigint, bigint][] = [
      [MAX, 2n],
      [2n ** 32n, 2n ** 32n],
      [2n ** 63n, 2n],
      [2n ** 60n + 1n, 16n],
      [MAX, 1n],
    ];
    for (const [unit, n] of cases)
      assert.equal(await set('ecall_cells', [cells, 8, 1], { unit, n }), INVALID_PARAMETER, `${unit} * ${n}`);
    for (const n of [2n ** 62n, 2n ** 62n + 1n, MAX])
      assert.equal(await set('ecall_sum', [[1], 1], { n }), INVALID_PARAMETER, `${n}`);
    assert.equal(await set('ecall_fill', [undefined, 8, 1], { n: 2n ** 40n }), OUT_OF_MEMORY);
    // Beyond what is mapped, but outside: the copy faults, and nobody handles that.
    await using other = await fresh();
    assert.equal(
      await other.spoilt('ecall_length', ['x'], (s) => {
        other.word(other.field('ecall_length', 'text', s), 4096n);
      }),
      CRASHED,
    );
  });

  it('cannot pass text without its end, or with two', async () => {
    const length = (name: string, structure: bigint) => {
      const p = host.edl.ecalls.find((call) => call.name === name)?.parameters[0];
      assert.ok(p?.pass === 'string' || p?.pass === 'wstring');
      return structure + BigInt(p.lengthOffset ?? 0);
    };
    for (const bytes of [0n, 3n, 7n, MAX, 2n ** 63n]) {
      const spoil = (s: bigint) => void host.word(length('ecall_length', s), bytes);
      const expected = bytes === 3n ? OK : INVALID_PARAMETER;
      assert.equal(await host.spoilt('ecall_length', ['text'], spoil), expected, `${bytes}`);
    }
    const early = (s: bigint) => void host.view(host.word(host.field('ecall_length', 'text', s)), 2).fill(0);
    assert.equal(await host.spoilt('ecall_length', ['text'], early), INVALID_PARAMETER);
    for (const bytes of [1n, 7n, 0n, 21n])
      assert.equal(
        await host.spoilt('ecall_wide', ['text'], (s) => void host.word(length('ecall_wide', s), bytes)),
        INVALID_PARAMETER,
        `${bytes}`,
      );
  });

  it('cannot point members of structures inside, or give them lengths that wrap', async () => {
    const list = { kind: 1, bytes: 3, numbers: 1, data: new Uint8Array(3), values: [4] };
    const spoil = (offset: bigint, value: bigint) =>
      host.spoilt('ecall_list', [list], (s) => {
        host.word(host.word(host.field('ecall_list', 'list', s)) + offset, value);
      });
    assert.equal(await spoil(24n, host.harness.base + 0x8000n), INVALID_PARAMETER);
    assert.equal(await spoil(32n, host.harness.base - 1n), INVALID_PARAMETER);
    assert.equal(await spoil(8n, MAX), INVALID_PARAMETER);
    assert.equal(await spoil(16n, 2n ** 62n), INVALID_PARAMETER);
    assert.equal(await spoil(8n, 2n), OK);
  });

  it('gets answers where it said before the call, whatever it changes during an OCALL', async () => {
    await using h = await fresh();
    h.handlers = {
      ocall_print: () => undefined,
      ocall_answer: (_q: string, answer: Uint8Array) => {
        answer.set([65, 66, 67]);
        return { value: 3, out: { answer } };
      },
    };
    let structure = 0n;
    let answer = 0n;
    h.onOcall = (name, address) => {
      // The structure of the ECALL: another address inside the enclave, another length.
      h.word(h.field('ecall_ocall_text', 'answer', structure), h.harness.base + 0x8000n);
      h.word(h.field('ecall_ocall_text', 'n', structure), MAX);
      if (name === 'ocall_answer') h.word(h.field(name, 'answer', address), h.harness.base + 0x8000n);
    };
    const status = await h.spoilt('ecall_ocall_text', ['question', undefined, 8], (s) => {
      structure = s;
      answer = h.word(h.field('ecall_ocall_text', 'answer', s));
    });
    assert.equal(status, OK);
    assert.deepEqual(h.view(answer, 8), new Uint8Array([65, 66, 67, 0, 0, 0, 0, 0]));
  });

  it('finds OCALLs refused when its stack is no memory outside', async () => {
    await using h = await fresh();
    h.handlers = { ocall_add: (a: number, b: number) => a + b };
    const { base } = h.harness;
    for (const rsp of [base + 0x8000n, base + 16n, base + BigInt(built.size), 8n, 0n]) {
      h.rsp = rsp === 0n ? 1n : rsp;
      assert.equal(await h.call('ecall_ocall', [1]), -0x10001, rsp.toString(16));
    }
    h.rsp = undefined;
    assert.equal(await h.call('ecall_ocall', [1]), 4);
  });

  it('finds unknown calls, private ones and commands refused', async () => {
    const count = host.edl.ecalls.length;
    for (const index of [count, count + 1, 2 ** 31 - 1])
      assert.equal(await host.status(index), INVALID_FUNCTION, `${index}`);
    await assert.rejects(host.call('ecall_private', [1]), refused(NOT_ALLOWED));
    for (const command of [ECMD.ORET, ECMD.EXCEPT, ECMD.MKTCS, ECMD.PTHREAD, ECMD.INIT, -7, -2147483648])
      assert.equal(await host.status(command, host.base), UNEXPECTED, `${command}`);
    assert.equal(await host.call('ecall_add', [1, 1]), 2);
  });
});

describe('OCALLs', () => {
  it('carry values, text, buffers and errno', async () => {
    const seen: unknown[] = [];
    host.handlers = {
      ocall_add: (a: number, b: number) => a + b,
      ocall_print: (text: string) => void seen.push(text),
      ocall_answer: (question: string, answer: Uint8Array, n: bigint) => {
        seen.push(question, n);
        answer.set(Buffer.from('ab'));
        return { value: 2, out: { answer }, errno: n === 3n ? 11 : 0 };
      },
      ocall_double: (values: number[]) => ({ out: { values: values.map((v) => v * 2) } }),
      ocall_nothing: () => undefined,
      ocall_wide: (text: string) => BigInt(Array.from(text).length),
      ocall_switchless: (value: number) => value * 3,
    };
    assert.equal(await host.call('ecall_ocall', [20]), 42);
    assert.deepEqual(await host.call('ecall_ocall_text', ['Frage?', undefined, 4]), {
      value: 2,
      out: { answer: new Uint8Array([97, 98, 0, 0]) },
    });
    assert.deepEqual(await host.call('ecall_ocall_text', ['', undefined, 3]), {
      value: -11,
      out: { answer: new Uint8Array([97, 98, 0]) },
    });
    assert.deepEqual(seen, ['Frage?', 'Frage?', 4n, '', '', 3n]);
    assert.deepEqual(await host.call('ecall_ocall_buffers', [[1, 2, 3, 4]]), {
      value: 0,
      out: { values: [2, 4, 6, 8], code: 14 },
    });
    assert.equal(await host.call('ecall_ocall_wide'), 7);
    assert.equal(await host.call('ecall_switchless', [5]), 15);
  });

  it('copy structures deeply, and keep the addresses of the enclave', async () => {
    host.handlers['ocall_list'] = (list: { data: Uint8Array; values: number[] }) => {
      assert.deepEqual(list.data, new Uint8Array([1, 2, 3]));
      assert.deepEqual(list.values, [10, 20]);
      list.data[0] = 100;
      list.values[1] = 99;
      return { value: 5 };
    };
    assert.equal(await host.call('ecall_ocall_list'), 5 + 100 + 2 + 3 + 10 + 99);
    let change: ((list: bigint) => void) | undefined;
    host.onOcall = (_name, address) => change?.(host.word(host.field('ocall_list', 'list', address)));
    // Other addresses are not followed, other lengths refused.
    change = (list) => void host.word(list + 24n, host.harness.base + 0x8000n);
    assert.equal(await host.call('ecall_ocall_list'), 219);
    change = (list) => void host.word(list + 8n, 4n);
    assert.equal(await host.call('ecall_ocall_list'), -0x10000 - INVALID_PARAMETER);
    change = (list) => void host.word(list + 16n, 2n ** 62n);
    assert.equal(await host.call('ecall_ocall_list'), -0x10000 - INVALID_PARAMETER);
    host.onOcall = undefined;
  });

  it('say what the host says when it fails', async () => {
    const { ocall_add } = host.handlers;
    host.handlers['ocall_add'] = undefined as never;
    assert.equal(await host.call('ecall_ocall', [1]), -0x10000 - UNEXPECTED);
    host.handlers['ocall_add'] = ocall_add;
    assert.equal(await host.call('ecall_ocall', [1]), 4);
  });

  it('leave the stack of the caller as it was', async () => {
    const ends: bigint[] = [];
    host.onOcall = (_name, _address, rsp) => void ends.push(rsp);
    for (let i = 0; i < 3; i++) await host.call('ecall_ocall', [i]);
    host.onOcall = undefined;
    assert.equal(new Set(ends).size, 1);
    assert.ok(ends[0] % 16n === 0n);
  });

  it('allow the ECALLs that their declaration names, and no other', async () => {
    host.handlers['ocall_nested'] = (value: number) => host.call('ecall_private', [value]);
    assert.equal(await host.call('ecall_nested', [0]), 1);
    // Each level adds its value and one.
    assert.equal(await host.call('ecall_nested', [2]), 2 + 1 + 3);
    for (const name of ['ecall_public_denied', 'ecall_empty']) {
      host.handlers['ocall_nested'] = async () => {
        await assert.rejects(host.call(name), refused(NOT_ALLOWED));
        return 0;
      };
      assert.equal(await host.call('ecall_nested', [1]), 1);
    }
    // Deeper than calls may be nested: the innermost is refused, and all others are given up.
    await using h = await fresh();
    h.handlers = { ocall_nested: (value: number) => h.call('ecall_private', [value]) };
    await assert.rejects(h.call('ecall_nested', [12]), refused(STACK_OVERRUN));
  });
});

describe('threads and exceptions', () => {
  it('have their own variables and numbers', async () => {
    await using h = await fresh();
    for (const thread of [2, 0, 3, 1]) {
      assert.equal(await h.call('ecall_on_thread', [], thread), thread);
      assert.equal(await h.call('ecall_local', [thread], thread), 100 + thread);
      assert.equal(await h.call('ecall_local', [1], thread), 101 + thread);
    }
  });

  it('sleep and wake by OCALLs', async () => {
    let woken = 0n;
    host.handlers['sgx_thread_set_untrusted_event_ocall'] = (waiter: bigint) => {
      woken = waiter;
      return 0;
    };
    host.handlers['sgx_thread_wait_untrusted_event_ocall'] = async (self: bigint) => {
      // Another thread, while this one is outside.
      assert.equal(await host.call('ecall_wake', [], 1), 1);
      assert.equal(woken, self);
      return 0;
    };
    assert.equal(await host.call('ecall_wait'), 1n);
    assert.equal(await host.call('ecall_wake', [], 1), 0);
  });

  it('repair an exception in two phases', async () => {
    assert.equal(await host.call('ecall_divide', [7, 2]), 3);
    assert.equal(await host.call('ecall_divide', [7, 0]), -1);
    assert.equal(await host.call('ecall_divide', [-8, 3]), -2);
  });

  it('end the enclave when nobody handles an exception', async () => {
    await using h = await fresh();
    const spoil = (s: bigint) => void h.word(h.field('ecall_length', 'text', s), 4096n);
    assert.equal(await h.spoilt('ecall_length', ['x'], spoil), CRASHED);
    assert.equal(await h.status(0, h.base, 1), CRASHED);
  });
});

describe('life', () => {
  it('begins with INIT and what the machine must have', async () => {
    await using h = await fresh(false);
    assert.equal(await h.status(0, h.base), UNEXPECTED);
    assert.equal(await h.status(ECMD.UNINIT), UNEXPECTED);
    assert.equal(await h.init(0x3fn), UNEXPECTED);
    assert.equal(await h.init(undefined, h.harness.base), UNEXPECTED);
    assert.equal(await h.init(undefined, 0n), UNEXPECTED);
    assert.equal(await h.init(0x3ffn), OK);
    assert.equal(await h.init(), UNEXPECTED);
    assert.equal(await h.call('ecall_add', [1, 2]), 3);
  });

  it('ends with UNINIT or an abort', async () => {
    for (const end of ['uninit', 'abort']) {
      await using h = await fresh();
      if (end === 'uninit') assert.equal(await h.status(ECMD.UNINIT), OK);
      else await assert.rejects(h.call('ecall_abort'), refused(CRASHED));
      for (const command of [0, ECMD.INIT, ECMD.UNINIT, ECMD.ORET])
        assert.equal(await h.status(command, h.base), command === ECMD.ORET ? UNEXPECTED : CRASHED);
    }
  });
});
