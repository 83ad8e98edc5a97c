/**
 * A server of the distribution that serves TLS with the key and certificate of their enclave: clients see from the certificate which
 * enclave it is, and see through certificates that say so wrongly.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { connect, createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import {
  certificateEvidence,
  decodeEvidence,
  type PolicyDocument,
  verifyCertificate,
} from '@nestedsgx/attest';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-tls-'));
const env = {
  PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin',
  NSGX_HOME: join(folder, 'home'),
  LANG: 'C.UTF-8',
};
const CERTIFICATE = '/dev/attestation/tls/cert.pem';
const KEY = '/dev/attestation/tls/key.pem';
const children: ChildProcess[] = [];
mkdirSync(env.NSGX_HOME, { mode: 0o700 });

function nsgx(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [NSGX, ...args], {
    ...{ cwd: folder, encoding: 'utf8', env, timeout: 60_000 },
  });
  return { status, stdout, stderr };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  await new Promise((done) => server.close(done));
  return port;
}

/** Starts a server in an enclave. */
function serve(...command: string[]): ChildProcess {
  const child = spawn(process.execPath, [NSGX, 'exec', '--stats', ...command], { cwd: folder, env });
  children.push(child);
  return child;
}

/** What TLS says of a server: its certificate, and what it answers. */
async function ask(
  port: number,
  request: string,
  until: RegExp,
): Promise<{ certificate: Buffer; answer: string }> {
  for (let tries = 0; ; tries++)
    try {
      return await new Promise((resolve, reject) => {
        const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () =>
          socket.write(request),
        );
        let answer = '';
        socket.on('data', (data) => {
          answer += data;
          if (!until.test(answer)) return;
          resolve({ certificate: socket.getPeerX509Certificate()!.raw, answer });
          socket.destroy();
        });
        socket.on('end', () => reject(new Error(`it said only ${JSON.stringify(answer)}`)));
        socket.on('error', reject);
      });
    } catch (error) {
      if (tries === 200) throw error;
      await pause(100);
    }
}

/** A policy for what a certificate's quote names, on this machine. */
function policyFor(certificate: Uint8Array, mrenclave?: string): PolicyDocument {
  const info = JSON.parse(nsgx('cvm', 'info', '--json').stdout);
  const { launchDigest, rootFingerprint, isolation } = info;
  const decoded = decodeEvidence(certificateEvidence(certificate).quote);
  assert.equal(decoded.format, 'evidence');
  const measured = mrenclave ?? measurementOf(certificate);
  return {
    version: 1,
    nested: {
      mrenclave: [measured],
      launchDigest: [launchDigest],
      softwareRoots: [rootFingerprint],
      isolation: [isolation],
    },
  };
}

function measurementOf(certificate: Uint8Array): string {
  return Buffer.from(certificateEvidence(certificate).quote.subarray(112, 144)).toString('hex');
}

before(() => {
  const started = nsgx('cvm', 'start');
  assert.equal(started.status, 0, started.stderr);
});
after(() => {
  for (const child of children) child.kill('SIGKILL');
  nsgx('cvm', 'stop');
  rmSync(folder, { recursive: true, force: true });
});

const REDIS = '/usr/bin/redis-server';
const hasTls = existsSync(REDIS) && /libssl/.test(spawnSync('ldd', [REDIS], { encoding: 'utf8' }).stdout);

test('redis serves TLS that shows which enclave it is', {
  skip: !hasTls && 'no redis-server with TLS here',
}, async () => {
  const port = await freePort();
  const server = serve(
    ...[
      '--memory',
      '128',
      REDIS,
      '--port',
      '0',
      '--tls-port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--save',
      '',
    ],
    ...[
      '--tls-cert-file',
      CERTIFICATE,
      '--tls-key-file',
      KEY,
      '--tls-ca-cert-file',
      CERTIFICATE,
      '--tls-auth-clients',
      'no',
    ],
  );
  const { certificate } = await ask(port, 'PING\r\n', /PONG/);
  const policy = policyFor(certificate);
  const verdict = await verifyCertificate(certificate, { policy });
  assert.equal(
    verdict.verdict,
    'accepted',
    JSON.stringify(verdict.checks.filter(({ status }) => status !== 'ok')),
  );

  // The command says the same of the server, and of a file.
  const file = join(folder, 'policy.json');
  writeFileSync(file, JSON.stringify(policy));
  writeFileSync(join(folder, 'cert.pem'), new X509Certificate(certificate).toString());
  for (const what of [`tls://127.0.0.1:${port}`, 'cert.pem']) {
    const { status, stdout, stderr } = nsgx('verify', what, '--policy', file);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /certificate\.key-claim +ok/);
    assert.match(stdout, /report-data +ok/);
  }

  // Another enclave than the one that is wanted.
  const wrong = await verifyCertificate(certificate, { policy: policyFor(certificate, '00'.repeat(32)) });
  assert.deepEqual(failures(wrong), ['enclave.mrenclave']);

  const ended = new Promise((resolve) => server.once('exit', resolve));
  let told = '';
  server.stderr!.on('data', (data) => (told += data));
  server.kill('SIGTERM');
  await ended;
  assert.ok(told.includes(measurementOf(certificate)), told);
});

/** Starts Debian's `openssl s_server`, with its standard input open. */
function openssl(port: number, ...how: string[]): ChildProcess {
  const files = ['-cert', CERTIFICATE, '-key', KEY];
  return serve('openssl', 's_server', '-accept', `127.0.0.1:${port}`, ...files, ...how);
}

