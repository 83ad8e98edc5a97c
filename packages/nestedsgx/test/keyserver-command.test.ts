/** `nsgx keyserver` and `nsgx exec --provision`: one store, two machines with chips of their own, and a key server for both. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-keyserver-'));
const file = (name: string): string => join(folder, name);
const homes = [file('here'), file('there')] as const;
const SHELL = '/bin/dash';
const servers: ChildProcess[] = [];

function nsgx(home: string, args: readonly string[]) {
  const env = { PATH: process.env.PATH, NSGX_HOME: home, LANG: 'C.UTF-8' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [NSGX, ...args], {
    ...{ cwd: folder, encoding: 'utf8', env, timeout: 60_000 },
  });
  return { status, stdout, stderr };
}

function answered(home: string, args: readonly string[]): string {
  const { status, stdout, stderr } = nsgx(home, args);
  assert.equal(status, 0, stderr);
  return stdout;
}

/** Starts a key server; its address, and what it has logged. */
async function serve(...args: string[]): Promise<{ address: string; log: () => string }> {
  const child = spawn(process.execPath, [NSGX, 'keyserver', '--listen', '127.0.0.1:0', '--json', ...args], {
    ...{ cwd: folder, env: { PATH: process.env.PATH, NSGX_HOME: homes[0] } },
  });
  servers.push(child);
  let out = '';
  let log = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    log += data;
  });
  for (let tries = 0; !out.includes('\n'); tries++) {
    assert.ok(tries < 200 && child.exitCode === null, log);
    await pause(50);
  }
  const { host, port } = JSON.parse(out);
  return { address: `${host}:${port}`, log: () => log };
}

before(() => {
  for (const home of homes) {
    mkdirSync(home, { mode: 0o700 });
    answered(home, ['cvm', 'start']);
  }
});
after(() => {
  for (const server of servers) server.kill();
  for (const home of homes) nsgx(home, ['cvm', 'stop']);
  rmSync(folder, { recursive: true, force: true });
});

