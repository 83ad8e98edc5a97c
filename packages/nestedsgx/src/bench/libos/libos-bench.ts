/** `nsgx bench libos`: unmodified programs in an enclave, beside the same natively. */
import type { Bench } from '../row.js';
import { calls } from './calls.js';
import { openssl, perl, python } from './compute.js';
import { sqlite } from './database.js';
import { fio } from './disk.js';
import { lighttpd, nginx, redis } from './servers.js';
import { Stage, TRANSPORTS, type Transport } from './stage.js';
import { start } from './start.js';
import { measure, type Subject } from './subject.js';

/** All that is measured. */
export const SUBJECTS: readonly Subject[] = Object.freeze([
  calls,
  start,
  openssl,
  perl,
  python,
  sqlite,
  fio,
  redis,
  lighttpd,
  nginx,
]);

/** What programs use unless they are told otherwise. */
const USUAL: Transport = 'ring';

/** Rows of `only` (all when empty), by one transport, or by each where the host's services are what is measured. */
export function libosBench(only: readonly string[] = [], io?: Transport): Bench {
  const subjects = SUBJECTS.filter(({ name }) => only.length === 0 || only.includes(name));
  return {
    name: 'libos',
    summary: 'unmodified programs in an enclave, beside the same natively',
    async run(context) {
      await using stage = Stage.open();
      const rows = [];
      for (const subject of subjects) {
        const transports = io !== undefined ? [io] : subject.transports ? TRANSPORTS : [USUAL];
        rows.push(...(await measure(context, stage, subject, transports)));
      }
      return rows;
    },
  };
}
