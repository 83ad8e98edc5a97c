/** Mutated policies: refused, or followed to the letter, by a second reading of what they say. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { before, test } from 'node:test';
import {
  AttestError,
  type Collateral,
  decodeEvidence,
  formatVerdict,
  type PolicyDocument,
  parsePolicy,
  parsePolicyText,
  prepareCollateral,
  verify,
} from '../src/index.js';
import { dcapCollateral } from './dcap-collateral.js';
import {
  dcapSays,
  type Facts,
  isValid,
  type JsonSchema,
  type Members,
  nestedSays,
  policyReading,
  SCHEMA,
  snpSays,
} from './policy-oracle.js';
import { hex, LAUNCH_DIGEST, MRENCLAVE, makeEvidence, TestMachine } from './producer.js';
import { caseSeed, SEED, Seeded, SOAK } from './seeded.js';

const RUNS = SOAK ? 100_000 : 1_500;
const vector = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../vectors/${name}`, import.meta.url)));

interface Subject {
  readonly name: string;
  readonly evidence: Uint8Array;
  readonly options: { time: string; collateral: ReturnType<typeof prepareCollateral> };
  readonly base: PolicyDocument;
  readonly facts: Facts;
  readonly says: (policy: ReturnType<typeof policyReading>, facts: Facts) => boolean;
}

const plain = (value: unknown) => JSON.parse(JSON.stringify(value)) as Members;
let subjects: Subject[];

async function subject(
  name: string,
  evidence: Uint8Array,
  given: Collateral,
  time: string,
  base: PolicyDocument,
  says: Subject['says'],
): Promise<Subject> {
  const options = { time, collateral: prepareCollateral(given) };
  const verdict = await verify(evidence, { policy: base, ...options });
  assert.equal(verdict.verdict, 'accepted', `${name}\n${formatVerdict(verdict)}`);
  const facts = { fields: plain(decodeEvidence(evidence)), claims: plain(verdict.claims) };
  return { name, evidence, options, base, facts, says };
}

before(async () => {
  const machine = await TestMachine.make();
  const nested: PolicyDocument = {
    version: 1,
    nested: {
      mrenclave: [hex(MRENCLAVE)],
      launchDigest: [hex(LAUNCH_DIGEST)],
      softwareRoots: [machine.rootFingerprint],
    },
  };
  const raw: Subject['says'] = ({ snp }, facts) => snpSays(snp, facts.fields, facts, true);
  const quoted: Subject['says'] = ({ dcap }, facts) => dcapSays(dcap, facts);
  const sgx: PolicyDocument = {
    version: 1,
    dcap: {
      acceptStatus: ['ConfigurationAndSWHardeningNeeded'],
      mrsigner: ['815f42f11cf64430c30bab7816ba596a1da0130c3b028b673133a66cf9a3e0e6'],
    },
  };
  subjects = await Promise.all([
    subject('nested', await makeEvidence(machine), {}, '2026-11-01T00:00:00Z', nested, (policy, facts) => {
      const report = facts.fields['snpReport'] as Members;
      return nestedSays(policy.nested, facts) && snpSays(policy.snp, report, facts, false);
    }),
    subject(
      'Milan',
      vector('snp/milan-v2.report.bin'),
      { vcek: vector('snp/milan-v2.vcek.der') },
      '2025-06-01T00:00:00Z',
      { version: 1, snp: { allowAnyMeasurement: true } },
      raw,
    ),
    subject(
      'VLEK',
      vector('snp/milan-v3-vlek.report.bin'),
      { vlek: vector('snp/milan-v3-vlek.vlek.der') },
      '2025-06-01T00:00:00Z',
      { version: 1, snp: { vmpl: 1, allowAnyMeasurement: true } },
      raw,
    ),
    subject(
      'SGX',
      vector('dcap/sgx_quote'),
      dcapCollateral('sgx_quote'),
      '2025-07-01T00:00:00Z',
      sgx,
      quoted,
    ),
    subject(
      'TDX',
      vector('dcap/tdx_quote'),
      dcapCollateral('tdx_quote'),
      '2025-07-01T00:00:00Z',
      { version: 1, dcap: { allowAnyMeasurement: true } },
      quoted,
    ),
  ]);
});

const SECTIONS = ['nested', 'snp', 'dcap'] as const;
const fieldsOf = (section: string) => SCHEMA.properties![section]!.properties!;

/** A value that a field takes, often one that bears on the evidence. */
function plausible(random: Seeded, schema: JsonSchema, facts: Facts): unknown {
  if (schema.type === 'boolean') return random.chance(50);
  if (schema.type === 'integer')
    return random.below(Math.min(schema.maximum! + 1, random.pick([2, 8, 64, 300])));
  if (schema.type === 'array') {
    if (schema.items?.enum !== undefined) return schema.items.enum.filter(() => random.chance(60));
    const digits = Number(/\{(\d+)\}/.exec(schema.items?.pattern ?? '')?.[1]);
    const body = (facts.fields['body'] ?? {}) as Members;
    const known = Object.values({ ...facts.fields, ...body, ...facts.claims }).filter(
      (text) => typeof text === 'string' && (text.length === digits || !(digits > 0)),
    );
    return [
      ...known.filter(() => random.chance(60)),
      ...(random.chance(30) ? (schema.examples![0] as []) : []),
    ];
  }
  if (schema.properties === undefined) return random.pick(schema.examples!);
  const names = Object.keys(schema.properties).filter(() => random.chance(30));
  return Object.fromEntries(names.map((name) => [name, plausible(random, schema.properties![name]!, facts)]));
}

