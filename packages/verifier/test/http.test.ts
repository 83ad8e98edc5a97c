import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { serviceAddress } from '../src/address.js';
import { get, type HttpOptions } from '../src/http.js';
import { retryAfter, VerifierError, type VerifierErrorCode } from '../src/index.js';
import { Services } from './services.js';

let services: Services;
before(async () => {
  services = await Services.start();
});
after(() => services[Symbol.asyncDispose]());

const QUICK: HttpOptions = { attempts: 3, maxDelayMs: 5, timeoutMs: 2000 };

const fails = (promise: Promise<unknown>, code: VerifierErrorCode, message: RegExp) =>
  assert.rejects(promise, (error) => {
    assert.ok(error instanceof VerifierError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });

const asked = (path: string) => services.asked.filter((url) => url === path).length;

describe('requests', () => {
  test('overload and passing trouble are tried again, with the wait that the service asks for', async () => {
    const waits: number[] = [];
    services.routes.set('/busy', [
      { status: 429, headers: { 'retry-after': '1' } },
      { status: 429 },
      { status: 503 },
      { body: 'here' },
    ]);
    const answer = await get(`${services.address}/busy`, 100, {
      ...QUICK,
      attempts: 4,
      maxDelayMs: 1000,
      onRetry: (_url, _reason, delay) => waits.push(delay),
    });
    assert.equal(new TextDecoder().decode(answer!.body), 'here');
    // What the service asks for, and what is waited for when it does not say: both meet the limit.
    assert.deepEqual(waits.slice(0, 2), [1000, 1000]);
    assert.ok(waits[2]! <= 1000, `${waits[2]} ms`);
    assert.equal(asked('/busy'), 4);
    services.routes.set('/closed', { status: 503, headers: { 'retry-after': '3600' } });
    await fails(get(`${services.address}/closed`, 100, QUICK), 'FETCH_FAILED', /asks to wait 3600 s\.$/);
    assert.equal(asked('/closed'), 1);
  });

  test('Retry-After is seconds or a date', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    assert.equal(retryAfter('120', now), 120_000);
    assert.equal(retryAfter('Thu, 01 Jan 2026 00:00:30 GMT', now), 30_000);
    assert.equal(retryAfter('Wed, 31 Dec 2025 00:00:00 GMT', now), 0);
    assert.equal(retryAfter('soon', now), null);
    assert.equal(retryAfter('-5', now) ?? 0, 0);
    assert.equal(retryAfter(null, now), null);
  });

  test('a service that stays overloaded is given up, one that refuses at once', async () => {
    services.routes.set('/full', { status: 429 });
    await fails(get(`${services.address}/full`, 100, QUICK), 'FETCH_FAILED', /status 429 \(3 attempts\)/);
    assert.equal(asked('/full'), 3);
    await fails(get(`${services.address}/unknown`, 100, QUICK), 'FETCH_FAILED', /status 404\.$/);
    assert.equal(asked('/unknown'), 1);
    assert.equal(await get(`${services.address}/unknown`, 100, QUICK, { absent: true }), null);
    services.routes.set('/secret', { status: 401 });
    await fails(get(`${services.address}/secret`, 100, QUICK), 'FETCH_FAILED', /status 401/);
    assert.equal(asked('/secret'), 1);
  });

  test('a lost connection is tried again, a closed port is an error', async () => {
    services.routes.set('/lost', [(request) => request.socket.destroy(), { body: 'x' }]);
    assert.equal((await get(`${services.address}/lost`, 100, QUICK))!.body.length, 1);
    const gone = await Services.start();
    const { address } = gone;
    await gone[Symbol.asyncDispose]();
    await fails(get(`${address}/x`, 100, QUICK), 'FETCH_FAILED', /ECONNREFUSED|refused/);
  });

  test('an answer that does not come, or not to its end, is not waited for', async () => {
    services.routes.set('/never', () => undefined);
    services.routes.set('/drip', (_request, response) => {
      response.writeHead(200);
      response.write('x');
    });
    const options = { attempts: 2, maxDelayMs: 1, timeoutMs: 60 };
    await fails(
      get(`${services.address}/never`, 100, options),
      'FETCH_FAILED',
      /within 60 ms \(2 attempts\)/,
    );
    await fails(get(`${services.address}/drip`, 100, options), 'FETCH_FAILED', /within 60 ms/);
  });

  test('the size is limited, also of what is compressed or claims to be short', async () => {
    services.routes.set('/long', { body: new Uint8Array(101) });
    await fails(get(`${services.address}/long`, 100, QUICK), 'FETCH_REFUSED', /longer than 100 bytes/);
    assert.equal((await get(`${services.address}/long`, 101, QUICK))!.body.length, 101);
    services.routes.set('/small', {
      headers: { 'content-encoding': 'gzip' },
      body: gzipSync(new Uint8Array(1_000_000)),
    });
    await fails(get(`${services.address}/small`, 65_536, QUICK), 'FETCH_REFUSED', /longer than 65536/);
    services.routes.set('/endless', (_request, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(new Uint8Array(4096)), 1);
      response.on('close', () => clearInterval(timer));
    });
    await fails(get(`${services.address}/endless`, 65_536, QUICK), 'FETCH_REFUSED', /longer than 65536/);
    assert.equal(asked('/endless'), 1);
  });

  test('redirects are followed on the same host and nowhere else', async () => {
    services.routes.set('/moved', { status: 302, headers: { location: '/here' } });
    services.routes.set('/here', { body: 'ok' });
    assert.equal((await get(`${services.address}/moved`, 100, QUICK))!.url, `${services.address}/here`);
    await using other = await Services.start();
    for (const location of [
      `${other.address}/x`,
      'file:///etc/passwd',
      'https://127.0.0.1/',
      '//example.org/',
    ]) {
      services.routes.set('/away', { status: 307, headers: { location } });
      await fails(get(`${services.address}/away`, 100, QUICK), 'FETCH_REFUSED', /not the same host/);
    }
    assert.deepEqual(other.asked, []);
    services.routes.set('/round', { status: 301, headers: { location: '/round' } });
    await fails(get(`${services.address}/round`, 100, QUICK), 'FETCH_REFUSED', /more than 3 times/);
    services.routes.set('/blank', { status: 302 });
    await fails(get(`${services.address}/blank`, 100, QUICK), 'FETCH_REFUSED', /redirects to 'null'/);
  });

  test('the caller can stop it, also while it waits', async () => {
    const stop = new AbortController();
    services.routes.set('/later', { status: 503, headers: { 'retry-after': '30' } });
    const fetching = get(`${services.address}/later`, 100, {
      attempts: 3,
      signal: stop.signal,
      onRetry: () => setTimeout(() => stop.abort(), 10),
    });
    await fails(fetching, 'FETCH_FAILED', /aborted/);
    await fails(get(`${services.address}/later`, 100, { signal: stop.signal }), 'FETCH_FAILED', /aborted/);
  });
});

test('addresses are https, or http on this machine', () => {
  assert.equal(serviceAddress('https://pccs.example/', 'x'), 'https://pccs.example');
  assert.equal(serviceAddress('http://localhost:8081', 'x'), 'http://localhost:8081');
  assert.equal(serviceAddress('http://[::1]:1/a/', 'x'), 'http://[::1]:1/a');
  for (const bad of [
    'http://pccs.example',
    'ftp://localhost',
    'file:///etc',
    'https://user:secret@pccs.example',
    'https://pccs.example/?a=b',
    'pccs.example',
    '',
  ]) {
    assert.throws(
      () => serviceAddress(bad, 'x'),
      (error) =>
        error instanceof VerifierError &&
        error.code === 'FETCH_OPTIONS' &&
        !error.message.includes('secret@'),
    );
  }
});
