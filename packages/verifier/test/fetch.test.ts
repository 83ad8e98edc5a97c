import assert from 'node:assert/strict';
import { chmodSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { collateralFromFiles, collateralNeeds, formatVerdict, verify } from '@nestedsgx/attest';
import {
  fetchCollateral,
  readCollateralDirectory,
  VerifierError,
  type VerifierErrorCode,
  writeCollateralDirectory,
} from '../src/index.js';
import { Services } from './services.js';
import { amdList, serveIntel, vector } from './vectors.js';

const folder = mkdtempSync(join(tmpdir(), 'nestedsgx-collateral-'));
after(() => rmSync(folder, { recursive: true }));

const QUICK = { attempts: 2, maxDelayMs: 2, timeoutMs: 5000 };
const TIME = Date.parse('2025-07-01T00:00:00Z');

const code = (wanted: VerifierErrorCode, message: RegExp) => (error: unknown) =>
  error instanceof VerifierError && error.code === wanted && message.test(error.message);

/** The VCEK's path of a report, from its bytes. */
function vcekPath(report: Uint8Array, product: string): string {
  const two = (at: number) => String(report[at]!).padStart(2, '0');
  const levels = `blSPL=${two(0x180)}&teeSPL=${two(0x181)}&snpSPL=${two(0x186)}&ucodeSPL=${two(0x187)}`;
  return `/vcek/v1/${product}/${Buffer.from(report.subarray(0x1a0, 0x1e0)).toString('hex')}?${levels}`;
}

describe("AMD's service", () => {
  const report = vector('snp/milan-v2.report.bin');
  const vcek = vector('snp/milan-v2.vcek.der');

  test('a report gets its VCEK and list, and verifies; a second time nothing is fetched', async () => {
    await using services = await Services.start();
    services.routes.set(vcekPath(report, 'Milan'), { body: vcek });
    services.routes.set('/vcek/v1/Milan/crl', { body: amdList('Milan', '250101000000Z', '260101000000Z') });
    const options = { ...QUICK, kds: services.address, time: TIME };
    const first = await fetchCollateral(report, options);
    assert.deepEqual(services.asked, [vcekPath(report, 'Milan'), '/vcek/v1/Milan/crl']);
    assert.deepEqual([...first.files.keys()], ['vcek.der', 'crl.der']);
    assert.deepEqual(first.missing, []);
    const { vcek: given } = collateralFromFiles(first.files);
    const verdict = await verify(report, { collateral: { vcek: given }, time: TIME });
    assert.equal(verdict.checks.find(({ id }) => id === 'snp.chain')?.status, 'ok', formatVerdict(verdict));

    const again = await fetchCollateral(report, { ...options, have: first.files });
    assert.deepEqual(again.kept, ['vcek.der', 'crl.der']);
    assert.deepEqual(again.fetched, []);
    assert.equal(services.asked.length, 2);
    // The list has run out a year later, and the certificate of another chip does not serve.
    const later = await fetchCollateral(report, {
      ...options,
      time: Date.parse('2026-06-01T00:00:00Z'),
      have: new Map([...first.files, ['vcek.der', vector('snp/milan-v2.vcek-other-tcb.der')]]),
    });
    assert.deepEqual(
      later.fetched.map(({ file }) => file),
      ['vcek.der', 'crl.der'],
    );
  });

  test('a report that does not name its product is looked for under both', async () => {
    await using services = await Services.start();
    services.routes.set(vcekPath(report, 'Genoa'), { body: vcek });
    services.routes.set('/vcek/v1/Genoa/crl', { body: amdList('Genoa', '250101000000Z', '260101000000Z') });
    const options = { ...QUICK, kds: services.address, time: TIME };
    await fetchCollateral(report, options);
    assert.deepEqual(services.asked, [
      vcekPath(report, 'Milan'),
      vcekPath(report, 'Genoa'),
      '/vcek/v1/Genoa/crl',
    ]);
    services.routes.clear();
    await assert.rejects(fetchCollateral(report, options), code('FETCH_FAILED', /Genoa.*status 404/));
    await assert.rejects(
      fetchCollateral(report, { ...options, product: 'Milan' }),
      code('FETCH_FAILED', /Milan.*status 404/),
    );
    await assert.rejects(
      fetchCollateral(report, { ...options, product: 'Rome' as 'Milan' }),
      code('FETCH_OPTIONS', /Rome/),
    );
  });

  test('VLEKs are not to be had; the list and the authorities are', async () => {
    await using services = await Services.start();
    const vlek = vector('snp/milan-v3-vlek.report.bin');
    services.routes.set('/vlek/v1/Milan/crl', { body: amdList('Milan', '250101000000Z', '260101000000Z') });
    const chain = pem(vcek) + pem(vector('snp/milan-v2.vcek-other-tcb.der'));
    services.routes.set('/vlek/v1/Milan/cert_chain', { body: chain });
    const options = { ...QUICK, kds: services.address, time: TIME, authorities: true };
    const { missing, files } = await fetchCollateral(vlek, options);
    assert.deepEqual(
      missing.map(({ file }) => file),
      ['vlek.der'],
    );
    assert.deepEqual([...files.keys()].sort(), ['ark.pem', 'ask.pem', 'crl.der']);
    assert.deepEqual(services.asked, ['/vlek/v1/Milan/crl', '/vlek/v1/Milan/cert_chain']);
  });

  test('a masked chip id is not asked for', async () => {
    await using services = await Services.start();
    const masked = report.slice().fill(0, 0x1a0, 0x1e0);
    const { missing } = await fetchCollateral(masked, { ...QUICK, kds: services.address });
    assert.match(missing[0]!.reason, /masks its chip id/);
    assert.deepEqual(services.asked, []);
  });

  test('an error page is no certificate', async () => {
    await using services = await Services.start();
    services.routes.set(vcekPath(report, 'Milan'), { body: '<html>sign in</html>' });
    await assert.rejects(
      fetchCollateral(report, { ...QUICK, kds: services.address }),
      code('FETCH_REFUSED', /is no certificate/),
    );
  });
});

describe("Intel's service and PCCSs", () => {
  const cases = [
    ['sgx_quote', 'sgx_quote_collateral.json', 'sgx', 'ConfigurationAndSWHardeningNeeded'],
    ['tdx_quote', 'tdx_quote_collateral.json', 'tdx', 'UpToDate'],
  ] as const;
  for (const [name, file, tee, status] of cases) {
    test(`a quote of ${tee} gets its collateral from a PCCS and verifies`, async () => {
      await using services = await Services.start();
      const quote = vector(`dcap/${name}`);
      const needs = collateralNeeds(quote);
      assert.ok(needs.kind === 'dcap' && needs.platform !== null);
      serveIntel(services, `dcap/${file}`, tee, needs.platform.fmspc);
      const options = { ...QUICK, time: TIME, pccs: `${services.address}/sgx/certification/v4/` };
      const { files, missing } = await fetchCollateral(quote, { ...options, subscriptionKey: 'secret' });
      assert.deepEqual(missing, []);
      assert.ok(services.headers.every((headers) => !('ocp-apim-subscription-key' in headers)));
      const verdict = await verify(quote, {
        policy: { version: 1, dcap: { acceptStatus: [status], allowAnyMeasurement: true } },
        collateral: collateralFromFiles(files),
        time: TIME,
      });
      assert.equal(verdict.verdict, 'accepted', formatVerdict(verdict));
      assert.equal(verdict.claims['tcbStatus'], status);

      const directory = join(folder, name);
      writeCollateralDirectory(directory, files);
      assert.deepEqual(readdirSync(directory).sort(), [...files.keys()].sort());
      const count = services.asked.length;
      const have = readCollateralDirectory(directory);
      const kept = await fetchCollateral(quote, { ...options, have });
      assert.deepEqual(kept.fetched, []);
      assert.equal(services.asked.length, count);
      // Documents of another platform or past their time are fetched again, all three.
      const other = new Map([...have, ['tcb-signing.pem', new Uint8Array(3)]]);
      const renewed = await fetchCollateral(quote, { ...options, have: other });
      assert.deepEqual(
        renewed.fetched.map((each) => each.file),
        ['tcb-info.json', 'qe-identity.json', 'tcb-signing.pem'],
      );
      const expired = await fetchCollateral(quote, { ...options, have, time: Date.parse('2027-01-01') });
      assert.equal(expired.kept.length, 0);
    });
  }

  test("without a PCCS the root's list has a place of its own", async () => {
    await using services = await Services.start();
    const quote = vector('dcap/sgx_quote');
    serveIntel(services, 'dcap/sgx_quote_collateral.json', 'sgx', '00a067110000');
    const list = services.routes.get('/sgx/certification/v4/rootcacrl') as { body: string };
    services.routes.delete('/sgx/certification/v4/rootcacrl');
    services.routes.set('/IntelSGXRootCA.der', { body: Buffer.from(list.body, 'hex') });
    const rootCrl = `${services.address}/IntelSGXRootCA.der`;
    const { files } = await fetchCollateral(quote, { ...QUICK, pcs: services.address, rootCrl, time: TIME });
    assert.equal(files.size, 5);
  });

  test('caches that name the chain as version 3 did are understood', async () => {
    await using services = await Services.start();
    serveIntel(services, 'dcap/sgx_quote_collateral.json', 'sgx', '00a067110000');
    const path = '/sgx/certification/v4/tcb?fmspc=00A067110000';
    const route = services.routes.get(path) as { headers: Record<string, string> };
    const [chain] = Object.values(route.headers);
    services.routes.set(path, { ...route, headers: { 'SGX-TCB-Info-Issuer-Chain': chain! } });
    const options = { ...QUICK, pccs: services.address, time: TIME };
    assert.equal((await fetchCollateral(vector('dcap/sgx_quote'), options)).files.size, 5);
  });

  test('answers that are not what was asked for are refused', async () => {
    await using services = await Services.start();
    const quote = vector('dcap/sgx_quote');
    const fetching = () => fetchCollateral(quote, { ...QUICK, pccs: services.address, time: TIME });
    const serve = () => serveIntel(services, 'dcap/sgx_quote_collateral.json', 'sgx', '00a067110000');
    const tcb = '/sgx/certification/v4/tcb?fmspc=00A067110000';
    const edit = async (path: string, change: object, message: RegExp) => {
      serve();
      services.routes.set(path, { ...(services.routes.get(path) as object), ...change });
      await assert.rejects(fetching(), code('FETCH_REFUSED', message));
    };
    serve();
    const crl = [...services.routes.keys()].find((path) => path.includes('pckcrl'))!;
    await edit(crl, { body: 'no list' }, /no revocation list/);
    await edit(tcb, { headers: {} }, /header TCB-Info-Issuer-Chain/);
    await edit(tcb, { headers: { 'TCB-Info-Issuer-Chain': '%zz' } }, /readable header/);
    await edit(tcb, { headers: { 'TCB-Info-Issuer-Chain': 'none' } }, /no chain of certificates/);
    await edit(tcb, { body: '{"enclaveIdentity":{}}' }, /with 'tcbInfo'/);
    await edit(tcb, { body: '{' }, /no JSON document/);
    await edit('/sgx/certification/v4/qe/identity', { body: '[]' }, /with 'enclaveIdentity'/);
    await edit('/sgx/certification/v4/rootcacrl', { body: 'zz' }, /no revocation list/);
  });

  test('a PCK is asked for where the quote has only identifiers', async () => {
    const quote = vector('dcap/fortanix_quote_raw_tcb.bin');
    const needs = collateralNeeds(quote);
    assert.ok(needs.kind === 'dcap' && needs.identifiers?.encryptedPpid?.length === 768);
    await using services = await Services.start();
    const options = { ...QUICK, pcs: services.address, subscriptionKey: 'secret', time: TIME };
    await assert.rejects(fetchCollateral(quote, options), code('FETCH_FAILED', /pckcert.*status 404/));
    assert.match(
      services.asked[0]!,
      /^\/sgx\/certification\/v4\/pckcert\?encrypted_ppid=[0-9A-F]{768}&cpusvn=/,
    );
    assert.equal(services.headers[0]!['ocp-apim-subscription-key'], 'secret');
    const plain = vector('dcap/intel_sample_quote.dat');
    const { missing } = await fetchCollateral(plain, options);
    assert.match(missing[0]!.reason, /encrypted PPIDs only/);
  });
});

describe('collateral directories', () => {
  test('writing replaces whole files and leaves nothing else behind', () => {
    const directory = join(folder, 'made', 'here');
    writeCollateralDirectory(directory, new Map([['crl.der', new Uint8Array(100_000).fill(1)]]));
    writeCollateralDirectory(directory, new Map([['crl.der', Uint8Array.of(2)]]));
    writeFileSync(join(directory, 'notes.txt'), 'x');
    assert.deepEqual(readCollateralDirectory(directory), new Map([['crl.der', Uint8Array.of(2)]]));
    assert.deepEqual(readdirSync(directory).sort(), ['crl.der', 'notes.txt']);
    assert.equal(readCollateralDirectory(join(folder, 'none')).size, 0);
  });

  test('what cannot be read or written is a typed error', () => {
    const file = join(folder, 'file');
    writeFileSync(file, '');
    const typed = code('COLLATERAL_CACHE', /cannot be (read|written)/);
    assert.throws(() => readCollateralDirectory(file), typed);
    assert.throws(() => writeCollateralDirectory(file, new Map([['crl.der', new Uint8Array(1)]])), typed);
    for (const name of ['../crl.der', 'crl', '.der', 'a/b.der'])
      assert.throws(() => writeCollateralDirectory(folder, new Map([[name, new Uint8Array(1)]])), typed);
    chmodSync(file, 0o600);
  });
});

function pem(der: Uint8Array): string {
  const lines = Buffer.from(der)
    .toString('base64')
    .match(/.{1,64}/g)!;
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`;
}
