/** ATTESTATION.md names every check, policy field, isolation, status, collateral file and claim, with its defaults. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import {
  type Claims,
  collateralFromFiles,
  DCAP_SGX_CHECKS,
  DCAP_STATUSES,
  DCAP_TDX_CHECKS,
  ISOLATIONS,
  NESTED_CERTIFICATION_TYPE,
  NESTED_CHECKS,
  type PolicyDocument,
  parsePolicy,
  RAW_SNP_CHECKS,
  verify,
} from '@nestedsgx/attest';
import { sampleImage } from '@nestedsgx/enclave';
import { Cvm } from '@nestedsgx/sdk';

const ROOT = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..', '..');
const text = readFileSync(join(ROOT, 'docs', 'ATTESTATION.md'), 'utf8');

/** Text of the section with this heading. */
function section(heading: string): string {
  const found = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(found, `a section ${heading}`);
  return found;
}

/** Table rows of a text whose first cell is code, as cells without the marks of code. */
function rows(part: string): string[][] {
  return part
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) =>
      line
        .slice(1, -1)
        .split(' | ')
        .map((cell) => cell.trim().replace(/^`(.*)`$/, '$1')),
    );
}

test('every check is described, in order, and no other', () => {
  const described = rows(section('Checks')).map(([id]) => id!);
  const all = new Set([...NESTED_CHECKS, ...RAW_SNP_CHECKS, ...DCAP_SGX_CHECKS, ...DCAP_TDX_CHECKS]);
  assert.deepEqual([...described].sort(), [...all].sort());
  for (const list of [NESTED_CHECKS, RAW_SNP_CHECKS])
    assert.deepEqual(
      described.filter((id) => list.includes(id)),
      list,
    );
});

interface ObjectSchema {
  readonly properties: Record<string, ObjectSchema>;
}

/** The fields that the schema of the policy has: `section.field`. */
function schemaFields(): string[] {
  const path = join(ROOT, 'packages', 'attest', 'policy.schema.json');
  const schema = JSON.parse(readFileSync(path, 'utf8')) as ObjectSchema;
  return ['nested', 'snp', 'dcap'].flatMap((name) =>
    Object.keys(schema.properties[name]!.properties).map((field) => `${name}.${field}`),
  );
}

test('the JSON Schema is that of the code and these descriptions', async () => {
  const script = join(ROOT, 'scripts', 'policy-schema.mjs');
  const { policySchemaText, SCHEMA_PATH } = (await import(pathToFileURL(script).href)) as {
    policySchemaText: () => Promise<string>;
    SCHEMA_PATH: string;
  };
  assert.equal(
    readFileSync(SCHEMA_PATH, 'utf8'),
    await policySchemaText(),
    'run node scripts/policy-schema.mjs',
  );
});

test('every policy field is described with its default and an example that is valid', () => {
  const described = rows(section('Policy, version 1'));
  assert.deepEqual(
    described.map(([field]) => field),
    schemaFields(),
  );
  const defaults = parsePolicy({ version: 1 }) as unknown as Record<string, Record<string, unknown>>;
  for (const [path, shown, , example] of described) {
    const [part, field] = path!.split('.') as [string, string];
    const value = defaults[part]![field];
    assert.deepEqual(shown === 'none' ? undefined : JSON.parse(shown!), value, `default of ${path}`);
    const given = JSON.parse(example!) as unknown;
    const parsed = parsePolicy({ version: 1, [part]: { [field]: given } }) as unknown as typeof defaults;
    assert.deepEqual(parsed[part]![field], given, `example of ${path}`);
    assert.notDeepEqual(given, value, `the example of ${path} is not the default`);
  }
});

test('the policies shown are policies', () => {
  const shown = [...text.matchAll(/^```json\n(.*?)^```$/gms)];
  assert.ok(shown.length > 0);
  for (const [, policy] of shown) parsePolicy(JSON.parse(policy!));
});

test('isolations and statuses are all named', () => {
  assert.deepEqual(
    rows(section('Software roots and isolation')).map(([name]) => name),
    [...ISOLATIONS],
  );
  const { isolation } = parsePolicy({ version: 1 }).nested;
  for (const [name, , accepted] of rows(section('Software roots and isolation')))
    assert.equal(accepted === 'yes', (isolation as string[]).includes(name!), name);
  const statuses = /^Statuses: (.*?)\.$/ms.exec(text)?.[1]?.match(/\w+/g);
  assert.deepEqual(statuses, [...DCAP_STATUSES]);
});

