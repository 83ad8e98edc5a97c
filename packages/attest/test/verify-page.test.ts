/** The example page in a real browser: the same checks as here, nothing loaded and nothing sent. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type Check, type Collateral, type PolicyDocument, verify } from '../src/index.js';
import { Chromium, findChromium } from './chromium.js';
import { dcapCollateral, dcapCollateralFiles } from './dcap-collateral.js';
import { hex, LAUNCH_DIGEST, MRENCLAVE, makeEvidence, TestMachine } from './producer.js';

const EXAMPLE = new URL('../../../../examples/verify-page/build.mjs', import.meta.url).href;
const { buildPage } = (await import(EXAMPLE)) as {
  buildPage: () => Promise<{ html: string; script: string }>;
};
const chromium = findChromium();
const skip = chromium === null && 'no Chromium is installed (Debian: apt-get install chromium)';
const vectorPath = (name: string) => fileURLToPath(new URL(`../../vectors/${name}`, import.meta.url));
const vector = (name: string) => new Uint8Array(readFileSync(vectorPath(name)));

const folder = mkdtempSync(join(tmpdir(), 'nestedsgx-page-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('the page is one file without imports, and allows nothing but its own script', async () => {
  const { html, script } = await buildPage();
  assert.ok(gzipSync(html).length < 150 * 1024, `${gzipSync(html).length} bytes gzipped`);
  assert.doesNotMatch(script, /\bBuffer\.|\brequire\(|process\.env|node:/);
  assert.match(html, /default-src 'none'; script-src 'sha256-[^']+'; style-src 'sha256-/);
  assert.doesNotMatch(html.replace(script, ''), /\b(?:src|href)=/);
  assert.equal(html.split('</script>').length, 2);
  console.log(`page: ${html.length} bytes, ${gzipSync(html).length} gzipped`);
});

interface Case {
  readonly name: string;
  readonly evidence: Uint8Array;
  readonly collateral: Collateral;
  /** Files besides the evidence. */
  readonly files: readonly (readonly [name: string, bytes: Uint8Array])[];
  readonly policy: PolicyDocument;
  readonly time: string;
  readonly verdict: 'Accepted' | 'Rejected';
}

