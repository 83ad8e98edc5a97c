/** The attacks, in the order in which they run. Adding one is one file and one row. */
import type { Attack } from './attack.js';
import { descriptorFlood } from './denial/descriptor-flood.js';
import { agentEater, endlessEnclave } from './denial/endless-enclave.js';
import { epcExhaustion, hugeEnclaves } from './denial/exhaustion.js';
import { requestFlood } from './denial/request-flood.js';
import { addressLimits, confusedDeputy } from './deputy/confused-deputy.js';
import { foreignEnclave } from './deputy/foreign-enclave.js';
import { augOver, augUnaccepted } from './dynamic/augmented-pages.js';
import { restrictLie, trimRunning, typeConfusion } from './dynamic/modified-pages.js';
import { aexInformation } from './entry/aex-information.js';
import { busyTcs } from './entry/busy-tcs.js';
import { cssaLimit } from './entry/cssa-limit.js';
import { forgedSsa } from './entry/forged-ssa.js';
import { gateRegisters } from './entry/gate-registers.js';
import { resumeRegisters } from './entry/resume-registers.js';
import { resumeWithoutExit } from './entry/resume-without-exit.js';
import { falseEvidence } from './keys/false-evidence.js';
import { reportForgery } from './keys/report-forgery.js';
import { sealPolicies } from './keys/seal-policies.js';
import { splicedEvidence } from './keys/spliced-evidence.js';
import { tamperedSeal } from './keys/tampered-seal.js';
import { attributeFlips } from './lifecycle/attribute-flips.js';
import { elrangePlaces } from './lifecycle/elrange-places.js';
import { forgedSigstruct } from './lifecycle/forged-sigstruct.js';
import { lateChanges } from './lifecycle/late-changes.js';
import { measuredOrder } from './lifecycle/measured-order.js';
import { reusedSigstruct } from './lifecycle/reused-sigstruct.js';
import { tamperedPage } from './lifecycle/tampered-page.js';
import { wrongOrder } from './lifecycle/wrong-order.js';
import { doubleMapping } from './memory/double-mapping.js';
import { epcRead } from './memory/epc-read.js';
import { epcWrite } from './memory/epc-write.js';
import { pageSmash } from './memory/page-smash.js';
import { pteLies } from './memory/pte-lies.js';
import { remapValidated } from './memory/remap-validated.js';
import { rmpTricks } from './memory/rmp-tricks.js';
import { evictRunning, loadTwice } from './paging/evict-running.js';
import { pageEdit, pageMixup } from './paging/page-mixup.js';
import { pageReplay, versionRollback } from './paging/page-replay.js';
import { coreDump } from './process/core-dump.js';
import { enclaveSyscall } from './process/enclave-escape.js';
import { enclaveSpy } from './process/enclave-spy.js';
import { enclaveStub } from './process/enclave-stub.js';
import { forgedSignals } from './process/forged-signals.js';
import { hostDescriptors } from './process/host-descriptors.js';
import { inspector } from './process/inspector.js';
import { launchEnvironmentAttack } from './process/launch-environment.js';
import { cvmMemory, runnerMemory } from './process/process-memory.js';
import { ramFile } from './process/ram-file.js';
import { runnerScribble } from './process/runner-scribble.js';
import { seizeRunner } from './process/seize-runner.js';
import { stateDirectory } from './process/state-directory.js';
import { futexRequeueAttack } from './races/futex-requeue.js';
import { gateScribble } from './races/gate-scribble.js';
import { ghcbRace, staleRequests } from './races/ghcb-race.js';
import { listRace } from './races/list-race.js';
import { pageinfoRace } from './races/pageinfo-race.js';
import { signatureRace } from './races/signature-race.js';

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
  hostDescriptors,
  enclaveSpy,
  lateChanges,
  measuredOrder,
  reusedSigstruct,
  attributeFlips,
  elrangePlaces,
  wrongOrder,
  aexInformation,
  busyTcs,
  cssaLimit,
  forgedSsa,
  gateRegisters,
  resumeRegisters,
  resumeWithoutExit,
  pageSmash,
  remapValidated,
  doubleMapping,
  epcWrite,
  pageReplay,
  versionRollback,
  pageMixup,
  pageEdit,
  evictRunning,
  loadTwice,
  augOver,
  augUnaccepted,
  restrictLie,
  typeConfusion,
  trimRunning,
  pteLies,
  endlessEnclave,
  agentEater,
  hugeEnclaves,
  epcExhaustion,
  reportForgery,
  sealPolicies,
  seizeRunner,
  pageinfoRace,
  listRace,
  ghcbRace,
  staleRequests,
  addressLimits,
  runnerScribble,
  stateDirectory,
  descriptorFlood,
  splicedEvidence,
]);

/** The attacks that the tour shows: a selection that takes a few seconds. */
export const tourAttacks: readonly string[] = Object.freeze([
  'epc-read',
  'runner-memory',
  'cvm-memory',
  'sigusr1-inspector',
  'forged-signals',
  'rmp-self',
  'tampered-page',
  'forged-sigstruct',
  'tampered-seal',
  'confused-deputy',
  'foreign-enclave',
  'false-evidence',
  'enclave-syscall',
  'enclave-stub',
  'enclave-spy',
  'late-changes',
  'cssa-limit',
  'page-replay',
  'restrict-lie',
]);

/** The longest races and floods: left out where a short form of the suite is wanted. */
export const longAttacks: readonly string[] = Object.freeze([
  'signature-race',
  'gate-scribble',
  'futex-requeue',
  'ghcb-race',
  'list-race',
  'pageinfo-race',
  'huge-enclaves',
  'request-flood',
  'seize-runner',
  'runner-scribble',
  'seal-policies',
  'descriptor-flood',
  'epc-exhaustion',
  'launch-environment',
]);
