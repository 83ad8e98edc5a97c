export type { CvmConfiguration } from './configuration.js';
export { CVM_ERRORS, type CvmErrorCode } from './errors.js';
export {
  type Component,
  type MeasuredSettings,
  measureLaunch,
  measureNode,
  type NodeIdentity,
} from './measure.js';
export type { Part } from './parts.js';
