import assert from 'node:assert/strict';
import { test } from 'node:test';
import { COMMAND as RUNTIME_COMMAND, STATUS as RUNTIME_STATUS } from '@nestedsgx/enclave';
import { COMMAND, ENCLAVE_STATUS } from '../src/index.js';

test('commands and statuses are those of the trusted runtime', () => {
  assert.deepEqual({ ...COMMAND }, { ...RUNTIME_COMMAND });
  for (const [name, [status]] of Object.entries(ENCLAVE_STATUS))
    assert.equal(status, RUNTIME_STATUS[name as keyof typeof RUNTIME_STATUS], name);
  assert.equal(Object.keys(ENCLAVE_STATUS).length, Object.keys(RUNTIME_STATUS).length - 2); // OK and FAILED
});