/** A value for a field: sensible, extreme, or of another kind altogether. */
function value(random: Seeded, schema: JsonSchema, facts: Facts): unknown {
  const texts = Object.values({ ...facts.fields, ...(facts.fields['body'] as Members), ...facts.claims });
  if (random.chance(80)) return plausible(random, schema, facts);
  switch (random.below(9)) {
    case 0:
      return schema.examples?.[0] ?? schema.default;
    case 1:
      return schema.default ?? schema.examples?.[0];
    case 2:
      return random.chance(50);
    case 3:
      return random.pick([0, 1, 2, 3, 4, 22, 255, 256, 65_535, 65_536, -1, 1.5, 2 ** 32, 2 ** 53, null]);
    case 4:
      return texts.filter((text) => typeof text === 'string' && /^[0-9a-f]{32,}$/.test(text)).slice(0, 1);
    case 5: {
      const text = random.pick(texts.filter((each) => typeof each === 'string'));
      return random.chance(50) ? [text] : text;
    }
    case 6:
      return schema.type === 'array' ? [] : {};
    case 7: {
      const enumeration = schema.items?.enum ?? ['*', '', 'any', '0', '0.0', '255.255.255'];
      const items = enumeration.filter(() => random.chance(40));
      return random.chance(80) ? items : items[0];
    }
    default: {
      const level = random.pick(['fmc', 'bootloader', 'tee', 'snp', 'microcode', 'ucode', '__proto__']);
      return schema.properties === undefined
        ? [[0]]
        : {
            [random.chance(70) ? level : random.pick(Object.keys(schema.properties))]: random.pick([
              0,
              1,
              300,
              true,
            ]),
          };
    }
  }
}

/** The right value of a field in the wrong letters: of one form or nearly so. */
function near(random: Seeded, given: unknown): unknown {
  if (Array.isArray(given)) return given.map((item) => near(random, item));
  if (typeof given !== 'string' || given === '') return given;
  const at = random.below(given.length);
  switch (random.below(5)) {
    case 0:
      return given.toUpperCase();
    case 1:
      return given.slice(0, at) + random.pick(['0', 'f', 'g', ' ', '\u0000']) + given.slice(at + 1);
    case 2:
      return given.slice(1);
    case 3:
      return `0x${given}`;
    default:
      return `${given}\n`;
  }
}

function mutate(random: Seeded, base: PolicyDocument, facts: Facts): string {
  const document = plain(base) as Record<string, Record<string, unknown>>;
  const own = facts.fields['format'] === 'quote' ? (['dcap'] as const) : (['nested', 'snp'] as const);
  for (let n = 1 + random.below(3); n > 0; n--) {
    const section = random.chance(70) ? random.pick(own) : random.pick(SECTIONS);
    document[section] ??= {};
    const body = document[section];
    const name = random.pick(Object.keys(fieldsOf(section)));
    switch (random.below(8)) {
      case 0:
        delete body[name];
        break;
      case 1:
        delete document[section];
        break;
      case 2: {
        const [present] = Object.keys(body);
        if (present !== undefined) body[present] = near(random, body[present]);
        break;
      }
      case 3:
        if (random.chance(20)) body[random.pick([name.toUpperCase(), `${name} `, 'allow', '*'])] = true;
        break;
      default:
        body[name] = value(random, fieldsOf(section)[name]!, facts);
    }
  }
  if (random.chance(3))
    (document as Record<string, unknown>)['version'] = random.pick([0, 2, '1', null, 1.0]);
  let text = JSON.stringify(document);
  if (random.chance(10)) {
    const at = random.below(text.length);
    const character = random.pick(['"', '}', ',', 'a', '0', '\\', '']);
    text = text.slice(0, at) + character + text.slice(at + random.below(2));
  }
  if (random.chance(10)) {
    // The same member once more, behind or before: readers differ in which they take.
    const section = random.pick(SECTIONS);
    const more = `"${section}":{"allowDebug":true,"allow\\u0044ebug":false}`;
    text = random.chance(50) ? text.replace(/\}$/, `,${more}}`) : text.replace('{', `{${more},`);
  }
  return text;
}

