/** Commands that start fast are a bundle: it must say what the modules say, and never run code that is not its own. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PACKAGE = fileURLToPath(new URL('../../', import.meta.url));
const home = mkdtempSync(join(tmpdir(), 'nsgx-quick-'));
const code = join(home, 'code');
const MODULES = `import { run } from ${JSON.stringify(join(PACKAGE, 'dist/src/cli/main.js'))};
process.exitCode = await run(process.argv.slice(1));`;

after(() => rmSync(home, { recursive: true, force: true }));

function said(first: readonly string[], argv: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [...first, ...argv], {
    encoding: 'utf8',
    env: { ...process.env, NSGX_HOME: home, NO_COLOR: '1' },
  });
  return { status, stdout, stderr };
}
const command = (...argv: string[]) => said([join(PACKAGE, 'bin/nsgx.mjs')], argv);
const modules = (...argv: string[]) => said(['--input-type=module', '-e', MODULES, '--'], argv);

/** A clone that was compiled since is no place for this: its bundle is not used. */
const fresh = command('--version').status === 0 && existsSync(code);

test('the bundle says what the modules say', { skip: !fresh }, () => {
  for (const argv of [
    ['--help'],
    ['--version'],
    ['ps'],
    ['exec'],
    ['exec', '--help'],
    ['exec', '--memory', '0', '--', '/bin/true'],
    ['exec', '--', '/no/such/program'],
    ['kill', '-NONE', '1'],
  ])
    assert.deepEqual(command(...argv), modules(...argv), argv.join(' '));
});

test('code that is kept is used while it is whole and only of this account', { skip: !fresh }, () => {
  rmSync(code, { recursive: true });
  for (const argv of ['--version', '--help']) assert.equal(command(argv).status, 0);
  const path = join(code, readdirSync(code).sort()[0]);
  const whole = readFileSync(path);
  const old = new Date(1e9);
  const outcome = (prepare: () => void) => {
    const answers = readdirSync(code).map((name) => join(code, name));
    prepare();
    for (const at of answers) utimesSync(at, old, old);
    assert.equal(command('--version').status, 0);
    assert.equal(command('--help').status, 0);
    // What was not used is written anew.
    return answers.some((at) => statSync(at).mtimeMs !== old.getTime());
  };
  assert.equal(
    outcome(() => undefined),
    false,
  );
  for (const name of readdirSync(code)) chmodSync(join(code, name), 0o666);
  assert.equal(
    outcome(() => undefined),
    true,
  );
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const torn = Buffer.from(whole);
  torn[torn.length - 1] ^= 1;
  const all = readdirSync(code).map((name) => join(code, name));
  assert.equal(
    outcome(() => {
      for (const at of all) writeFileSync(at, torn);
    }),
    true,
  );
});
