import { type Attack, finding, Tally } from '../attack.js';
import { exitName, interrupt, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

export const resumeWithoutExit: Attack = Object.freeze({
  name: 'resume-without-exit',
  group: 'entry',
  by: 'app',
  title: 'ERESUME of a thread that was not interrupted',
  tries:
    'ERESUME of a fresh thread, after EEXIT, through the gate of a thread beside the interrupted one, and a second time after ' +
    'the interrupted call has ended',
  control: 'the interrupted thread is resumed once and ends its call',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const micro = await stage.micro({ threads: 2 });
    const flag = connection.memory.alloc(64, { zero: true });
    const tally = new Tally();
    const broken: (string | false)[] = [];
    const mustFail = (what: string, thread: number) => {
      const exit = exitName(micro.resume(thread));
      tally.add(exit);
      broken.push(exit !== 'entry #GP' && `ERESUME ${what} gave ${exit}`);
    };
    try {
      mustFail('of a fresh thread', 0);
      micro.enter(OP.NOTHING);
      mustFail('after EEXIT', 0);
      const inside = micro.begin(OP.HAMMER, { rsi: micro.base + micro.layout.data, rdx: flag.address });
      await new Promise<void>((resolve) => setTimeout(resolve, 10));
      const interrupted = exitName(await interrupt(micro, inside));
      broken.push(interrupted !== 'interrupt' && `the interrupt gave ${interrupted}, so this shows nothing`);
      mustFail('through the gate of another thread', 1);
      const resumed = micro.beginResume(0);
      await new Promise<void>((resolve) => setTimeout(resolve, 10));
      new DataView(flag.bytes.buffer, flag.bytes.byteOffset).setUint32(0, 1, true);
      const ended = exitName(await resumed);
      broken.push(ended !== 'EEXIT' && `the interrupted call ended with ${ended}`);
      mustFail('a second time', 0);
      return [
        finding(
          'the host itself',
          `${tally.total} times: ${tally}; the interrupted call was resumed once`,
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
