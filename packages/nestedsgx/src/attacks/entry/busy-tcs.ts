import { GATE, GATE_FUNCTION } from '@nestedsgx/cpu/host';
import { futexWake } from '@nestedsgx/os';
import { type Attack, finding } from '../attack.js';
import { OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const HAMMER_MS = 250;
const MARK = 0x5eed;

export const busyTcs: Attack = Object.freeze({
  name: 'busy-tcs',
  group: 'entry',
  by: 'app',
  title: 'enter a thread that is inside already',
  tries:
    'writes further EENTER and ERESUME requests into the gate of a thread that is inside, thousands of times, each of which would ' +
    'leave a mark in guest RAM',
  control: 'the last of these requests is served, and leaves its mark, as soon as the thread is outside',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro({ threads: 2 });
    const shared = connection.memory.alloc(128, { zero: true });
    const words = new DataView(shared.bytes.buffer, shared.bytes.byteOffset);
    const flag = shared.address;
    const mark = shared.address + 64;
    const broken: (string | false)[] = [];
    try {
      const page = micro.gateBytes();
      const gate = new DataView(page.buffer, page.byteOffset);
      // All by hand: a library that waits for its own answer would miss it among the others.
      const request = (op: number, rsi: number, rdx: number, fn: number, step: number) => {
        gate.setUint32(GATE.at.requestFunction, fn, true);
        gate.setBigUint64(GATE.at.requestRdi, BigInt(op), true);
        gate.setBigUint64(GATE.at.requestRsi, BigInt(rsi), true);
        gate.setBigUint64(GATE.at.requestRdx, BigInt(rdx), true);
        gate.setUint32(GATE.at.requestSeq, (gate.getUint32(GATE.at.requestSeq, true) + step) >>> 0, true);
      };
      // A thread that sleeps has to be woken; the library would do it.
      const wake = () => futexWake(connection.ramBase + micro.gate(), 1);
      const counted = micro.base + micro.layout.data;
      micro.enter(OP.NOTHING);
      request(OP.HAMMER, counted, flag, GATE_FUNCTION.EENTER, 1);
      wake();
      await until(() => Number(micro.read(micro.layout.data, 1)) > 0);
      const started = performance.now();
      let requests = 0;
      let seen = 0;
      while (performance.now() - started < HAMMER_MS) {
        for (let i = 0; i < 500; i++, requests++) {
          request(OP.WRITE, mark, MARK, i & 1 ? GATE_FUNCTION.ERESUME : GATE_FUNCTION.EENTER, 1 + (i & 1));
        }
        seen += words.getUint32(64, true);
        await new Promise<void>((resolve) => setImmediate(resolve));
      }
      request(OP.WRITE, mark, MARK, GATE_FUNCTION.EENTER, 1);
      broken.push(seen > 0 && 'a second entry took place while the thread was inside');
      const rounds = Number(micro.read(micro.layout.data, 1));
      await until(() => Number(micro.read(micro.layout.data, 1)) > rounds);
      broken.push(!(Number(micro.read(micro.layout.data, 1)) > rounds) && 'the thread inside does not go on');
      words.setUint32(0, 1, true);
      await new Promise<void>((resolve) => setTimeout(resolve, 5));
      wake();
      await until(() => words.getUint32(64, true) !== 0);
      broken.push(
        words.getUint32(64, true) !== MARK && 'no request was served afterwards, so this shows little',
      );
      return [
        finding(
          'the host itself',
          `${requests} requests to a busy thread: none entered; it went on, and one request was served after it`,
          broken,
        ),
      ];
    } finally {
      words.setUint32(0, 1, true);
      await micro.close();
      connection.memory.free(shared);
    }
  },
});

/** Waits for a condition, at most half a second. */
async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}
