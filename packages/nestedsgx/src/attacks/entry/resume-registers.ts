import { GPRSGX } from '@nestedsgx/arch';
import { generator } from '../adversary/world.js';
import { type Attack, finding } from '../attack.js';
import { exitName, interrupt, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const GPR = PAGE - GPRSGX.size;
const INTERRUPTS = 120;
/** Registers that HAMMER lives by: if a resume took them from the host, it would end or fault. */
const KEPT = ['RSI', 'RDX', 'RIP', 'R10'] as const;

export const resumeRegisters: Attack = Object.freeze({
  name: 'resume-registers',
  group: 'entry',
  by: 'guest OS',
  title: 'interrupt an enclave all the time and resume it with other registers',
  tries:
    'a storm of interrupts; each ERESUME comes with random registers in the gate, and entries at the next CSSA with random stacks ' +
    'lie between',
  control:
    'the interrupted frame is read by the enclave itself each time; the computation ends only through its own registers',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro({ threads: 2, nssa: 3 });
    const flag = connection.memory.alloc(64, { zero: true });
    const random = generator(stage.seed);
    const noise = () => (BigInt(random()) << 32n) | BigInt(random());
    const broken: (string | false)[] = [];
    const ssa = micro.layout.ssa(0);
    const frame = (name: keyof typeof GPRSGX.offsets) => micro.read(ssa + GPR + GPRSGX.offsets[name], 1);
    let interrupts = 0;
    try {
      let inside = micro.begin(OP.HAMMER, { rsi: micro.base + micro.layout.data, rdx: flag.address });
      let first: string | null = null;
      for (let i = 0; i < INTERRUPTS; i++) {
        await new Promise<void>((resolve) => setImmediate(resolve));
        const exit = exitName(await interrupt(micro, inside));
        if (exit !== 'interrupt') {
          broken.push(`an interrupt gave ${exit}`);
          break;
        }
        interrupts++;
        const kept = KEPT.filter((name) => name !== 'RIP')
          .map((name) => String(frame(name)))
          .join();
        const rip = Number(frame('RIP')) - micro.base;
        first ??= kept;
        broken.push(kept !== first && 'the interrupted registers changed');
        broken.push(!(rip >= 0 && rip < PAGE) && `RIP became 0x${rip.toString(16)}`);
        // An entry at CSSA 1, with a stack of the host's choice, goes to the next frame and not to this one.
        if (i % 8 === 0) {
          const nested = micro.enter(OP.STATE, { rsp: noise(), rbp: noise() });
          broken.push(!(nested.kind === 'EEXIT' && nested.rdx === 1n) && 'a nested entry had another CSSA');
        }
        inside = micro.beginResume(0, {
          rsi: noise(),
          rdx: noise(),
          rsp: noise(),
          rbp: noise(),
          r8: noise(),
        });
      }
      new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
      const exit = await inside;
      broken.push(exit.kind !== 'EEXIT' && `the computation ended with ${exitName(exit)}`);
      const count = exit.kind === 'EEXIT' ? exit.rsi : 0n;
      broken.push(count < 1000n && 'hardly anything was computed, so this shows little');
      return [
        finding(
          'the host itself',
          `${interrupts} interrupts, resumed with random registers: ${count} rounds counted, the registers are the enclave's`,
          broken,
        ),
      ];
    } finally {
      new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
      await micro.close();
      connection.memory.free(flag);
    }
  },
});