/** Names of members that stand twice in one object, by a reading of its own. */
function hasRepeats(text: string): boolean {
  let count = 0;
  JSON.parse(text, (_key, each: unknown) => {
    if (typeof each === 'object' && each !== null && !Array.isArray(each)) count += Object.keys(each).length;
    return each;
  });
  const outside = text.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  return (outside.match(/:/g)?.length ?? 0) !== count;
}

test('a mutated policy is refused, or accepts exactly what it says', async () => {
  const counts = { refused: 0, followed: 0, accepted: 0 };
  for (let n = 0; n < RUNS; n++) {
    const random = new Seeded(caseSeed(SEED, n));
    const { name, evidence, options, base, facts, says } = subjects[n % subjects.length]!;
    const text = mutate(random, base, facts);
    const where = `seed ${SEED}, case ${n}, ${name}: ${text}`;
    let policy: ReturnType<typeof parsePolicyText>;
    try {
      policy = parsePolicyText(text);
    } catch (error) {
      assert.ok(
        error instanceof AttestError && error.code === 'POLICY_INVALID',
        `${where}\n${String(error)}`,
      );
      counts.refused++;
      let document: unknown;
      try {
        document = JSON.parse(text);
      } catch {
        continue;
      }
      assert.ok(!isValid(SCHEMA, document as Members) || hasRepeats(text), `${where}\n${error.message}`);
      continue;
    }
    const document = JSON.parse(text) as Members;
    assert.ok(isValid(SCHEMA, document) && !hasRepeats(text), where);
    const said = policyReading(document);
    assert.deepEqual(plain(policy), { version: 1, ...said }, where);
    const verdict = await verify(evidence, { policy: policy as PolicyDocument, ...options });
    const wanted = says(said, facts) ? 'accepted' : 'rejected';
    assert.equal(verdict.verdict, wanted, `${where}\n${formatVerdict(verdict)}`);
    counts.followed++;
    if (wanted === 'accepted') counts.accepted++;
  }
  console.log(`seed ${SEED}, ${RUNS} policies: ${JSON.stringify(counts)}`);
  assert.ok(counts.refused > RUNS / 20 && counts.accepted > RUNS / 20, JSON.stringify(counts));
  assert.ok(counts.followed - counts.accepted > RUNS / 20, JSON.stringify(counts));
});

test('the second reading looks at every field', () => {
  const read = new Set<string>();
  const watched = (section: string, members: Members) =>
    new Proxy(members, {
      get: (target, name) => {
        read.add(`${section}.${String(name)}`);
        return target[String(name)];
      },
    });
  for (const { says, facts } of subjects) {
    const said = policyReading({ version: 1 });
    says(
      {
        nested: watched('nested', said.nested),
        snp: watched('snp', said.snp),
        dcap: watched('dcap', said.dcap),
      },
      facts,
    );
    // Inside nested evidence the rules of the report come second.
    snpSays(watched('snp', said.snp), (facts.fields['snpReport'] ?? SNP_BLANK) as Members, BLANK, true);
  }
  const all = SECTIONS.flatMap((section) =>
    Object.keys(fieldsOf(section)).map((name) => `${section}.${name}`),
  );
  assert.deepEqual(
    all.filter((name) => !read.has(name)),
    [],
  );
});

const SNP_BLANK = { policy: {}, platformInfo: {}, chipId: '' };
const BLANK: Facts = { fields: {}, claims: { root: { kind: 'amd' } } };

test('a member named twice is refused wherever it is', () => {
  const refused = (text: string, message: RegExp) =>
    assert.throws(
      () => parsePolicyText(text),
      (error) =>
        error instanceof AttestError && error.code === 'POLICY_INVALID' && message.test(error.message),
    );
  refused('{"version":1,"version":1}', /'version' twice/);
  refused('{"version":1,"snp":{"allowDebug":true,"vmpl":0,"allowDebug":false}}', /'allowDebug' twice/);
  refused('{"version":1,"snp":{"allow\\u0044ebug":true,"allowDebug":false}}', /'allowDebug' twice/);
  refused(`{"version":1${' '.repeat(1 << 20)}}`, /is the limit/);
  for (const text of [
    '{"version":1,"snp":{"minTcb":{"snp":1},"minCurrentTcb":{"snp":1}}}',
    '{"version":1,"snp":{"cspId":["\\"a\\":","\\"a\\":","{","a:"]}}',
  ])
    parsePolicyText(text);
});

test('examples and defaults of the JSON Schema are what the parser takes', () => {
  assert.ok(!isValid(SCHEMA, {}));
  for (const section of SECTIONS) {
    for (const [name, schema] of Object.entries(fieldsOf(section))) {
      for (const given of [...schema.examples!, ...(schema.default === undefined ? [] : [schema.default])]) {
        const document = { version: 1, [section]: { [name]: given } };
        assert.ok(isValid(SCHEMA, document), `${section}.${name}`);
        assert.deepEqual(plain(parsePolicy(document)), { version: 1, ...policyReading(document) });
      }
    }
  }
});
