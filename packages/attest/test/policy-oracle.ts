/**
 * A second reading of policies, for tests: from the published JSON Schema instead of the parser's code, and with rules
 * written from the policy's description instead of the checks.
 */
import { readFileSync } from 'node:fs';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Members = { [key: string]: Json };

export interface JsonSchema {
  readonly type?: string;
  readonly const?: Json;
  readonly enum?: Json[];
  readonly pattern?: string;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly items?: JsonSchema;
  readonly properties?: Record<string, JsonSchema>;
  readonly required?: string[];
  readonly additionalProperties?: boolean;
  readonly default?: Json;
  readonly examples?: Json[];
}

export const SCHEMA = JSON.parse(
  readFileSync(new URL('../../policy.schema.json', import.meta.url), 'utf8'),
) as JsonSchema;

/** Keywords that say nothing of what is valid. */
const NOTES = ['$schema', 'title', 'description', 'examples', 'default'];

/** True when `value` is valid. @throws for a keyword that is not implemented here */
export function isValid(schema: JsonSchema, value: Json | undefined): boolean {
  const rules: Record<string, (rule: never) => boolean> = {
    type: (type: string) =>
      type === 'object'
        ? typeof value === 'object' && value !== null && !Array.isArray(value)
        : type === 'array'
          ? Array.isArray(value)
          : type === 'integer'
            ? Number.isInteger(value)
            : typeof value === type,
    const: (wanted: Json) => value === wanted,
    enum: (known: Json[]) => known.includes(value as string),
    pattern: (pattern: string) => typeof value !== 'string' || new RegExp(pattern).test(value),
    minimum: (least: number) => typeof value !== 'number' || value >= least,
    maximum: (most: number) => typeof value !== 'number' || value <= most,
    minLength: (least: number) => typeof value !== 'string' || value.length >= least,
    maxLength: (most: number) => typeof value !== 'string' || value.length <= most,
    maxItems: (most: number) => !Array.isArray(value) || value.length <= most,
    items: (items: JsonSchema) => !Array.isArray(value) || value.every((item) => isValid(items, item)),
    required: (names: string[]) => names.every((name) => Object.hasOwn(value as Members, name)),
    properties: (properties: Record<string, JsonSchema>) =>
      Object.entries(value as Members).every(
        ([name, member]) => !Object.hasOwn(properties, name) || isValid(properties[name]!, member),
      ),
    additionalProperties: (allowed: boolean) =>
      allowed || Object.keys(value as Members).every((name) => Object.hasOwn(schema.properties!, name)),
  };
  // The type first: the others rely on it.
  if (schema.type !== undefined && !rules['type']!(schema.type as never)) return false;
  return Object.entries(schema).every(([keyword, rule]) => {
    if (NOTES.includes(keyword)) return true;
    const judge = rules[keyword];
    if (judge === undefined) throw new Error(`keyword ${keyword}`);
    return judge(rule as never);
  });
}

/** What a valid value says, with defaults; hexadecimal in small letters. */
export function reading(schema: JsonSchema, value: Json | undefined): Json | undefined {
  if (value === undefined) {
    if (schema.default !== undefined) return reading(schema, schema.default);
    return undefined;
  }
  if (Array.isArray(value)) return value.map((item) => reading(schema.items!, item)!);
  if (typeof value === 'string') return schema.pattern?.includes('a-fA-F') ? value.toLowerCase() : value;
  if (typeof value !== 'object' || value === null) return value;
  const out: Members = {};
  for (const [name, member] of Object.entries(schema.properties!)) {
    const given = Object.hasOwn(value, name) ? value[name] : undefined;
    const said = reading(member, given);
    if (said !== undefined) out[name] = said;
  }
  return out;
}

/** What a valid policy document says; sections left out are read as empty. */
export function policyReading(document: Members): { nested: Members; snp: Members; dcap: Members } {
  const section = (name: string) =>
    reading(SCHEMA.properties![name]!, Object.hasOwn(document, name) ? document[name] : {}) as Members;
  return { nested: section('nested'), snp: section('snp'), dcap: section('dcap') };
}

const list = (value: Json | undefined) => value as string[];
const pins = (accepted: Json | undefined, actual: Json | undefined) =>
  list(accepted).length === 0 || list(accepted).includes(actual as string);
const atLeast = (least: Json | undefined, actual: Json | undefined) =>
  least === undefined || (actual as number) >= (least as number);
const parts = (text: Json) => String(text).split('.').map(Number);

