/** Every benchmark there is. */
import { attest } from './attest/attest.js';
import { compute } from './compute.js';
import { descriptors } from './descriptors.js';
import { leaves } from './leaves.js';
import { load } from './load.js';
import { paging } from './paging.js';
import type { Bench } from './row.js';
import { edlCalls } from './sdk/call-rows.js';
import { transitions } from './transitions.js';
import { vm } from './vm.js';

export const BENCHES: readonly Bench[] = Object.freeze([
  transitions,
  edlCalls,
  descriptors,
  leaves,
  paging,
  load,
  compute,
  attest,
  vm,
]);
