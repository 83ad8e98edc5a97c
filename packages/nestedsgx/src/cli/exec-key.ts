/** The key that programs are signed with where none is given. */
import { chmodSync, existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateKey } from '@nestedsgx/image/node';
import { defaultStateDir, makeDirectories } from '@nestedsgx/sdk';
import { readLimited } from './files.js';

const KEY_LIMIT = 64 * 1024;

/** The key at a path, or this account's own, which is made once. @throws NsgxError FILE_UNREADABLE */
export async function execKey(path: string | undefined): Promise<Uint8Array> {
  if (path !== undefined) return readLimited(path, KEY_LIMIT, 'key');
  const own = join(defaultStateDir(), 'exec-key.pem');
  if (!existsSync(own)) {
    makeDirectories(defaultStateDir());
    writeFileSync(own, (await generateKey()).privateKeyPem, { mode: 0o600, flag: 'wx' });
    chmodSync(own, 0o600);
  }
  return readLimited(own, KEY_LIMIT, 'key');
}