test('a store goes from machine to machine with the keys of a server', async () => {
  const publicKey = answered(homes[0], ['keyserver', '--master', 'master', '--new']).trim();
  assert.match(publicKey, /^0[23][0-9a-f]{64}$/);
  assert.equal(statSync(file('master')).mode & 0o777, 0o600);
  assert.equal(answered(homes[0], ['keyserver', '--master', 'master']).trim(), publicKey);
  assert.match(nsgx(homes[0], ['keyserver', '--master', 'master', '--new']).stderr, /there already/);

  const build = (name: string, ...more: string[]) =>
    JSON.parse(
      answered(homes[0], [
        ...['image', 'build', '-o', name, '--entry', SHELL, '--store', '/data', '--store-key', 'provisioned'],
        ...['--key-server', publicKey, '--key-name', 'shell', '--json', ...more],
      ]),
    ).mrenclave as string;
  const mrenclave = build('shell.img');
  const inspected = JSON.parse(answered(homes[0], ['image', 'inspect', 'shell.img', '--json']));
  const place = inspected.root.find(({ path }: { path: string }) => path === '/data');
  assert.deepEqual(place.store, { provisioned: 'shell', server: publicKey });
  assert.ok(
    answered(homes[0], ['image', 'inspect', 'shell.img']).includes(`key shell of key server ${publicKey}`),
  );

  const infos = homes.map((home) => JSON.parse(answered(home, ['cvm', 'info', '--json'])));
  assert.notEqual(infos[0].rootFingerprint, infos[1].rootFingerprint);
  const nested = {
    mrenclave: [mrenclave],
    launchDigest: infos.map(({ launchDigest }) => launchDigest),
    softwareRoots: infos.map(({ rootFingerprint }) => rootFingerprint),
    isolation: ['same-user'],
  };
  writeFileSync(file('keys.json'), JSON.stringify({ version: 1, keys: { shell: { version: 1, nested } } }));
  const { address, log } = await serve('--master', 'master', '--policy', 'keys.json');

  const exec = (home: string, image: string, script: string, ...more: string[]) =>
    nsgx(home, ['exec', '--store', 'data', ...more, image, '-c', script]);
  const provision = ['--provision', address];
  const written = exec(homes[0], 'shell.img', 'echo kept > /data/file', ...provision);
  assert.deepEqual(written, { status: 0, stdout: '', stderr: '' });
  assert.ok(!readFileSync(join(folder, 'data', 'blocks')).includes('kept'));
  const read = exec(homes[1], 'shell.img', 'read line < /data/file; echo $line', ...provision);
  assert.deepEqual(read, { status: 0, stdout: 'kept\n', stderr: '' });

  // Another image, which nobody accepted; nobody to ask; and the address from the image.
  build('other.img', '--stack', '2M');
  const refused = exec(homes[0], 'other.img', 'echo runs', ...provision);
  assert.deepEqual([refused.status, refused.stdout], [1, '']);
  assert.match(refused.stderr, /the key server refuses: enclave\.mrenclave/);
  assert.match(refused.stderr, /not started: the store has no key: .*\[PROGRAM_NOT_STARTED\]/);
  const unnamed = exec(homes[0], 'shell.img', 'echo runs');
  assert.deepEqual([unnamed.status, unnamed.stdout], [1, '']);
  assert.match(unnamed.stderr, /nsgx exec --provision HOST:PORT/);
  writeFileSync(
    file('shell.yaml'),
    `entry: ${SHELL}\nstore: { path: /data, key: { provisioned: shell, server: "${publicKey}", address: "${address}" } }\n`,
  );
  const named = JSON.parse(
    answered(homes[0], ['image', 'build', '-o', 'named.img', '--spec', 'shell.yaml', '--json']),
  );
  assert.equal(named.mrenclave, mrenclave, 'the address is not measured');
  assert.equal(exec(homes[1], 'named.img', 'read line < /data/file; echo $line').stdout, 'kept\n');

  // A program of this machine, whose image is made as it is run: as an image it is another.
  const direct = nsgx(homes[0], [
    ...[
      'exec',
      '--store',
      'own',
      '--store-key',
      'provisioned',
      '--key-server',
      publicKey,
      '--key-name',
      'shell',
    ],
    ...[...provision, SHELL, '-c', 'echo runs'],
  ]);
  assert.match(direct.stderr, /the key server refuses: enclave\.mrenclave/);

  for (let tries = 0; log().split('\n').length <= 5 && tries < 100; tries++) await pause(50);
  const decisions = log()
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.deepEqual(
    decisions.map(({ given, name }) => [given, name]),
    [true, true, false, true, false].map((given) => [given, 'shell']),
  );
  assert.equal(decisions[0].mrenclave, mrenclave);
});

test('options that do not go together are named', () => {
  const said = (...args: string[]) => nsgx(homes[0], args).stderr;
  assert.match(said('exec', '--store', 'd', '--store-key', 'provisioned', 'true'), /wants --key-server/);
  assert.match(said('exec', '--store', 'd', '--key-name', 'a', 'true'), /belong to --store-key provisioned/);
  assert.match(said('exec', '--provision', 'a:1', 'true'), /--store, which is not given/);
  assert.match(said('exec', '--store', 'd', '--provision', 'nowhere', 'true'), /takes HOST:PORT/);
  assert.match(said('keyserver', '--master', 'master', '--listen', '127.0.0.1:0'), /wants --policy/);
  assert.match(said('keyserver', '--master', 'missing'), /FILE_UNREADABLE/);
  writeFileSync(file('short'), 'abc', { mode: 0o600 });
  assert.match(said('keyserver', '--master', 'short'), /KEY_MASTER_INVALID/);
  assert.ok(existsSync(file('master')));
  chmodSync(file('master'), 0o644);
  assert.match(said('keyserver', '--master', 'master'), /other accounts can read.*KEY_MASTER_INVALID/);
});
