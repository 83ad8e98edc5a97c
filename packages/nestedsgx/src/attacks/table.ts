/** The attacks, in the order in which they run. Adding one is one file and one row. */
import type { Attack } from './attack.js';
import { confusedDeputy } from './confused-deputy.js';
import { coreDump } from './core-dump.js';
import { enclaveSyscall } from './enclave-escape.js';
import { enclaveSpy } from './enclave-spy.js';
import { enclaveStub } from './enclave-stub.js';
import { epcRead } from './epc-read.js';
import { falseEvidence } from './false-evidence.js';
import { foreignEnclave } from './foreign-enclave.js';
import { forgedSignals } from './forged-signals.js';
import { forgedSigstruct } from './forged-sigstruct.js';
import { futexRequeueAttack } from './futex-requeue.js';
import { gateScribble } from './gate-scribble.js';
import { inspector } from './inspector.js';
import { launchEnvironmentAttack } from './launch-environment.js';
import { cvmMemory, runnerMemory } from './process-memory.js';
import { ramFile } from './ram-file.js';
import { requestFlood } from './request-flood.js';
import { rmpTricks } from './rmp-tricks.js';
import { signatureRace } from './signature-race.js';
import { tamperedPage } from './tampered-page.js';
import { tamperedSeal } from './tampered-seal.js';

/** All attacks. */
export const attackTable: readonly Attack[] = Object.freeze([
  epcRead,
  runnerMemory,
  cvmMemory,
  coreDump,
  inspector,
  launchEnvironmentAttack,
  forgedSignals,
  rmpTricks,
  tamperedPage,
  forgedSigstruct,
  signatureRace,
  tamperedSeal,
  gateScribble,
  futexRequeueAttack,
  ramFile,
  confusedDeputy,
  foreignEnclave,
  requestFlood,
  falseEvidence,
  enclaveSyscall,
  enclaveStub,
  enclaveSpy,
]);

/** The attacks that the tour shows: the whole suite without its longest races and floods. */
export const tourAttacks: readonly string[] = Object.freeze(
  attackTable
    .map(({ name }) => name)
    .filter(
      (name) =>
        !['signature-race', 'request-flood', 'core-dump', 'launch-environment', 'ram-file'].includes(name),
    ),
);
