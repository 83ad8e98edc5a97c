/** `nsgx collateral fetch` and `nsgx verify --fetch`: what goes over the network and what stays in the directory. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const NSGX = fileURLToPath(new URL('../../bin/nsgx.mjs', import.meta.url));
const vector = (name: string) =>
  fileURLToPath(new URL(`../../../attest/vectors/dcap/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'nsgx-collateral-'));
const recorded = JSON.parse(readFileSync(vector('tdx_quote_collateral.json'), 'utf8')) as Record<
  string,
  string
>;
const TIME = '2025-07-01T00:00:00Z';

/** Bodies and issuer chains of a PCCS by path, without their queries. */
const answers: Record<string, [body: string | Buffer, chain?: [header: string, field: string]]> = {
  '/sgx/certification/v4/pckcrl': [
    Buffer.from(recorded['pck_crl']!, 'hex'),
    ['SGX-PCK-CRL-Issuer-Chain', 'pck_crl_issuer_chain'],
  ],
  '/sgx/certification/v4/rootcacrl': [recorded['root_ca_crl']!],
  '/tdx/certification/v4/tcb': [
    `{"tcbInfo":${recorded['tcb_info']!},"signature":"${recorded['tcb_info_signature']!}"}`,
    ['TCB-Info-Issuer-Chain', 'tcb_info_issuer_chain'],
  ],
  '/tdx/certification/v4/qe/identity': [
    `{"enclaveIdentity":${recorded['qe_identity']!},"signature":"${recorded['qe_identity_signature']!}"}`,
    ['SGX-Enclave-Identity-Issuer-Chain', 'qe_identity_issuer_chain'],
  ],
};
const asked: string[] = [];
let down = false;
const pccs = createServer((request, response) => {
  const path = request.url!.split('?')[0]!;
  asked.push(path);
  const answer = answers[path];
  if (down || answer === undefined) {
    response.writeHead(down ? 501 : 404).end();
    return;
  }
  const [body, chain] = answer;
  if (chain !== undefined) response.setHeader(chain[0], encodeURIComponent(recorded[chain[1]]!));
  response.end(body);
});
let address: string;
before(async () => {
  await new Promise<void>((resolve) => pccs.listen(0, '127.0.0.1', resolve));
  address = `http://127.0.0.1:${(pccs.address() as AddressInfo).port}`;
});
after(() => {
  pccs.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs nsgx beside the server. */
async function nsgx(...args: string[]): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [NSGX, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [stdout, stderr] = [child.stdout, child.stderr].map(async (stream) => {
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    return text;
  });
  const status = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { status, stdout: await stdout!, stderr: await stderr! };
}

const FILES = ['pck-crl.der', 'qe-identity.json', 'root-crl.der', 'tcb-info.json', 'tcb-signing.pem'];
const quote = vector('tdx_quote');

test('collateral is fetched into a directory, from which the quote is judged without a network', async () => {
  const out = join(folder, 'collateral');
  const fetched = await nsgx('collateral', 'fetch', quote, '--out', out, '--pccs', address, '--json');
  assert.equal(fetched.status, 0, fetched.stderr);
  const document = JSON.parse(fetched.stdout) as { fetched: { file: string }[]; missing: unknown[] };
  assert.deepEqual(document.fetched.map(({ file }) => file).sort(), FILES);
  assert.deepEqual(document.missing, []);
  assert.deepEqual(readdirSync(out).sort(), FILES);
  const count = asked.length;
  const policy = join(folder, 'insist.json');
  writeFileSync(policy, '{ "version": 1, "dcap": { "allowAnyMeasurement": false } }');
  const judged = await nsgx(
    'verify',
    quote,
    '--collateral',
    out,
    '--time',
    TIME,
    '--policy',
    policy,
    '--json',
  );
  assert.equal(asked.length, count, 'no request without --fetch');
  const { claims, checks } = JSON.parse(judged.stdout) as {
    claims: Record<string, unknown>;
    checks: { id: string; status: string }[];
  };
  assert.equal(claims['tcbStatus'], 'UpToDate');
  // Nothing pins the TD.
  assert.equal(judged.status, 1);
  assert.deepEqual(
    checks.filter(({ status }) => status === 'failed').map(({ id }) => id),
    ['td.mrtd'],
  );
});

test('verify fetches when it is told to', async () => {
  const judged = await nsgx('verify', quote, '--fetch', '--pccs', address, '--time', TIME, '--json');
  const { claims } = JSON.parse(judged.stdout) as { claims: Record<string, unknown> };
  assert.equal(claims['tcbStatus'], 'UpToDate', judged.stderr);
  const usage = await nsgx('verify', quote, '--pccs', address);
  assert.equal(usage.status, 2);
  assert.match(usage.stderr, /--fetch/);
});

test('a service that fails is one sentence, and leaves the directory alone', async () => {
  down = true;
  const out = join(folder, 'empty');
  const { status, stderr } = await nsgx('collateral', 'fetch', quote, '--out', out, '--pccs', address);
  down = false;
  assert.equal(status, 1);
  assert.match(stderr, /cannot be fetched: status 501/);
  assert.doesNotMatch(stderr, /\n\s+at /);
  assert.throws(() => readdirSync(out), /ENOENT/);
  const refused = await nsgx('collateral', 'fetch', quote, '--out', out, '--pccs', 'http://pccs.example');
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /is not used/);
});