test('every collateral file has a role, and every role a file', () => {
  const files = rows(section('Collateral')).map(([file]) => file!);
  const collateral = collateralFromFiles(files.map((file) => [file, new Uint8Array(1)] as const));
  assert.equal(Object.keys(collateral).length, files.length);
  const source = readFileSync(join(ROOT, 'packages', 'attest', 'src', 'collateral.ts'), 'utf8');
  assert.equal(files.length, [...source.matchAll(/^ {2}readonly \w+\?: Uint8Array;$/gm)].length);
});

test('real evidence has the layout and the claims that are described', async () => {
  const cvm = await Cvm.launch({ stateDir: null });
  try {
    const enclave = await cvm.load(sampleImage('calc'));
    const evidence = enclave.attest();
    const { launchDigest, rootFingerprint } = await cvm.info();
    const nested = {
      mrenclave: [Buffer.from(enclave.mrenclave).toString('hex')],
      launchDigest: [launchDigest],
      softwareRoots: [rootFingerprint],
      isolation: ['same-user' as const],
    };
    const policy: PolicyDocument = { version: 1, nested };
    const { verdict, claims, checks } = await verify(evidence, { policy });
    assert.equal(verdict, 'accepted');
    assert.deepEqual(
      checks.map(({ id }) => id),
      NESTED_CHECKS,
    );
    const named = /^Claims of this system's evidence: (.*?)\.$/ms.exec(text)?.[1]?.match(/\w+/g) ?? [];
    assert.deepEqual([...named].sort(), Object.keys(claims).sort());
    const judge = await shownJudge();
    assert.deepEqual(await judge(evidence, policy, new Uint8Array(64)), claims);
    await assert.rejects(judge(evidence, policy, 'ff'), /report-data +FAILED because/);
    checkLayout(new DataView(evidence.buffer, evidence.byteOffset, evidence.byteLength));
  } finally {
    await cvm.close();
  }
});

/** The JavaScript that the text shows. */
function blocks(): string[] {
  return [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, code]) => code!);
}

test('the programs shown import what there is', async () => {
  assert.equal(blocks().length, 3);
  for (const [, names, module_] of blocks()
    .join('')
    .matchAll(/^import \{ (.*) \} from '(.*)';$/gm)) {
    // Names of packages inside this workspace; the umbrella's own are those of its files.
    const target = module_ === 'nestedsgx/attest' ? '../src/attest.js' : module_!;
    const found = (await import(target)) as Record<string, unknown>;
    for (const name of names!.split(', ')) assert.ok(name in found, `${name} of ${module_}`);
  }
});

type Judge = (
  evidence: Uint8Array,
  policy: PolicyDocument,
  challenge: Uint8Array | string,
) => Promise<Claims>;

/** The function that the text shows, loaded from the text. */
async function shownJudge(): Promise<Judge> {
  const code = blocks().find((block) => block.includes('function judge(')) ?? '';
  assert.ok(code.includes("from 'nestedsgx/attest'"));
  // From a temporary folder package names are not resolved, so the import names the file.
  const attest = new URL('../src/attest.js', import.meta.url).href;
  const source = code.replace("'nestedsgx/attest'", JSON.stringify(attest));
  const folder = mkdtempSync(join(tmpdir(), 'nestedsgx-docs-'));
  try {
    writeFileSync(join(folder, 'judge.mjs'), source);
    const { judge } = (await import(pathToFileURL(join(folder, 'judge.mjs')).href)) as { judge: Judge };
    return judge;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function checkLayout(view: DataView): void {
  const lines = [...section('Format').matchAll(/^\| (\d+) \| (\d+|…) \| (.*?) \|$/gm)];
  let at = 0;
  for (const [, offset, bytes] of lines) {
    assert.equal(Number(offset), at, 'offsets follow from sizes');
    at += Number(bytes);
  }
  assert.equal(view.getUint16(0, true), 3);
  assert.equal(view.getUint16(2, true), 2);
  assert.equal(view.getUint32(432, true), view.byteLength - 436);
  assert.equal(view.getUint16(1012, true), 0);
  assert.equal(view.getUint16(1014, true), NESTED_CERTIFICATION_TYPE);
  assert.equal(view.getUint32(1016, true), view.byteLength - 1020);
  assert.equal(view.getUint32(1020, true), 1);
  assert.equal(view.getUint32(1024, true), 1184);
  assert.equal(view.getUint32(2212, true), view.byteLength - 2216);
}
