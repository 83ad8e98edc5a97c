/** Tries enclaves that were built elsewhere, and documents what ran. */
export type { Check, Scenario } from './child.js';
export { COMPAT_ERRORS } from './errors.js';
export { compatMarkdown, isWorking } from './markdown.js';
export type * from './report.js';
export { type CompatOptions, runCompat } from './run.js';
