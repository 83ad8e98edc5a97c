/** sqlite3's shell: databases in memory, in files in memory, and on the disk. */
import { join } from 'node:path';
import { figures, path, said } from './said.js';
import type { Side, Stage } from './stage.js';
import type { Subject } from './subject.js';

/** Rows in bulk, then single transactions as an application makes them. */
function script(rows: number, transactions: number): string {
  const lines = [
    '.timer on',
    'create table t(k integer primary key, a int, b text);',
    `with recursive n(i) as (select 1 union all select i + 1 from n where i < ${rows})
     insert into t select i, (i * 7919) % 10007, hex(i) || 'abcdefghijklmnop' from n;`,
    'create index by_a on t(a);',
    'select count(*), sum(length(b)) from t where a between 100 and 5000;',
    "update t set b = b || 'x' where a % 17 = 3;",
    'select a, count(*) c from t group by a order by c desc, a limit 3;',
  ];
  for (let i = 0; i < transactions; i++)
    lines.push(
      `begin; insert into t(a, b) values(${i}, 'row ${i}'); update t set a = a + 1 where k = ${i + 1}; commit;`,
      `select b from t where k = ${(i * 31) % rows};`,
    );
  return `${lines.join('\n')}\n`;
}

function milliseconds(text: string): number {
  const times = Array.from(text.matchAll(/^Run Time: real ([0-9.]+)/gm), ([, time]) => Number(time));
  if (times.length === 0) throw new Error('sqlite3 told no times');
  return times.reduce((sum, time) => sum + time, 0) * 1000;
}

/** `nsgx bench libos --only sqlite`. */
export const sqlite: Subject = {
  name: 'sqlite',
  needs: [{ program: 'sqlite3', package: 'sqlite3' }],
  rounds: 5,
  figures: {
    memory: {
      unit: 'runs/s',
      note: 'a database in memory: bulk, index, queries, updates, single transactions',
    },
    tmpfs: { unit: 'runs/s', note: 'the same in a file in memory' },
    overlay: {
      unit: 'runs/s',
      note: 'the same in a file of the encrypted overlay; natively on the same disk',
    },
  },
  begin(stage: Stage, short: boolean) {
    const text = script(short ? 500 : 60_000, short ? 5 : 400);
    let store = 0;
    const run = (side: Side, database: string, options: readonly string[] = []) => {
      const argv = [path('sqlite3'), database];
      return (
        1000 /
        milliseconds(
          said(stage, side, { argv, options: ['--memory', '256', '--files', '128', ...options] }, text),
        )
      );
    };
    return (side: Side) => {
      const place = stage.place(`sqlite-${store++}`);
      return figures({
        memory: () => run(side, ':memory:'),
        tmpfs: () => run(side, join(side === 'native' ? stage.shm : '/dev/shm', `db-${store}`)),
        overlay: () =>
          side === 'native'
            ? run(side, join(place, 'db'))
            : run(side, '/data/db', ['--store', `${place}/store:/data`]),
      });
    };
  },
};