function versionAtLeast(least: Json | undefined, actual: string): boolean {
  if (least === undefined) return true;
  const [wanted, given] = [parts(least), parts(actual)];
  for (let i = 0; i < 3; i++) {
    const difference = (given[i] ?? 0) - (wanted[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

function levelsAtLeast(least: Json | undefined, actual: Json | undefined): boolean {
  return Object.entries(least as Members).every(([name, level]) => {
    const given = (actual as Members)[name];
    return given !== null && (given as number) >= (level as number);
  });
}

const bits = (wanted: Json | undefined, vector: Json | undefined) =>
  wanted === undefined ||
  (typeof vector === 'string' &&
    (BigInt(`0x${vector}`) & BigInt(`0x${String(wanted)}`)) === BigInt(`0x${String(wanted)}`));

function enclaveSays(says: Members, body: Members, anyEnclave: boolean): boolean {
  const pinned = list(says['mrenclave']).length + list(says['mrsigner']).length > 0;
  const id = body['isvProdId'];
  return [
    pinned || anyEnclave,
    pins(says['mrenclave'], body['mrenclave']),
    pins(says['mrsigner'], body['mrsigner']),
    says['isvProdId'] === undefined || says['isvProdId'] === id,
    atLeast(says['minIsvSvn'], body['isvSvn']),
    says['allowDebug'] === true || body['debug'] === false,
  ].every(Boolean);
}

/** What is known of evidence besides its fields. */
export interface Facts {
  /** As `decodeEvidence` gives it. */
  readonly fields: Members;
  /** As an accepting verdict gives them. */
  readonly claims: Members;
}

/** Whether the section `snp` lets a genuine report pass. `raw` is false inside nested evidence. */
export function snpSays(says: Members, report: Members, facts: Facts, raw: boolean): boolean {
  const policy = report['policy'] as Members;
  const platform = report['platformInfo'] as Members;
  const wanted = says['platform'] as Members;
  const cspId = (facts.claims['snp'] as Members | undefined)?.['cspId'];
  const amd = (facts.claims['root'] as Members)['kind'] === 'amd';
  const product = (facts.claims['root'] as Members)['product'];
  const masked = /^0*$/.test(report['chipId'] as string);
  const committed =
    JSON.stringify(report['currentTcb']) === JSON.stringify(report['committedTcb']) &&
    report['currentVersion'] === report['committedVersion'];
  const needs = (rule: string, is: Json | undefined) => says[rule] !== true || is === true;
  const refuses = (rule: string, is: Json | undefined) => says[rule] !== true || is !== true;
  // Every field is read, whether it bears on this evidence or not: the test demands it.
  const rules = [
    !amd || pins(says['products'], product),
    atLeast(says['minReportVersion'], report['version']),
    pins(says['signingKeys'], report['signingKey']),
    list(says['cspId']).length === 0 || list(says['cspId']).includes(cspId as string),
    pins(says['chipId'], report['chipId']),
    refuses('refuseMaskedChipId', masked),
    says['vmpl'] === report['vmpl'] || !raw,
    levelsAtLeast(says['minTcb'], report['reportedTcb']),
    levelsAtLeast(says['minCommittedTcb'], report['committedTcb']),
    levelsAtLeast(says['minCurrentTcb'], report['currentTcb']),
    levelsAtLeast(says['minLaunchTcb'], report['launchTcb']),
    versionAtLeast(says['minFirmware'], String(report['currentVersion'])),
    versionAtLeast(says['minCommittedFirmware'], String(report['committedVersion'])),
    refuses('refuseProvisionalFirmware', !committed),
    bits(says['launchMitigations'], report['launchMitigations']),
    bits(says['currentMitigations'], report['currentMitigations']),
    versionAtLeast(says['minAbi'], `${String(policy['abiMajor'])}.${String(policy['abiMinor'])}`),
    says['allowDebug'] === true || policy['debugAllowed'] === false,
    says['allowMigrationAgent'] === true || policy['migrationAgentAllowed'] === false,
    says['allowCxl'] === true || policy['cxlAllowed'] === false,
    refuses('refuseSmt', policy['smtAllowed']),
    needs('requireSingleSocket', policy['singleSocket']),
    needs('requireAes256Xts', policy['memAes256Xts']),
    needs('requireRaplDisabled', policy['raplDisabled']),
    needs('requireCiphertextHiding', policy['ciphertextHiding']),
    needs('requirePageSwapDisabled', policy['pageSwapDisabled']),
    wanted['refuseSmt'] !== true || platform['smtEnabled'] === false,
    wanted['refuseTsme'] !== true || platform['tsmeEnabled'] === false,
    wanted['requireEcc'] !== true || platform['eccEnabled'] === true,
    wanted['requireRaplDisabled'] !== true || platform['raplDisabled'] === true,
    wanted['requireCiphertextHiding'] !== true || platform['ciphertextHiding'] === true,
    wanted['requireAliasCheck'] !== true || platform['aliasCheckComplete'] === true,
    wanted['refuseTio'] !== true || platform['tioEnabled'] === false,
    atLeast(says['minGuestSvn'], report['guestSvn']),
    !raw ||
      list(says['launchDigest']).includes(report['measurement'] as string) ||
      (list(says['launchDigest']).length === 0 &&
        (says['allowAnyMeasurement'] !== false ||
          list(says['idKeyDigest']).length > 0 ||
          list(says['authorKeyDigest']).length > 0)),
    pins(says['hostData'], report['hostData']),
    pins(says['idKeyDigest'], report['idKeyDigest']),
    pins(says['authorKeyDigest'], report['authorKeyDigest']),
    list(says['authorKeyDigest']).length === 0 || report['authorKeyEnabled'] === true,
    needs('requireAuthorKey', report['authorKeyEnabled']),
    pins(says['familyId'], report['familyId']),
    pins(says['imageId'], report['imageId']),
    pins(says['reportId'], report['reportId']),
    pins(says['reportIdMa'], report['reportIdMa']),
    // No list is given in these tests.
    says['requireRevocationList'] !== true || !amd,
  ];
  return rules.every(Boolean);
}

/** Whether the section `nested` lets genuine evidence pass. */
export function nestedSays(says: Members, { fields, claims }: Facts): boolean {
  const root = claims['root'] as Members;
  const rules = [
    enclaveSays(says, fields['body'] as Members, false),
    list(says['launchDigest']).includes(claims['launchDigest'] as string),
    list(says['softwareRoots']).includes(root['fingerprint'] as string),
    list(says['isolation']).includes(claims['isolation'] as string),
  ];
  return rules.every(Boolean);
}

/** Whether the section `dcap` lets a genuine quote pass. */
export function dcapSays(says: Members, { fields, claims }: Facts): boolean {
  const body = fields['body'] as Members;
  const status = claims['tcbStatus'] as string;
  const advisories = claims['advisories'] as string[];
  const pck = claims['pck'] as Members;
  const accepted = list(says['acceptAdvisories']);
  const any = says['allowAnyMeasurement'] !== false;
  const refused = (rule: string, flag: string) => says[rule] === true && pck[flag] !== false;
  const common = [
    status === 'UpToDate' || list(says['acceptStatus']).includes(status),
    accepted.length === 0 || advisories.every((advisory) => accepted.includes(advisory)),
    atLeast(says['minTcbEvaluationNumber'], claims['tcbEvaluationNumber']),
    !refused('refuseDynamicPlatform', 'dynamicPlatform'),
    !refused('refuseCachedKeys', 'cachedKeys'),
    !refused('refuseSmt', 'smtEnabled'),
  ];
  if (fields['tee'] === 'sgx') return [...common, enclaveSays(says, body, any)].every(Boolean);
  const attributes = Buffer.from(body['tdAttributes'] as string, 'hex').readBigUInt64LE();
  const service = body['mrservicetd'];
  const unbound = service === null || /^0*$/.test(service as string);
  const services = list(says['mrServiceTd']);
  const own = [
    list(says['mrtd']).length > 0 || any,
    pins(says['mrtd'], body['mrtd']),
    pins(says['rtmr0'], body['rtmr0']),
    pins(says['rtmr1'], body['rtmr1']),
    pins(says['rtmr2'], body['rtmr2']),
    pins(says['rtmr3'], body['rtmr3']),
    pins(says['mrConfigId'], body['mrconfigid']),
    pins(says['mrOwner'], body['mrowner']),
    pins(says['mrOwnerConfig'], body['mrownerconfig']),
    pins(says['mrSeam'], body['mrseam']),
    unbound || (services.length > 0 ? services.includes(service as string) : any),
    says['allowMigratable'] === true || (attributes & (1n << 29n)) === 0n,
    says['allowDebug'] === true || (attributes & 0xffn) === 0n,
  ];
  return [...common, ...own].every(Boolean);
}
