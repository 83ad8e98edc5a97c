/** What the processor says itself is what the kernel says of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { cpuFlags, missingFeatures, platformXfrm } from '../src/platform.js';

test('states and features asked of the processor are those of /proc/cpuinfo', () => {
  assert.equal(platformXfrm(), platformXfrm(cpuFlags()));
  assert.equal(missingFeatures(), missingFeatures(cpuFlags()));
});
