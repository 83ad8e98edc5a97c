/** A conformance suite for SGX: the manual's behaviour, on this project's machine or on real hardware. */
export { CaseContext, type ConformanceCase } from './case.js';
export { ALL_CASES } from './cases/index.js';
export { DEVIATIONS, type Deviation } from './deviations.js';
export { conformanceDocument } from './document.js';
export { CONFORMANCE_ERRORS } from './errors.js';
export type { AddedPages, Exit, Feature, Platform, PlatformEnclave, UntrustedBlock } from './platform.js';
export { LinuxPlatform } from './platforms/linux.js';
export { SoftwarePlatform } from './platforms/software.js';
export { type CaseResult, type RunOptions, runSuite, type Verdict } from './run.js';
export { Crew } from './stress/crew.js';
export { type StressResult, stress } from './stress/stress.js';
