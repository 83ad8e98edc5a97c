import type { CommandModule } from '../program.js';
import { attackCommand } from './attack.js';
import { attestCommand } from './attest.js';
import { benchCommand } from './bench.js';
import { buildCommand } from './build.js';
import { collateralCommand } from './collateral.js';
import { conformanceCommand } from './conformance.js';
import { cvmCommand } from './cvm.js';
import { demoCommand } from './demo.js';
import { doctorCommand } from './doctor.js';
import { edlCommand } from './edl.js';
import { execCommand } from './exec.js';
import { imageCommand } from './image.js';
import { inspectCommand } from './inspect.js';
import { measureCommand } from './measure.js';
import { newCommand } from './new.js';
import { killCommand, psCommand } from './ps.js';
import { runCommand } from './run.js';
import { signCommand } from './sign.js';
import { simulateCommand } from './simulate.js';
import { topCommand } from './top.js';
import { traceCommand } from './trace.js';
import { verifyCommand } from './verify.js';
import { vmCommand } from './vm.js';

/** The commands in the order `nsgx --help` lists them. */
export const commands: readonly CommandModule[] = [
  demoCommand,
  doctorCommand,
  newCommand,
  buildCommand,
  edlCommand,
  signCommand,
  inspectCommand,
  measureCommand,
  runCommand,
  execCommand,
  imageCommand,
  psCommand,
  killCommand,
  attestCommand,
  verifyCommand,
  collateralCommand,
  attackCommand,
  simulateCommand,
  conformanceCommand,
  benchCommand,
  traceCommand,
  topCommand,
  cvmCommand,
  vmCommand,
];
