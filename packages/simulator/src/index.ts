/** A reference model of EPCM, TCS and enclave life cycle, and a random driver that compares the monitor with it. */
export { Coverage, type CoverageRow } from './driver/coverage.js';
export { Generator, parametersOf } from './driver/generate.js';
export { type Failure, replay, shrink } from './driver/shrink.js';
export { type Finding, type SimulateOptions, type SimulateResult, simulate } from './driver/simulate.js';
export { type LeafHook, Simulation } from './driver/simulation.js';
export { FIELDS, type Op, type Step, step, stepText, TWISTS } from './driver/steps.js';
export { UNREACHABLE } from './driver/unreachable.js';
export { Model } from './model/model.js';
export type { Outcome } from './model/outcome.js';
export { DEFAULT_PARAMETERS, type ModelParameters } from './model/parameters.js';
export type { Enclave, Entry } from './model/state.js';
