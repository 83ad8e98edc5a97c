import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { NsgxError } from '@nestedsgx/arch';
import { missingForGuests } from '../src/index.js';

/** For assert.throws and assert.rejects: an error of this project with that code. */
export function code(wanted: string): (error: unknown) => boolean {
  return (error) => error instanceof NsgxError && error.code === wanted;
}

/** A folder for one test. */
export function scratch(): { path: string } & Disposable {
  const path = mkdtempSync(join(tmpdir(), 'nsgx-vm-test-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Why guests cannot be booted here, for the `skip` of a test; false when they can. */
export function noGuests(): string | false {
  const missing = missingForGuests();
  return missing.length === 0 ? false : missing.map(({ what, cure }) => `${what} (${cure})`).join('; ');
}
