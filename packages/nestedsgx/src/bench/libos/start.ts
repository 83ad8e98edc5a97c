/** The start of a small program. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { generateKey } from '@nestedsgx/image/node';
import { buildProgramImage, runProgram } from '@nestedsgx/libos';
import { Cvm } from '@nestedsgx/sdk';
import { median } from '../statistics.js';
import { figures, path } from './said.js';
import { NSGX, type Side, type Stage } from './stage.js';
import type { Subject } from './subject.js';

const STARTS = 7;

/** `nsgx bench libos --only start`. */
export const start: Subject = {
  name: 'start',
  needs: [{ program: 'busybox', package: 'busybox or busybox-static' }],
  rounds: 3,
  figures: {
    busybox: {
      unit: 'ms',
      note: 'image, measurement, signature, loading and running of `busybox true` from Node',
    },
    command: {
      unit: 'ms',
      note: '`nsgx exec -- busybox true` with the start of Node and the loading of its modules',
    },
    node: {
      unit: 'ms',
      note: 'what any command takes: `nsgx --version`, and an empty script of Node natively',
    },
  },
  begin(stage: Stage, short: boolean) {
    const argv = [path('busybox'), 'true'];
    return (side: Side) => {
      const times = short ? 1 : STARTS;
      const command = () => {
        const once = () => {
          const { status, stderr, ms } = stage.run(side, { argv });
          if (status !== 0) throw new Error(stderr);
          return ms;
        };
        // The first one makes the image.
        once();
        return median(Array.from({ length: times }, once));
      };
      const node = () => median(Array.from({ length: times }, () => emptyCommand(side)));
      const busybox = () => (side === 'native' ? command() : fromNode(stage, argv, times));
      return figures({ busybox, command, node });
    };
  },
};

function emptyCommand(side: Side): number {
  const began = performance.now();
  const { status } = spawnSync(process.execPath, side === 'native' ? ['-e', '0'] : [NSGX, '--version']);
  if (status !== 0) throw new Error(`ended with ${status}`);
  return performance.now() - began;
}

async function fromNode(stage: Stage, argv: readonly string[], times: number): Promise<number> {
  const key = (await generateKey()).privateKeyPem;
  await using cvm = await Cvm.connect(stage.socket);
  const found: number[] = [];
  for (let i = 0; i <= times; i++) {
    const began = performance.now();
    const image = buildProgramImage({ program: argv[0] ?? '', cache: join(stage.folder, 'sites') });
    const { status } = await runProgram(cvm, image, { argv, key });
    if (status !== 0) throw new Error(`ended with ${status}`);
    // The first one fills the cache.
    if (i > 0) found.push(performance.now() - began);
  }
  return median(found);
}
