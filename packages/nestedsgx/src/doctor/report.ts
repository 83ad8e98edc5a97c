/** The doctor's report: all rows in order, and whether enclaves can run. */
import * as kernel from './kernel-rows.js';
import type { Probes } from './probes.js';
import * as processor from './processor-rows.js';
import { missing, type Row } from './row.js';
import * as surroundings from './surroundings-rows.js';

/** The report. `canRun` is the doctor's verdict and the exit code of the command. */
export interface Report {
  readonly canRun: boolean;
  readonly rows: readonly Row[];
}

type Examine = (probes: Probes) => Row | Row[] | Promise<Row | Row[]>;

const ANYWHERE: readonly (readonly [string, Examine])[] = [
  ['platform', kernel.platformRow],
  ['node', kernel.nodeRow],
];

const ON_LINUX: readonly (readonly [string, Examine])[] = [
  ['kernel', kernel.kernelRow],
  ['processor', processor.processorRow],
  ['fsgsbase', processor.fsgsbaseRow],
  ['xsave', processor.xsaveRow],
  ['aes', processor.cryptoRow],
  ['cpus', processor.cpusRow],
  ['memory', kernel.memoryRow],
  ['userfaultfd', kernel.userfaultfdRow],
  ['seccomp', kernel.seccompRow],
  ['memory-files', kernel.memfdRow],
  ['pidfd', kernel.pidfdRow],
  ['max-map-count', kernel.mapCountRow],
  ['open-files', kernel.openFilesRow],
  ['runner', processor.runnerRows],
  ['state', kernel.stateRow],
  ['toolchain', surroundings.toolchainRow],
  ['guests', surroundings.guestsRow],
  ['account', surroundings.accountRow],
  ['container', surroundings.containerRow],
  ['hardware', surroundings.hardwareRow],
  ['launch', surroundings.launchRows],
];

/** Examines the machine. Never throws: what cannot be found out is a row that says so. */
export async function examine(probes: Probes): Promise<Report> {
  const rows = await runAll(ANYWHERE, probes);
  const fits = probes.platform === 'linux' && probes.arch === 'x64';
  if (fits) rows.push(...(await runAll(ON_LINUX, probes)));
  // The launch test is the proof; state and the platform are what it does not touch.
  const decisive = new Set(['platform', 'node', 'state', 'launch']);
  const canRun = !rows.some((row) => row.needed && decisive.has(row.id));
  return { canRun, rows };
}

async function runAll(list: typeof ON_LINUX, probes: Probes): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [id, examineOne] of list) {
    try {
      rows.push(...[await examineOne(probes)].flat().map(oneLine));
    } catch (error) {
      rows.push(
        missing(
          id,
          `cannot be found out: ${(error as Error).message}`,
          'unknown',
          processor.cureOf(error) ?? 'see the other rows',
        ),
      );
    }
  }
  return rows;
}

/** Messages of tools may have many lines; a row has one. */
function oneLine(row: Row): Row {
  return { ...row, found: row.found.split('\n', 1)[0]! };
}
