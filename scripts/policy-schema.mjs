// The JSON Schema of the appraisal policy: types and defaults from the code that reads policies, descriptions and examples
// from the table of docs/ATTESTATION.md. `node scripts/policy-schema.mjs` writes packages/attest/policy.schema.json.
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const SCHEMA_PATH = join(root, 'packages/attest/policy.schema.json');

/** Description and example of each field of the table, by its path. */
function described() {
  const fields = new Map();
  for (const line of readFileSync(join(root, 'docs/ATTESTATION.md'), 'utf8').split('\n')) {
    const row = /^\| `((?:nested|snp|dcap)\.\w+)` \| .*? \| (.*) \| `(.*)` \|$/.exec(line);
    if (row) fields.set(row[1], { description: row[2].replaceAll('`', ''), examples: [JSON.parse(row[3])] });
  }
  return fields;
}

/** The text of the schema. */
export async function policySchemaText() {
  const policy = await import(
    pathToFileURL(join(root, 'packages/attest/dist/src/policy/json-schema.js')).href
  );
  const schema = policy.policyJsonSchema();
  const fields = described();
  for (const section of ['nested', 'snp', 'dcap']) {
    const { properties } = schema.properties[section];
    for (const name of Object.keys(properties))
      Object.assign(properties[name], fields.get(`${section}.${name}`));
  }
  return `${JSON.stringify(schema, null, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(SCHEMA_PATH, await policySchemaText());
  console.log(SCHEMA_PATH);
}
