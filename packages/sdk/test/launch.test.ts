import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { acceptUnix, close, listenUnix, pidfdOpen, recvFds } from '@nestedsgx/os';
import { endProcess, type LaunchOptions, launchCvm, launchEnvironment } from '../src/index.js';
import { processEnded } from '../src/launch/launcher.js';
import { completeOptions } from '../src/launch/options.js';
import { defaultStateDir } from '../src/launch/state-dir.js';

const dir = mkdtempSync(join(tmpdir(), 'nsgx-launch-'));
after(() => rmSync(dir, { recursive: true }));

/** An installation whose monitor is the given script; it speaks on descriptor 3 through node:fs. */
function installation(script: string): Record<string, string> {
  const part = (name: string, text: string) => {
    const path = join(dir, `${name}-${Math.random().toString(36).slice(2)}`);
    writeFileSync(path, text);
    return path;
  };
  return {
    monitor: part('monitor.cjs', script),
    koffi: part('koffi.node', 'koffi'),
    library: part('lib.so', 'library'),
    runner: part('runner', 'runner'),
  };
}

const launch = (script: string, options: LaunchOptions = {}) =>
  launchCvm({
    stateDir: null,
    stderr: 'ignore',
    timeoutMs: 5000,
    installation: installation(script),
    ...options,
  });

const SAY = `const fs = require('node:fs');
const say = (message) => fs.writeSync(3, JSON.stringify(message));
const wait = () => new Promise((resolve) => { const look = () => {
  try { if (fs.readSync(3, Buffer.alloc(64)) === 0) return resolve(); } catch (e) { if (e.code !== 'EAGAIN') return resolve(); }
  setTimeout(look, 5); }; look(); });`;

test('the process gets sealed parts, a fixed command line, no environment and no other descriptors', async () => {
  process.env.NSGX_TEST_SECRET = 'x';
  const script = `${SAY}
  exports.main = async ({ fds }) => {
    const text = (fd) => fs.readFileSync(fd, 'latin1');
    let sealed = 0;
    for (const fd of [4, 5, 6, 7, 8]) try { fs.writeSync(fd, 'y', 0); } catch { sealed++; }
    let foreign = '';
    try { require('typescript'); } catch (error) { foreign = error.message; }
    say({ op: 'ready', launchDigest: 'ab', env: process.env, argv: process.execArgv.filter((a) => !a.includes('\\n')),
      fds: Object.keys(fds), open: fs.readdirSync('/proc/self/fd').filter((fd) => { try { return /memfd|socket/.test(fs.readlinkSync('/proc/self/fd/' + fd)); } catch { return false; } }).map(Number).filter((fd) => fd > 2 && fd < 10),
      sealed, foreign, cwd: process.cwd(), config: JSON.parse(text(8)), runner: text(7) });
    await wait();
  };`;
  const cvm = await launch(script, { ramBytes: 2 ** 27 });
  const { ready } = cvm;
  const config = ready.config as Record<string, unknown>;
  assert.equal(cvm.launchDigest, 'ab');
  assert.deepEqual(
    Object.keys(ready.env as object).filter((name) => !['LANG', 'LC_ALL'].includes(name)),
    [],
  );
  assert.deepEqual(ready.argv, [
    '--inspect-port=192.0.2.1:9229',
    '--openssl-config=/dev/null',
    '--no-warnings',
    '-e',
  ]);
  assert.deepEqual(ready.open, [3, 4, 5, 6, 7, 8]);
  assert.equal(ready.sealed, 5);
  assert.match(String(ready.foreign), /not a built-in module/);
  assert.equal(ready.cwd, '/');
  assert.equal(ready.runner, 'runner');
  assert.deepEqual(
    [config.format, config.ramBytes, config.lifetime, config.isolation, config.stateDir],
    [1, 2 ** 27, 'host', 'same-user', null],
  );
  assert.equal(processEnded(cvm.pidfd), false);
  cvm.control.close();
  assert.equal(await endProcess(cvm.pid, cvm.pidfd, 3000), true);
});

test('a machine that says why it failed, says nothing, or ends, is a failed launch and leaves no process', async () => {
  const failed = launch(
    `${SAY} exports.main = async () => say({ op: 'failed', code: 'CVM_X', message: 'no luck', advice: 'try' });`,
  );
  await assert.rejects(failed, { code: 'CVM_LAUNCH_FAILED', message: /no luck \(CVM_X\)/, advice: 'try' });
  await assert.rejects(launch('exports.main = async () => process.exit(3);'), { code: 'CVM_LAUNCH_FAILED' });
  await assert.rejects(launch('syntax error'), { code: 'CVM_LAUNCH_FAILED' });
  const script = `${SAY} fs.writeFileSync(${JSON.stringify(join(dir, 'pid'))}, String(process.pid)); exports.main = wait;`;
  await assert.rejects(launch(script, { timeoutMs: 700 }), { code: 'CVM_LAUNCH_FAILED' });
  const pid = Number(readFileSync(join(dir, 'pid'), 'utf8'));
  assert.throws(() => close(pidfdOpen(pid)), { code: 'ESRCH' });
});

