/** Every benchmark there is. */
import { compute } from './compute.js';
import { leaves } from './leaves.js';
import { load } from './load.js';
import { paging } from './paging.js';
import type { Bench } from './row.js';
import { transitions } from './transitions.js';

export const BENCHES: readonly Bench[] = Object.freeze([transitions, leaves, paging, load, compute]);
