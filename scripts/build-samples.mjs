// Builds and signs the sample enclaves that the tour, the tests, the attacks and the benchmarks load. The signing key is
// made once per clone: samples are nobody's product, and their MRSIGNER is pinned nowhere.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  buildEdlEnclave,
  buildEnclave,
  EDL_SAMPLES,
  SAMPLES,
  sampleDirectory,
  samplesBuildDirectory,
  signOptionsOf,
} from '../packages/enclave/dist/src/index.js';
import {
  generateKey,
  imageFilePaths,
  loadImageFiles,
  signImage,
} from '../packages/image/dist/src/node/index.js';

const out = samplesBuildDirectory();
mkdirSync(out, { recursive: true });
const keyPath = join(out, 'sample-key.pem');
if (!existsSync(keyPath)) writeFileSync(keyPath, (await generateKey()).privateKeyPem, { mode: 0o600 });
const key = readFileSync(keyPath);

for (const name of SAMPLES) {
  const built = await buildEnclave({ dir: sampleDirectory(name), out: join(out, name) });
  const description = JSON.parse(readFileSync(built.jsonPath, 'utf8'));
  const options = { ...signOptionsOf(description.signing), date: '20260101' };
  writeFileSync(
    imageFilePaths(built.sgxsPath).sig,
    signImage(loadImageFiles({ sgxs: built.sgxsPath }), key, options),
  );
}

for (const name of EDL_SAMPLES)
  await buildEdlEnclave({ dir: sampleDirectory(name), out: join(out, name), key, date: '20260101' });
