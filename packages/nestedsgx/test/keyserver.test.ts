/** Keys of stores from a key server: who gets them on any machine, who does not, and hosts that carry something else. */
import assert from 'node:assert/strict';
import { createCipheriv, createECDH, createHash, hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { nodeHash } from '@nestedsgx/arch/node';
import type { PolicyDocument } from '@nestedsgx/attest';
import { measureImage } from '@nestedsgx/image';
import { generateKey } from '@nestedsgx/image/node';
import { type BuiltProgram, buildProgramImage, type RunOptions, runProgram } from '@nestedsgx/libos';
import { Cvm } from '@nestedsgx/sdk';
import {
  carrier,
  type KeyDecision,
  KeyServer,
  listen,
  Master,
  parseRulesText,
} from '../src/keyserver/index.js';

type Provision = NonNullable<RunOptions['provision']>;
const SHELL = '/bin/dash';
const WRITE = 'echo kept > /data/file; echo written';
const READ = 'read line < /data/file; echo $line';
const MASTER = randomBytes(32);
const NAME = 'files-of-shell';
const folder = mkdtempSync(join(tmpdir(), 'nsgx-keys-'));
const decisions: KeyDecision[] = [];
let machines: [Cvm, Cvm];
let signer: string;
let image: BuiltProgram;
let server: KeyServer;

const build = (more: { stack?: number; server?: string; name?: string } = {}) =>
  buildProgramImage({
    program: SHELL,
    stack: more.stack,
    store: {
      path: '/data',
      key: { provisioned: more.name ?? NAME, server: more.server ?? new Master(MASTER).publicKey },
    },
  });
const measured = (what: BuiltProgram) => Buffer.from(measureImage(nodeHash, what.image)).toString('hex');

/** A policy that accepts images on both machines. */
async function policyFor(...images: BuiltProgram[]): Promise<PolicyDocument> {
  const infos = await Promise.all(machines.map((cvm) => cvm.info()));
  return {
    version: 1,
    nested: {
      mrenclave: images.map(measured),
      launchDigest: infos.map(({ launchDigest }) => launchDigest),
      softwareRoots: infos.map(({ rootFingerprint }) => rootFingerprint),
      isolation: ['same-user'],
    },
  };
}

before(async () => {
  machines = [await Cvm.launch({ stateDir: null }), await Cvm.launch({ stateDir: null })];
  signer = (await generateKey()).privateKeyPem;
  image = build();
  server = new KeyServer({
    master: MASTER,
    rules: { version: 1, keys: { [NAME]: await policyFor(image), other: await policyFor(image) } },
    onDecision: (decision) => decisions.push(decision),
  });
});
after(async () => {
  await Promise.all((machines ?? []).map((cvm) => cvm.close()));
  rmSync(folder, { recursive: true, force: true });
});

interface Ran {
  readonly status: number;
  readonly stdout: string;
  readonly notes: string;
}

async function run(
  script: string,
  store: string,
  provision: Provision | undefined,
  more: { cvm?: Cvm; image?: BuiltProgram; debug?: boolean } = {},
): Promise<Ran> {
  const out = join(mkdtempSync(join(folder, 'run-')), 'out');
  const descriptors = [openSync('/dev/null', 'r'), openSync(out, 'w'), openSync('/dev/null', 'w')] as const;
  const notes: string[] = [];
  let status = -1;
  try {
    const result = await runProgram(more.cvm ?? machines[0], more.image ?? image, {
      ...{ argv: [SHELL, '-c', script], key: signer, descriptors: [...descriptors], debug: more.debug },
      ...{ store: { path: store }, provision, onNote: (text: string) => notes.push(text) },
    });
    status = result.status;
  } catch (error) {
    if ((error as { code?: string }).code !== 'PROGRAM_NOT_STARTED') throw error;
  } finally {
    for (const fd of descriptors) closeSync(fd);
  }
  return { status, stdout: readFileSync(out, 'latin1'), notes: notes.join('\n') };
}

const newStore = () => mkdtempSync(join(folder, 'store-'));

function refused(ran: Ran, note: RegExp, what: string): void {
  assert.deepEqual([ran.status, ran.stdout], [-1, ''], what);
  assert.match(ran.notes, note, what);
}

test('a store that one machine wrote is read on another by the same key server', async () => {
  const [first, second] = await Promise.all(machines.map((cvm) => cvm.info()));
  assert.notEqual(first!.rootFingerprint, second!.rootFingerprint, 'machines with chips of their own');
  const store = newStore();
  decisions.length = 0;
  assert.deepEqual(await run(WRITE, store, server.conversation()), {
    status: 0,
    stdout: 'written\n',
    notes: '',
  });
  const elsewhere = await run(READ, store, server.conversation(), { cvm: machines[1] });
  assert.deepEqual(elsewhere, { status: 0, stdout: 'kept\n', notes: '' });
  assert.deepEqual(
    decisions.map(({ given, name, mrenclave }) => [given, name, mrenclave]),
    [1, 2].map(() => [true, NAME, measured(image)]),
  );
  // A server with the same name and public key, but another secret behind its keys, cannot be: all comes of the master.
  const again = new KeyServer({
    master: MASTER,
    rules: { version: 1, keys: { [NAME]: await policyFor(image) } },
  });
  assert.equal((await run(READ, store, again.conversation())).stdout, 'kept\n');
});

test('keys of other names are others, and so are those of the processor', async () => {
  const named = build({ name: 'other' });
  const both = new KeyServer({
    master: MASTER,
    rules: { version: 1, keys: { [NAME]: await policyFor(image), other: await policyFor(named) } },
  });
  const store = newStore();
  await run(WRITE, store, both.conversation());
  refused(await run(READ, store, both.conversation(), { image: named }), /another program/, 'another name');
  const own = buildProgramImage({ program: SHELL, store: { path: '/data' } });
  refused(await run(READ, store, undefined, { image: own }), /another program/, 'EGETKEY');
  assert.notEqual(measured(named), measured(image), 'the name is measured');
  assert.notEqual(measured(build({ server: new Master(randomBytes(32)).publicKey })), measured(image));
});

test('a policy of the signer gives a key to its next image, and to no lower version', async () => {
  const { nested } = await policyFor(image);
  decisions.length = 0;
  await run(WRITE, newStore(), server.conversation());
  const mrsigner = [decisions[0]!.mrsigner!];
  const bySigner = (minIsvSvn: number) =>
    new KeyServer({
      master: MASTER,
      rules: {
        version: 1,
        keys: { [NAME]: { version: 1, nested: { ...nested, mrenclave: [], mrsigner, minIsvSvn } } },
      },
    });
  const store = newStore();
  assert.equal((await run(WRITE, store, bySigner(0).conversation())).status, 0);
  const next = build({ stack: 2 ** 21 });
  assert.notEqual(measured(next), measured(image));
  assert.equal((await run(READ, store, bySigner(0).conversation(), { image: next })).stdout, 'kept\n');
  refused(await run(READ, store, bySigner(1).conversation()), /enclave\.isv-svn/, 'a lower version');
});

test('the server refuses enclaves that its policy does not name, and says why', async () => {
  const store = newStore();
  const cases: readonly [string, Parameters<typeof run>[3], RegExp][] = [
    ['another measurement', { image: build({ stack: 2 ** 21 }) }, /enclave\.mrenclave/],
    ['a debug enclave', { debug: true }, /enclave\.debug/],
    ['no such key', { image: build({ name: 'nobody-has-it' }) }, /there is no key "nobody-has-it"/],
    [
      'another server',
      { image: build({ server: new Master(randomBytes(32)).publicKey }) },
      /another public key/,
    ],
  ];
  for (const [what, more, reason] of cases) {
    decisions.length = 0;
    const ran = await run(WRITE, store, server.conversation(), more);
    refused(ran, /the key server refuses: /, what);
    assert.match(ran.notes, reason, what);
    assert.match(ran.notes, /the store has no key: the key server refused/, what);
    assert.equal(decisions.length, 1);
    assert.equal(decisions[0]!.given, false);
    assert.match(decisions[0]!.reason!, reason, what);
  }
  refused(await run(WRITE, store, undefined), /comes from a key server, and none is named/, 'no server');
});

/** A host that answers the second message, or both, as it likes. */
function deceiving(
  change: (answer: Buffer, request: Uint8Array) => Uint8Array | Promise<Uint8Array>,
  from = 2,
  honest: Provision = server.conversation(),
): Provision {
  let count = 0;
  return async (request) => {
    const answer = Buffer.from(await honest(request));
    return ++count < from ? answer : change(answer, request);
  };
}

test('what a host makes of the answers is refused inside', async () => {
  const store = newStore();
  const recorded: Buffer[] = [];
  const first = await run(
    WRITE,
    store,
    deceiving((answer) => {
      recorded.push(answer);
      return answer;
    }, 1),
  );
  assert.equal(first.status, 0, first.notes);
  assert.deepEqual(
    recorded.map(({ length }) => length),
    [40, 120],
  );
  const flipped = (at: number) => (answer: Buffer) => {
    answer[at]! ^= 1;
    return answer;
  };
  const off = createECDH('prime256v1');
  off.generateKeys();
  const ownPoint = (answer: Buffer) => {
    answer.set(off.getPublicKey().subarray(1), 8);
    return answer;
  };
  const none = /no answer of a key server/;
  const wrong = /not one of the key server that the image names to this start/;
  const replayed = recorded.map((answer) => Buffer.from(answer));
  const cases: readonly [string, Provision, RegExp][] = [
    ['replays both answers', async () => replayed.shift()!, wrong],
    ['replays the key', deceiving(() => recorded[1]!), wrong],
    ['flips a bit of the point', deceiving(flipped(20)), wrong],
    ['flips a bit of the key', deceiving(flipped(80)), wrong],
    ['flips a bit of the tag', deceiving(flipped(119)), wrong],
    ['gives a point of its own', deceiving(ownPoint), wrong],
    ['gives a point of zeros', deceiving((a) => a.fill(0, 8, 72)), wrong],
    ['flips a bit of the kind', deceiving(flipped(6)), none],
    ['cuts the key', deceiving((answer) => answer.subarray(0, 119)), none],
    ['cuts the challenge', deceiving((answer) => answer.subarray(0, 39), 1), none],
    ['gives more', deceiving((answer) => Buffer.concat([answer, Buffer.alloc(1)])), none],
    ['gives garbage', async () => randomBytes(40), none],
    ['gives a challenge as the key', deceiving(() => recorded[0]!), none],
    ['gives nothing', async () => new Uint8Array(0), /brought no answer/],
    ['gives 2 KiB', deceiving(() => randomBytes(2048)), /brought no answer/],
    ['gives 120 KiB', deceiving(() => randomBytes(120 * 1024)), /brought no answer/],
    ['flips a bit of the challenge', deceiving(flipped(39), 1), /refuses: report-data/],
    ['fails', async () => Promise.reject(new Error('no way there')), /cannot be asked: no way there/],
  ];
  for (const [what, provision, note] of cases) {
    const ran = await run(READ, store, provision);
    refused(ran, note, what);
    assert.match(ran.notes, /the store has no key/, what);
  }
  assert.equal((await run(READ, store, server.conversation())).stdout, 'kept\n', 'and nothing has changed');
});

/** A server that asks for no evidence: what it gives is made as the protocol wants it, by an implementation of its own. */
function anyone(master: Master): Provision {
  const sha256 = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();
  const heard: Buffer[] = [];
  return async (bytes) => {
    const message = Buffer.from(bytes);
    heard.push(message);
    const head = (kind: number) => Buffer.from(`NSGXKS1${String.fromCharCode(kind)}`, 'latin1');
    if (heard.length === 1) {
      heard.push(Buffer.concat([head(2), randomBytes(32)]));
      return heard[1]!;
    }
    const theirs = message.subarray(8, 72);
    const fresh = createECDH('prime256v1');
    const said = Buffer.concat([head(4), fresh.generateKeys().subarray(1)]);
    const digest = sha256(...[...heard, said].map((part) => sha256(part)));
    const shared = Buffer.concat([
      master.exchange(theirs),
      fresh.computeSecret(Buffer.concat([Buffer.of(4), theirs])),
    ]);
    const wrap = Buffer.from(hkdfSync('sha256', shared, digest, 'NestedSGX key answer v1', 32));
    const cipher = createCipheriv('aes-256-gcm', wrap, Buffer.alloc(12)).setAAD(digest);
    return Buffer.concat([said, cipher.update(Buffer.alloc(32, 7)), cipher.final(), cipher.getAuthTag()]);
  };
}

test('a host that answers with a server of its own is refused', async () => {
  const control = await run(WRITE, newStore(), anyone(new Master(MASTER)));
  assert.equal(control.status, 0, `with the measured key it would be taken: ${control.notes}`);
  const ran = await run(WRITE, newStore(), anyone(new Master(randomBytes(32))));
  refused(ran, /not one of the key server that the image names/, 'another key');
});

test('programs get no evidence that asks for keys', async () => {
  const script = (half: string) =>
    `printf '${'0'.repeat(32)}${half}' > /dev/attestation/user_report_data; ` +
    'for f in report quote; do true < /dev/attestation/$f && echo opened || echo refused; done';
  const plain = buildProgramImage({ program: SHELL });
  const asks = `NestedSGX key request v1${'\\0'.repeat(8)}`;
  const outcome = async (half: string) =>
    (await run(script(half), newStore(), undefined, { image: plain })).stdout;
  assert.equal(await outcome(asks), 'refused\nrefused\n');
  assert.equal(await outcome(asks.replace('v1', 'v2')), 'opened\nopened\n');
});

test('conversations take each message once and in turn', async () => {
  const said: Buffer[] = [];
  const honest = server.conversation();
  await run(WRITE, newStore(), async (message) => {
    said.push(Buffer.from(message));
    return honest(message);
  });
  const [hello, evidence] = said as [Buffer, Buffer];
  const reason = async (...messages: Buffer[]) => {
    const converse = server.conversation();
    let last = Buffer.alloc(0);
    for (const message of messages) last = Buffer.from(await converse(message));
    return last[7] === 5 ? last.toString('utf8', 8) : `kind ${last[7]}`;
  };
  assert.equal(await reason(hello), 'kind 2');
  assert.match(await reason(evidence), /not in its turn/);
  assert.match(await reason(hello, hello), /not in its turn/);
  assert.match(await reason(hello, evidence), /report-data/, 'evidence for another challenge');
  assert.match(await reason(hello, evidence, evidence), /not in its turn/);
  assert.match(await reason(hello, evidence.subarray(0, 72)), /none of this system/);
  assert.match(await reason(hello.subarray(0, 72)), /name/);
  assert.match(await reason(Buffer.alloc(20_000)), /too long/);
  assert.match(await honest(evidence).then((b) => Buffer.from(b).toString('utf8', 8)), /not in its turn/);
});

test('over the network, with limits', async () => {
  const noted: KeyDecision[] = [];
  const onDecision = (decision: KeyDecision) => noted.push(decision);
  const listener = await listen(server, {
    host: '127.0.0.1',
    port: 0,
    connections: 2,
    lifeMs: 3000,
    onDecision,
  });
  const { port } = listener.address() as { port: number };
  try {
    const store = newStore();
    assert.equal((await run(WRITE, store, carrier('127.0.0.1', port))).status, 0);
    assert.equal((await run(READ, store, carrier('127.0.0.1', port), { cvm: machines[1] })).stdout, 'kept\n');
    const ended = (bytes: Uint8Array) =>
      new Promise<Buffer>((resolve) => {
        const socket = connect(port, '127.0.0.1', () => socket.write(bytes));
        const parts: Buffer[] = [];
        socket.on('data', (data) => parts.push(data));
        socket.on('error', () => {});
        socket.on('close', () => resolve(Buffer.concat(parts)));
      });
    assert.match((await ended(Buffer.from('7fffffff00', 'hex'))).toString('latin1'), /is the limit/);
    assert.match(
      (await ended(Buffer.from('00000003616263', 'hex'))).toString('latin1'),
      /no message for a key server/,
    );
    const [slow] = await Promise.all([ended(Buffer.alloc(0)), ended(Buffer.of(0)), ended(Buffer.of(0))]);
    assert.equal(slow!.length, 0);
    const reasons = noted.map(({ reason }) => reason).join('\n');
    assert.match(reasons, /more than 3 s/);
    assert.match(reasons, /too many connections/);
  } finally {
    await new Promise((done) => listener.close(done));
  }
  const away = await run(READ, newStore(), carrier('127.0.0.1', port));
  refused(away, /the key server cannot be asked: 127\.0\.0\.1:\d+: .*ECONNREFUSED/, 'nobody there');
});

test('servers that do not answer, end the connection, or answer without end', async () => {
  const cases: readonly [string, (socket: Socket) => void, RegExp][] = [
    ['silence', () => {}, /no answer in 0\.5 s/],
    ['an end', (socket) => socket.once('data', () => socket.end()), /it ended the connection/],
    ['half an answer', (socket) => socket.end(Buffer.from('0000002801', 'hex')), /it ended the connection/],
    ['a length of 2 GiB', (socket) => socket.write(Buffer.from('7fffffff', 'hex')), /1024 is the limit/],
    ['noise', (socket) => socket.write(Buffer.alloc(2 ** 20, 0x11)), /is the limit/],
  ];
  for (const [what, behave, note] of cases) {
    const sockets: Socket[] = [];
    const listener = createServer((socket) => {
      sockets.push(socket.on('error', () => {}));
      behave(socket);
    });
    await new Promise<void>((done) => listener.listen(0, '127.0.0.1', done));
    const { port } = listener.address() as { port: number };
    refused(await run(WRITE, newStore(), carrier('127.0.0.1', port, 500)), note, what);
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => listener.close(done));
  }
});