test('openssl s_server serves pages, and what is typed, under the certificate', async () => {
  const port = await freePort();
  const pages = openssl(port, '-www');
  const { certificate } = await ask(port, 'GET / HTTP/1.0\r\n\r\n', /^HTTP\/1\.0 200 ok.*Ciphers supported/s);
  const policy = policyFor(certificate);
  const file = join(folder, 'policy.json');
  writeFileSync(file, JSON.stringify(policy));
  const { status, stdout, stderr } = nsgx('verify', `tls://127.0.0.1:${port}`, '--policy', file);
  assert.equal(status, 0, stdout + stderr);
  await ask(port, 'GET / HTTP/1.0\r\n\r\n', /^HTTP\/1\.0 200 ok/);
  pages.kill('SIGKILL');
  await forgeries(certificate, policy);

  // It waits for its standard input and its client at once, and ends where that input ends, as natively: so one that is started
  // without input serves nobody.
  const second = await freePort();
  const typed = openssl(second);
  typed.stdout!.on('data', (data) => {
    if (String(data).includes('asked')) typed.stdin!.write('answered\n');
  });
  const again = await ask(second, 'asked\n', /^answered\n$/);
  assert.equal((await verifyCertificate(again.certificate, { policy })).verdict, 'accepted');
  const ended = new Promise<number | null>((resolve) => typed.once('exit', resolve));
  await ask(second, 'asked\n', /^answered\n$/);
  typed.stdin!.end();
  connect({ port: second, host: '127.0.0.1', rejectUnauthorized: false }).on('error', () => {});
  assert.equal(await ended, 0);
});

function failures(verdict: Awaited<ReturnType<typeof verifyCertificate>>): string[] {
  assert.equal(verdict.verdict, 'rejected');
  return verdict.checks.filter(({ status }) => status === 'failed').map(({ id }) => id);
}

/** What somebody else makes of a genuine certificate. */
async function forgeries(genuine: Buffer, policy: PolicyDocument): Promise<void> {
  const { quote, claims } = certificateEvidence(genuine);
  // A key of his own with the evidence of another: he can prove in TLS to have it.
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  writeFileSync(join(folder, 'own.pem'), own.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const evidence = (changed: Uint8Array, said: Uint8Array) =>
    Buffer.concat([
      Buffer.from([0xd9, 0xea, 0x60, 0x82, 0x59, changed.length >> 8, changed.length & 255]),
      changed,
      Buffer.from([0x58, said.length]),
      said,
    ]);
  const forge = (changed: Uint8Array, said: Uint8Array) => {
    writeFileSync(
      join(folder, 'forge.cnf'),
      `[req]\ndistinguished_name=n\nx509_extensions=e\n[n]\n[e]\n2.23.133.5.4.9=DER:${evidence(changed, said).toString('hex')}\n`,
    );
    const made = spawnSync(
      'openssl',
      [
        'req',
        '-x509',
        '-new',
        '-key',
        'own.pem',
        '-subj',
        '/CN=forged',
        '-config',
        'forge.cnf',
        '-days',
        '9',
        '-set_serial',
        '5',
      ],
      { cwd: folder, encoding: 'utf8' },
    );
    assert.equal(made.status, 0, made.stderr);
    return made.stdout;
  };
  const judge = async (pem: string) => failures(await verifyCertificate(Buffer.from(pem), { policy }));
  const foreign = forge(quote, claims);
  assert.deepEqual(await judge(foreign), ['certificate.key-claim']);
  // Claims for his key, which the quote is not for.
  const hash = await crypto.subtle.digest('SHA-256', own.publicKey.export({ type: 'spki', format: 'der' }));
  const said = Buffer.concat([claims.subarray(0, claims.length - 32), new Uint8Array(hash)]);
  assert.deepEqual(await judge(forge(quote, said)), ['report-data']);
  // A quote that is changed to be for his key.
  const changed = Buffer.from(quote);
  changed.set(new Uint8Array(await crypto.subtle.digest('SHA-256', said)), 48 + 320);
  assert.deepEqual(await judge(forge(changed, said)), ['quote.signature']);
  // The genuine certificate with another key in it, or another quote.
  const swapped = Buffer.from(genuine);
  swapped.set(own.publicKey.export({ type: 'spki', format: 'der' }), genuine.indexOf(spkiOf(genuine)));
  assert.deepEqual(failures(await verifyCertificate(swapped, { policy })), [
    'certificate.signature',
    'certificate.key-claim',
  ]);
  const without = spawnSync(
    'openssl',
    ['req', '-x509', '-new', '-key', 'own.pem', '-subj', '/CN=none', '-days', '9'],
    {
      ...{ cwd: folder, encoding: 'utf8' },
    },
  );
  assert.ok((await judge(without.stdout)).includes('certificate.format'));

  // A server that has a genuine certificate and not its key cannot serve; one with the forged certificate is refused.
  const server = createTlsServer({
    key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    cert: foreign,
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const child = spawn(
    process.execPath,
    [NSGX, 'verify', `tls://127.0.0.1:${port}`, '--policy', 'policy.json'],
    { cwd: folder, env },
  );
  let shown = '';
  child.stdout.on('data', (data) => (shown += data));
  const status = await new Promise((resolve) => child.once('close', resolve));
  server.close();
  assert.notEqual(status, 0);
  assert.match(shown, /certificate\.key-claim +FAILED/);
}

function spkiOf(certificate: Uint8Array): Buffer {
  return new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
}

test('what is no server, or no certificate of TLS, is said', async () => {
  assert.equal(nsgx('verify', 'tls://127.0.0.1').status, 2);
  const refused = nsgx('verify', `tls://127.0.0.1:${await freePort()}`);
  assert.equal(refused.status, 2);
  assert.match(refused.stderr, /ECONNREFUSED/);
});