test('a machine whose guest RAM found no place is tried again, but not for ever', async () => {
  const count = join(dir, 'attempts');
  const script = (until: number) => `${SAY}
  const count = ${JSON.stringify(count)};
  fs.appendFileSync(count, 'x');
  exports.main = async () => {
    if (fs.readFileSync(count, 'latin1').length < ${until}) return say({ op: 'failed', code: 'MACHINE_NO_SLOT', message: 'no place' });
    say({ op: 'ready', launchDigest: 'ab' });
    await wait();
  };`;
  const attempts = () => readFileSync(count, 'latin1').length;
  const cvm = await launch(script(2));
  assert.equal(attempts(), 2);
  cvm.control.close();
  assert.equal(await endProcess(cvm.pid, cvm.pidfd, 3000), true);
  rmSync(count);
  await assert.rejects(launch(script(9)), { code: 'CVM_LAUNCH_FAILED', message: /MACHINE_NO_SLOT/ });
  assert.equal(attempts(), 3);
});

test('a tracer that NSGX_TRACE names gets a connection to the machine; one that is not there is said', async () => {
  const path = join(dir, 'trace.sock');
  const script = `${SAY} exports.main = async ({ fds }) => {
    fs.writeSync(fds.tracer, 'hello');
    say({ op: 'ready', launchDigest: 'ab', config: JSON.parse(fs.readFileSync(8, 'latin1')) });
    await wait();
  };`;
  process.env.NSGX_TRACE = path;
  try {
    await assert.rejects(launch(script), { code: 'CVM_LAUNCH_FAILED', message: /nobody traces/ });
    const listener = listenUnix(path);
    const cvm = await launch(script);
    assert.equal((cvm.ready.config as { tracer?: boolean }).tracer, true);
    const tracer = acceptUnix(listener) as number;
    assert.equal(new TextDecoder().decode(recvFds(tracer, 64, 0, 2000)?.bytes), 'hello');
    cvm.control.close();
    assert.equal(await endProcess(cvm.pid, cvm.pidfd, 3000), true);
    for (const fd of [tracer, listener]) close(fd);
  } finally {
    delete process.env.NSGX_TRACE;
  }
});

test('launch options are checked and completed', () => {
  assert.throws(() => completeOptions({ ramBytes: 5 }), {
    code: 'LAUNCH_OPTION_INVALID',
    message: /ramBytes/,
  });
  assert.throws(() => completeOptions({ isolation: 'none' as never }), { code: 'LAUNCH_OPTION_INVALID' });
  assert.throws(() => completeOptions({ colour: 1 } as never), { code: 'LAUNCH_OPTION_INVALID' });
  const { configuration } = completeOptions({});
  assert.equal(configuration.ramBytes, 2 ** 30);
  assert.equal(configuration.epcBytes % 4096, 0);
  assert.deepEqual(configuration.launchSigners, []);
});

test('launch signers are measured in one order, whatever the order and case they were given in', () => {
  const [a, b] = ['ab'.repeat(32), '0c'.repeat(32)];
  const given = [a.toUpperCase(), b, a];
  assert.deepEqual(completeOptions({ launchSigners: given }).configuration.launchSigners, [b, a]);
  for (const launchSigners of [['ab'], [`${a}00`], [a.replace('a', 'g')], new Array(33).fill(a)])
    assert.throws(() => completeOptions({ launchSigners }), {
      code: 'LAUNCH_OPTION_INVALID',
      message: /launchSigners/,
    });
});

test('state directory and environment follow the documented order', () => {
  assert.equal(defaultStateDir({ NSGX_HOME: '/a', XDG_STATE_HOME: '/b' }), '/a');
  assert.equal(defaultStateDir({ XDG_STATE_HOME: '/b' }), '/b/nestedsgx');
  assert.match(defaultStateDir({}), /\.local\/state\/nestedsgx$/);
  assert.deepEqual(
    launchEnvironment({ NODE_OPTIONS: '--inspect', LD_PRELOAD: 'x', LANG: 'C.UTF-8', LC_ALL: 'a b' }),
    ['LANG=C.UTF-8'],
  );
});

test('a missing part is named with advice', async () => {
  await assert.rejects(
    launchCvm({ stateDir: null, installation: { ...installation(''), runner: '/nonexistent' } }),
    {
      code: 'INSTALLATION_INCOMPLETE',
      message: /"monitor"|"runner"/,
    },
  );
});
