/** Sockets: programs that must say in an enclave what they say natively, by each transport, and what the policy refuses. */
import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { generateKey } from '@nestedsgx/image/node';
import { Cvm } from '@nestedsgx/sdk';
import { buildProgramImage, type ProgramImage, type RunOptions, runProgram } from '../src/index.js';
import { TRANSPORTS, type Transport } from '../src/run/net/host-io.js';
import { isLoopback, NetPolicy } from '../src/run/net/policy.js';
import { compile, folder, native } from './programs.js';

let cvm: Cvm;
let key: string;
before(async () => {
  [cvm, key] = await Promise.all([Cvm.launch(), generateKey().then(({ privateKeyPem }) => privateKeyPem)]);
});
after(() => cvm.close());

/** Runs an image with files for its descriptors; gives what it wrote. */
async function inside(image: ProgramImage, argv: readonly string[], options: Partial<RunOptions> = {}) {
  const at = mkdtempSync(join(folder, 'net-'));
  writeFileSync(join(at, 'in'), '');
  const [stdin, stdout] = [openSync(join(at, 'in'), 'r'), openSync(join(at, 'out'), 'w')];
  try {
    const result = await runProgram(cvm, image, { argv, key, descriptors: [stdin, stdout, 2], ...options });
    return { ...result, stdout: readFileSync(join(at, 'out'), 'utf8') };
  } finally {
    for (const fd of [stdin, stdout]) closeSync(fd);
  }
}

test('AF_UNIX: pairs, names, descriptors on their way, credentials', async () => {
  const program = compile('unixsock');
  const expected = native(program, [mkdtempSync(join(folder, 'unix-'))]);
  const found = await inside(buildProgramImage({ program }), [program, '/dev/shm']);
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, expected.status);
});

for (const io of TRANSPORTS)
  test(`TCP, UDP, epoll, poll and select over sockets and pipes: ${io}`, async () => {
    const program = compile('inetsock', '-pthread');
    const expected = native(program, []);
    const found = await inside(buildProgramImage({ program }), [program], { io, net: 'loopback' });
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, 0);
  });

for (const io of TRANSPORTS)
  test(`an event loop with many clients loses and confuses nothing: ${io}`, async () => {
    const program = compile('rounds', '-pthread');
    const expected = native(program, []);
    const found = await inside(buildProgramImage({ program }), [program], { io, net: 'loopback' });
    assert.equal(found.stdout, expected.stdout);
    assert.equal(found.status, 0);
  });

/** Serves `rounds` requests to one client; gives what that cost. */
async function echoes(transport: Transport, rounds: number) {
  const program = compile('echo');
  const image = buildProgramImage({ program });
  const at = mkdtempSync(join(folder, 'echo-'));
  const out = join(at, 'out');
  const stdout = openSync(out, 'w');
  const run = runProgram(cvm, image, { argv: [program], key, descriptors: [0, stdout, 2], io: transport });
  while (readFileSync(out, 'utf8') === '') await pause(5);
  const socket = connect(Number(readFileSync(out, 'utf8')), '127.0.0.1').setNoDelay();
  for (let i = 0; i < rounds; i++) {
    const text = `request ${i}`;
    const answer = new Promise((resolve) => socket.once('data', resolve));
    socket.write(text);
    assert.equal(String(await answer), text);
  }
  socket.end();
  const { status, io } = await run;
  closeSync(stdout);
  assert.equal(status, 0);
  return io.requests;
}

test('signals, masks and ends of threads while calls wait for the host', async () => {
  const program = compile('netsignals', '-pthread');
  const expected = native(program, []);
  const found = await inside(buildProgramImage({ program }), [program]);
  assert.equal(found.stdout, expected.stdout);
  assert.equal(found.status, 7);
});

test('a request costs one operation each of epoll_wait, read and write', async () => {
  const requests = await echoes('ocall', 200);
  assert.ok(requests >= 600 && requests < 620, `${requests} requests`);
});

test('by gate none of them leaves the enclave', async () => {
  const requests = await echoes('gate', 200);
  assert.ok(requests < 20, `${requests} requests`);
});

test('what the policy refuses', async () => {
  const program = compile('refused');
  const image = buildProgramImage({ program });
  const lines = async (net: RunOptions['net']) =>
    (await inside(image, [program], { net })).stdout.trim().split('\n');
  assert.deepEqual(await lines('none'), ['socket -1 EAFNOSUPPORT']);
  assert.deepEqual(await lines('loopback'), [
    'socket 3 ',
    'raw -1 EPROTONOSUPPORT',
    'bind any -1 EACCES',
    'bind loopback 0 ',
    'connect -1 EACCES',
    'sendto -1 EACCES',
    'mark -1 ENOPROTOOPT',
    'beyond -1 EBADF',
  ]);
});

test('addresses of the loopback', () => {
  const four = (...ip: number[]) => Uint8Array.of(2, 0, 0, 80, ...ip, 0, 0, 0, 0, 0, 0, 0, 0);
  const six = (...ip: number[]) => Uint8Array.of(10, 0, 0, 80, 0, 0, 0, 0, ...ip, 0, 0, 0, 0);
  const zeros = (n: number) => new Array<number>(n).fill(0);
  assert.ok(isLoopback(four(127, 0, 0, 1)) && isLoopback(four(127, 9, 9, 9)));
  assert.ok(isLoopback(six(...zeros(15), 1)));
  assert.ok(isLoopback(six(...zeros(10), 255, 255, 127, 0, 0, 1)));
  for (const other of [
    four(0, 0, 0, 0),
    four(10, 0, 0, 127),
    six(...zeros(16)),
    six(...zeros(10), 255, 255, 10, 0, 0, 1),
    six(1, ...zeros(14), 1),
    Uint8Array.of(2, 0, 0, 80, 127),
    new Uint8Array(0),
  ])
    assert.ok(!isLoopback(other));
  const policy = new NetPolicy('loopback');
  assert.notEqual(policy.address(Uint8Array.of(1, 0, 47)), 0);
  assert.notEqual(policy.option(1, 25), 0);
  assert.equal(new NetPolicy('all').address(four(10, 0, 0, 1)), 0);
});

test('redis serves its clients', { skip: !existsSync('/usr/bin/redis-server') }, async () => {
  const program = '/usr/bin/redis-server';
  const port = 20_000 + (process.pid % 20_000);
  const argv = [program, '--port', `${port}`, '--bind', '127.0.0.1', '--save', ''];
  const image = buildProgramImage({ program, memory: 256 * 2 ** 20 });
  const run = inside(image, argv, { net: 'loopback' });
  const cli = (...args: string[]) =>
    new Promise<string>((resolve) => {
      const socket = connect(port, '127.0.0.1');
      let text = '';
      socket.on('data', (data) => {
        text += data;
        socket.end();
      });
      socket.on('error', () => resolve(''));
      socket.on('close', () => resolve(text));
      socket.write(`${args.join(' ')}\r\n`);
    });
  for (let i = 0; i < 200 && (await cli('PING')) !== '+PONG\r\n'; i++) await pause(50);
  assert.equal(await cli('SET', 'key', 'value'), '+OK\r\n');
  assert.equal(await cli('GET', 'key'), '$5\r\nvalue\r\n');
  assert.equal(await cli('INCRBY', 'counter', '7'), ':7\r\n');
  assert.equal(await cli('SHUTDOWN', 'NOSAVE'), '');
  assert.equal((await run).status, 0);
});
