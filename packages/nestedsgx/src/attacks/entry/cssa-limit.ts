import { type Attack, finding, Tally } from '../attack.js';
import { exitName, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const NSSA = 4;

export const cssaLimit: Attack = Object.freeze({
  name: 'cssa-limit',
  group: 'entry',
  by: 'app',
  title: 'enter a thread whose SSA frames are all in use',
  tries:
    'lets one thread fault again and again without resuming it, then enters once more, and over a page that is no frame',
  control: 'the first NSSA entries are accepted, and the enclave itself says its CSSA',
  run: async (stage: Stage) => {
    const micro = await stage.micro({ nssa: NSSA, threads: 2 });
    const tally = new Tally();
    const broken: (string | false)[] = [];
    try {
      // The page after the frames of thread 0 is the TCS of thread 1: nothing may ever be saved there.
      for (let depth = 0; depth < NSSA - 1; depth++) {
        const exit = exitName(micro.enter(OP.UNDEFINED));
        tally.add(exit);
        broken.push(exit !== '#UD' && `entry ${depth} gave ${exit}, so this shows nothing`);
      }
      const state = micro.enter(OP.STATE);
      const cssa = state.kind === 'EEXIT' ? Number(state.rdx) : -1;
      broken.push(cssa !== NSSA - 1 && `the enclave was entered with CSSA ${cssa}`);
      tally.add(exitName(micro.enter(OP.UNDEFINED)));
      for (const op of [OP.NOTHING, OP.STATE, OP.WRITE, OP.UNDEFINED, OP.SPIN]) {
        const exit = exitName(micro.enter(op));
        tally.add(exit);
        broken.push(exit !== 'entry #GP' && `an entry beyond the last frame gave ${exit}`);
      }
      const other = exitName(micro.enter(OP.NOTHING, {}, 1));
      broken.push(other !== 'EEXIT' && `the thread beside it gives ${other}`);
      return [
        finding(
          'the host itself',
          `${tally.total} entries with NSSA ${NSSA}: ${tally}; the next TCS is as before`,
          broken,
        ),
      ];
    } finally {
      await micro.close();
    }
  },
});
