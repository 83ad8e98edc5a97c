/** Running what is built already: loads in a fraction of the time of the image builder, which a start waits for. */
export { type AppFacts, appFacts } from '../image/app-facts.js';
export { type AppImage, isAppImage, openAppImage } from '../image/app-read.js';
export type { ProgramImage } from '../image/build.js';
export type { MountPlace } from '../image/collect.js';
export { KeptImages } from '../image/kept.js';
export { checkPolicy, maySet, type ProgramPolicy } from '../image/policy.js';
export { KEY_NAME, type ProvisionedKey, type StoreKey } from '../image/store-key.js';
export { type RunningProgram, type RunOptions, type RunResult, runProgram } from './exec.js';
export type { MountOptions } from './mounts/host-mounts.js';
export { TRANSPORTS, type Transport } from './net/host-io.js';
export { NET_MODES, type NetMode } from './net/policy.js';
export type { Provision } from './provision.js';
export { forwardSignals } from './signals.js';
export type { StoreOptions, StoreVersion } from './store/host-store.js';
