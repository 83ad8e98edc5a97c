import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateKey } from '@nestedsgx/image/node';
import { buildProgramImage, runProgram } from '@nestedsgx/libos';
import type { Cvm } from '@nestedsgx/sdk';
import type { Tour } from '../tour.js';

const SHELL = '/bin/sh';
const SCRIPT = 'echo "6 * 7 = $((6 * 7))" | cat; exit 3';

/** Runs this machine's own shell in an enclave, with a child and a pipe, and beside it as it is. */
export async function runThisMachines(tour: Tour, cvm: Cvm): Promise<void> {
  tour.begin('Run an unmodified program of this machine in an enclave');
  const program = buildProgramImage({ program: SHELL, copy: ['/bin/cat'] });
  const { privateKeyPem } = await generateKey();
  const path = join(tour.folder, 'output');
  const out = openSync(path, 'w');
  const argv = [SHELL, '-c', SCRIPT];
  const { status, mrenclave } = await runProgram(cvm, program, {
    argv,
    key: privateKeyPem,
    descriptors: [0, out, out],
  }).finally(() => closeSync(out));
  const said = readFileSync(path, 'utf8');
  const native = spawnSync(SHELL, argv.slice(1), { encoding: 'utf8' });
  tour.record('the shell and its libraries, as they are on the disk', `MRENCLAVE ${mrenclave.slice(0, 16)}…`);
  tour.record(
    `sh -c '${SCRIPT}'`,
    `says ${JSON.stringify(said.trim())}, ends with ${status}; natively the same`,
    said === native.stdout && status === native.status && status === 3,
  );
  tour.record(
    'its system calls',
    `${program.rewritten} places jump into the library OS, ${program.trapping} trap`,
  );
}