describe('in Chromium', { skip }, () => {
  let browser: Chromium;
  before(async () => {
    const path = join(folder, 'index.html');
    writeFileSync(path, (await buildPage()).html);
    browser = await Chromium.open(chromium!, pathToFileURL(path).href);
  });
  after(async () => {
    await browser?.[Symbol.asyncDispose]();
  });

  /** Writes files and gives them to the page after a reload; returns the rows of the table. */
  async function give(one: Case): Promise<string[][]> {
    const own = join(folder, one.name);
    mkdirSync(own);
    // Collateral of this one has names of its own: the page looks inside.
    const files =
      one.name === 'tdx_quote' ? one.files.map(([name, bytes]) => [`my-${name}`, bytes] as const) : one.files;
    const given: (readonly [string, Uint8Array])[] = [['evidence.bin', one.evidence], ...files];
    given.push(['policy.json', new TextEncoder().encode(JSON.stringify(one.policy))]);
    for (const [name, bytes] of given) writeFileSync(join(own, name), bytes);
    // The mark goes with the old page.
    await browser.evaluate('{ globalThis.old = true; }');
    await browser.send('Page.reload');
    await browser.until('globalThis.old === undefined && document.readyState === "complete"');
    const set = (id: string, value: string) =>
      `{ const field = document.getElementById("${id}"); field.value = ${JSON.stringify(value)}; field.dispatchEvent(new Event("input")); }`;
    await browser.evaluate(set('time', one.time));
    await browser.giveFiles(
      '#files',
      given.map(([name]) => join(own, name)),
    );
    await browser.until('!document.getElementById("result").hidden');
    await browser.until(`document.getElementById("verdict").textContent === "${one.verdict}"`);
    return (await browser.evaluate(
      '[...document.querySelectorAll("#checks tr")].map((row) => [...row.cells].map((cell) => cell.textContent))',
    )) as string[][];
  }

  const rows = (checks: readonly Check[]) =>
    checks.map(({ id, status, detail }) => [
      id,
      status === 'failed' ? 'FAILED' : status,
      status === 'ok' ? detail : `because ${detail}`,
    ]);

  test('evidence of each kind gets the verdict that Node gives', async () => {
    const machine = await TestMachine.make();
    const nested = {
      mrenclave: [hex(MRENCLAVE)],
      launchDigest: [hex(LAUNCH_DIGEST)],
      softwareRoots: [machine.rootFingerprint],
    };
    const report = vector('snp/milan-v2.report.bin');
    const vcek = vector('snp/milan-v2.vcek.der');
    const forged = report.slice();
    forged[0x90]! ^= 1;
    const dcap = (name: string, policy: PolicyDocument['dcap'], verdict: Case['verdict']): Case => ({
      name,
      evidence: vector(`dcap/${name}`),
      collateral: dcapCollateral(name),
      files: dcapCollateralFiles(name),
      policy: { version: 1, dcap: policy },
      time: '2025-07-01T00:00:00Z',
      verdict,
    });
    const snp = { collateral: { vcek }, files: [['vcek.der', vcek]], time: '2025-06-01T00:00:00Z' } as const;
    const cases: Case[] = [
      {
        name: 'nested',
        evidence: await makeEvidence(machine),
        collateral: {},
        files: [],
        policy: { version: 1, nested },
        time: '2026-11-01T00:00:00Z',
        verdict: 'Accepted',
      },
      {
        ...snp,
        name: 'milan',
        evidence: report,
        policy: { version: 1, snp: { allowAnyMeasurement: true } },
        verdict: 'Accepted',
      },
      {
        ...snp,
        name: 'forged',
        evidence: forged,
        policy: { version: 1, snp: { allowAnyMeasurement: true } },
        verdict: 'Rejected',
      },
      dcap('sgx_quote', {}, 'Rejected'),
      dcap('tdx_quote', { allowAnyMeasurement: true }, 'Accepted'),
    ];
    for (const one of cases) {
      const shown = await give(one);
      const { evidence, policy, collateral, time } = one;
      const { checks } = await verify(evidence, { policy, collateral, time });
      assert.deepEqual(shown, rows(checks), one.name);
      if (process.env['NSGX_PICTURES'] !== undefined)
        writeFileSync(join(process.env['NSGX_PICTURES'], `${one.name}.png`), await browser.picture());
    }
  });

  test('files that are dropped count like files that are chosen, evidence in hexadecimal too', async () => {
    const drop = (name: string, content: string) =>
      browser.evaluate(`{
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File([${JSON.stringify(content)}], ${JSON.stringify(name)}));
        document.dispatchEvent(new DragEvent('drop', { dataTransfer, cancelable: true }));
      }`);
    await drop('notes.txt', 'nothing');
    await browser.until('document.getElementById("given").textContent.includes("not used")');
    await drop('quote.hex', `${hex(vector('dcap/tdx_quote'))}\n`);
    await browser.until(
      'document.getElementById("summary").textContent.startsWith("quote.hex (DCAP quote)")',
    );
    assert.equal(await browser.evaluate('document.getElementById("verdict").textContent'), 'Accepted');
    await browser.evaluate('document.querySelector("[aria-label=\'Remove quote.hex\']").click()');
    await browser.until('document.getElementById("problem").textContent.includes("None of these files")');
    await drop('quote.hex', hex(vector('dcap/tdx_quote')));
    await browser.until('document.getElementById("verdict").textContent === "Accepted"');
  });

  test('what is wrong with a policy is said, and an edited one is judged at once', async () => {
    const edit = (text: string) =>
      browser.evaluate(
        `{ const field = document.getElementById("policy"); field.value = ${JSON.stringify(text)}; field.dispatchEvent(new Event("input")); }`,
      );
    await edit('{ "version": 1, "dcap": { "acceptAnything": true } }');
    await browser.until('document.getElementById("problem").textContent.includes("acceptAnything")');
    assert.equal(await browser.evaluate('document.getElementById("result").hidden'), true);
    await edit('{ "version": 1, "dcap": { "allowAnyMeasurement": true } }');
    await browser.until('document.getElementById("verdict").textContent === "Accepted"');
    await browser.until(
      'document.getElementById("problem").hidden && !document.getElementById("result").hidden',
    );
  });

  test('nothing was loaded but the page, and nothing went wrong in it', () => {
    const urls = browser
      .events('Network.requestWillBeSent')
      .map(({ request }) => (request as { url: string }).url)
      .filter((url) => !url.startsWith('file:') || !url.endsWith('/index.html'));
    assert.deepEqual(urls, []);
    assert.deepEqual(browser.events('Runtime.exceptionThrown'), []);
    assert.deepEqual(
      browser.events('Log.entryAdded').map(({ entry }) => (entry as { text: string }).text),
      [],
    );
  });
});