test('whatever is sent to a server, it answers with a refusal', async () => {
  for (let seed = 0; seed < 300; seed++) {
    const converse = server.conversation();
    for (let turn = 0; turn < 3; turn++) {
      const bytes = randomBytes(seed % 2 === 0 ? 8 + (seed % 200) : seed);
      if (seed % 2 === 0) bytes.write(`NSGXKS1${String.fromCharCode(1 + ((seed >> 1) % 6))}`, 'latin1');
      assert.equal((await converse(bytes))[7], 5, bytes.toString('hex'));
    }
  }
});

test('rules and masters say what is wrong with them', () => {
  const wrong: readonly [string, RegExp][] = [
    ['{', /no JSON/],
    ['{"version":1}', /keys/],
    ['{"version":1,"keys":{},"more":1}', /'more' is not known/],
    ['{"version":1,"keys":{"a b":{"version":1}}}', /no name of a key/],
    ['{"version":1,"keys":{"a":{"version":1,"nested":{"mrenclav":[]}}}}', /a: .*mrenclav/],
    ['{"version":1,"keys":{"a":{"version":1},"a":{"version":1}}}', /'a' is there twice/],
  ];
  for (const [text, message] of wrong)
    assert.throws(() => parseRulesText(text), { code: 'KEY_RULES_INVALID', message });
  assert.throws(() => new Master(randomBytes(31)), { code: 'KEY_MASTER_INVALID' });
  assert.equal(
    new Master(Buffer.from(`${MASTER.toString('hex')}\n`)).publicKey,
    new Master(MASTER).publicKey,
  );
  assert.throws(() => build({ server: '02'.padEnd(66, 'f') }), { code: 'KEY_SERVER_INVALID' });
  assert.throws(() => build({ name: 'a/b' }), { code: 'KEY_SERVER_INVALID' });
});
