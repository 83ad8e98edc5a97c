/** The measured monitor: one byte changed in any installed part is another machine to a verifier, and named. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { verify } from '../../src/attest.js';
import { findInstallation, type PartName } from '../../src/index.js';
import { launch, load } from './observe.js';

const NSGX = fileURLToPath(new URL('../../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-measured-'));
const stateDir = join(folder, 'state');
after(() => rmSync(folder, { recursive: true }));

/** A whole copy of the installed parts, as a folder of packages. */
function copyInstallation(name: string): { root: string; parts: Record<PartName, string> } {
  const root = join(folder, name);
  const from = findInstallation();
  mkdirSync(join(root, 'os'), { recursive: true });
  writeFileSync(join(root, 'os', 'package.json'), '{"name":"os"}');
  const place = (path: string, ...to: string[]) => {
    mkdirSync(join(root, ...to), { recursive: true });
    cpSync(path, join(root, ...to, basename(path)));
  };
  place(from.monitor, 'cvm', 'dist', 'bundle');
  place(from.library, 'os', 'native', 'build');
  place(from.runner, 'cpu', 'native', 'build');
  // Koffi as a package manager lays it out, with its native module in a package of its own.
  const native = dirname(dirname(from.koffi));
  const modules = join(root, 'os', 'node_modules');
  cpSync(native, join(modules, '@koromix', basename(native)), { recursive: true });
  cpSync(join(native, '..', '..', 'koffi'), join(modules, 'koffi'), { recursive: true });
  const parts = findInstallation(root);
  for (const path of Object.values(parts)) assert.ok(path.startsWith(root), `${path} is in the copy`);
  return { root, parts: { ...parts } };
}

/** Changes one byte where it does no harm: in the name of a compiler, or one blank at the end. */
function changeOneByte(path: string): void {
  const bytes = readFileSync(path);
  const compiler = Math.max(bytes.indexOf('GCC: (Debian'), bytes.indexOf('clang version'));
  if (compiler >= 0) bytes[compiler + 1] ^= 0x20;
  writeFileSync(path, compiler >= 0 ? bytes : Buffer.concat([bytes, Buffer.from(' ')]));
}

function nsgx(...args: string[]): { status: number | null; document: Record<string, unknown> } {
  const result = spawnSync(process.execPath, [NSGX, '--json', ...args], { encoding: 'utf8' });
  return { status: result.status, document: JSON.parse(result.stdout) };
}

let pin: Awaited<ReturnType<typeof pins>>;
const here = join(folder, 'here.json');

/** A quote of a machine started from `installation`, and a policy that accepts exactly it. */
async function pins(installation?: Record<string, string>) {
  await using cvm = await launch({ stateDir, installation, stderr: 'ignore' });
  await using e = await load(cvm);
  assert.equal(e.ecalls.add(2, 3), 5);
  const reportData = new Uint8Array(64).fill(3);
  const evidence = e.attest({ reportData });
  const { launchDigest, rootFingerprint, components } = await cvm.info();
  const policy = {
    version: 1 as const,
    nested: {
      mrenclave: [Buffer.from(e.mrenclave).toString('hex')],
      launchDigest: [launchDigest],
      softwareRoots: [rootFingerprint],
      isolation: ['same-user' as const],
    },
  };
  return { evidence, reportData, launchDigest, components, policy };
}

before(async () => {
  pin = await pins();
});

test('what nsgx measure computes is what the machine says and the quote holds', async () => {
  const { status, document } = nsgx('measure', '--cvm');
  assert.equal(status, 0);
  assert.equal(document.launchDigest, pin.launchDigest);
  assert.deepEqual(document.components, pin.components);
  writeFileSync(here, JSON.stringify(document));
  const verdict = await verify(pin.evidence, { policy: pin.policy, reportData: pin.reportData });
  assert.equal(verdict.verdict, 'accepted', JSON.stringify(verdict.checks));
});

test('an equal copy of the installation is the same machine', () => {
  const copy = copyInstallation('equal');
  const { status, document } = nsgx('measure', '--cvm', '--installation', copy.root, '--explain', here);
  assert.deepEqual([status, document.same, document.differing], [0, true, []]);
});

for (const part of ['monitor', 'runner', 'library', 'koffi'] as const)
  test(`one byte changed in the ${part}: the machine runs, the old pin fails, explain names the part`, async () => {
    const copy = copyInstallation(part);
    changeOneByte(copy.parts[part]);
    const changed = await pins(copy.parts);
    assert.notEqual(changed.launchDigest, pin.launchDigest);
    const { reportData } = changed;
    const refused = await verify(changed.evidence, { policy: pin.policy, reportData });
    assert.equal(refused.verdict, 'rejected');
    assert.deepEqual(
      refused.checks.filter((check) => check.status === 'failed').map((check) => check.id),
      ['snp.launch-digest'],
    );
    const accepted = await verify(changed.evidence, { policy: changed.policy, reportData });
    assert.equal(accepted.verdict, 'accepted');
    const { status, document } = nsgx('measure', '--cvm', '--installation', copy.root, '--explain', here);
    assert.deepEqual([status, document.same, document.differing], [1, false, [part]]);
    assert.equal(document.launchDigest, changed.launchDigest);
    rmSync(copy.root, { recursive: true });
  });
