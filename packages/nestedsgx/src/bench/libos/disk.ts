/** fio: files of 64 MiB, from the first byte to the last. */
import { join } from 'node:path';
import { figureIn, figures, path, said } from './said.js';
import type { Side, Stage } from './stage.js';
import type { Subject } from './subject.js';

const RATE = /"bw_bytes"\s*:\s*([1-9]\d*)/;

/** `nsgx bench libos --only fio`. */
export const fio: Subject = {
  name: 'fio',
  needs: [{ program: 'fio', package: 'fio' }],
  rounds: 3,
  figures: {
    'write tmpfs': { unit: 'MB/s', note: 'blocks of 1 MiB, a file in memory' },
    'read tmpfs': { unit: 'MB/s', note: 'blocks of 1 MiB, a file in memory' },
    'write overlay': {
      unit: 'MB/s',
      note: 'blocks of 1 MiB, encrypted overlay; natively buffered on the same disk',
    },
    'read overlay': {
      unit: 'MB/s',
      note: 'blocks of 1 MiB, encrypted overlay; natively buffered on the same disk',
    },
  },
  begin(stage: Stage, short: boolean) {
    const size = short ? '4M' : '64M';
    let store = 0;
    const rate = (side: Side, rw: string, folder: string, options: readonly string[]) => {
      const argv = [
        ...[
          path('fio'),
          '--name=bench',
          '--thread',
          '--ioengine=psync',
          '--bs=1M',
          `--size=${size}`,
          `--rw=${rw}`,
        ],
        ...[`--filename=${join(folder, 'fio')}`, '--output-format=json', '--fallocate=none'],
      ];
      const text = said(stage, side, { argv, options: ['--memory', '512', '--files', '512', ...options] });
      return figureIn(text, RATE) / 1e6;
    };
    return (side: Side) => {
      const place = stage.place(`fio-${store++}`);
      const [memory, disk, options] =
        side === 'native'
          ? [stage.shm, place, []]
          : ['/dev/shm', '/data', ['--store', `${place}/store:/data`]];
      return figures({
        'write tmpfs': () => rate(side, 'write', memory, []),
        'read tmpfs': () => rate(side, 'read', memory, []),
        'write overlay': () => rate(side, 'write', disk, options),
        'read overlay': () => rate(side, 'read', disk, options),
      });
    };
  },
};
