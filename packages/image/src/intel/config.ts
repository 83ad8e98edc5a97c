/** Enclave.config.xml: what Intel's signing tool is told. Source: as of config-elements.ts. */
import { NsgxError } from '@nestedsgx/arch';
import { parseXml, XmlElement, XmlText } from '@rgrove/parse-xml';
import { checkConfig } from './config-checks.js';
import { CONFIG_ELEMENTS, type ConfigElementName, isConfigElement } from './config-elements.js';

/** Largest configuration file in bytes. */
export const MAX_CONFIG_BYTES = 64 * 1024;
const ROOT = 'EnclaveConfiguration';

/** A checked configuration. */
export interface EnclaveConfig {
  /** Every element; those that were not given have their default. */
  readonly values: Readonly<Record<ConfigElementName, bigint>>;
  /** The elements that were given: some defaults depend on it. */
  readonly given: ReadonlySet<ConfigElementName>;
}

/** Values by element name. */
export type EnclaveConfigInit = { readonly [name in ConfigElementName]?: bigint | number };

/** A configuration from values instead of a file; `{}` gives the defaults. Throws SIGN_CONFIG_ELEMENT. */
export function enclaveConfig(init: EnclaveConfigInit = {}): EnclaveConfig {
  const given = new Map<ConfigElementName, bigint>();
  for (const [name, value] of Object.entries(init)) {
    if (!isConfigElement(name)) throw unknown(name);
    if (value === undefined) continue;
    if (typeof value === 'number' && !Number.isSafeInteger(value))
      throw problem(`${name} is ${value}, not an integer`);
    given.set(name, inRange(name, BigInt(value), String(value)));
  }
  return complete(given);
}

/**
 * Reads Enclave.config.xml. Numbers are decimal, hexadecimal (0x…) or octal (0…), as C has them. Neither a document
 * type nor attributes are accepted, so nothing can be expanded. Throws SIGN_CONFIG_XML (no such document; the line
 * is named) and SIGN_CONFIG_ELEMENT (the element, its value and what is permitted are named).
 */
export function parseEnclaveConfig(document: Uint8Array | string): EnclaveConfig {
  const given = new Map<ConfigElementName, bigint>();
  for (const child of rootElement(document).children) {
    if (child instanceof XmlText && child.text.trim() !== '')
      throw xml(`<${ROOT}> holds the text "${short(child.text.trim())}" beside its elements`);
    if (!(child instanceof XmlElement)) continue;
    const { name } = child;
    if (!isConfigElement(name)) throw unknown(name);
    if (given.has(name)) throw problem(`${name} is given twice`);
    if (Object.keys(child.attributes).length > 0) throw xml(`<${name}> has attributes, which no element has`);
    if (child.children.some((inner) => inner instanceof XmlElement))
      throw xml(`<${name}> holds elements instead of a number`);
    given.set(name, inRange(name, numberOf(name, child.text.trim()), child.text.trim()));
  }
  return complete(given);
}

function rootElement(document: Uint8Array | string): XmlElement {
  if (document.length > MAX_CONFIG_BYTES)
    throw xml(`the configuration has ${document.length} bytes, more than ${MAX_CONFIG_BYTES}`);
  let root: XmlElement | null;
  try {
    const text =
      typeof document === 'string' ? document : new TextDecoder('utf-8', { fatal: true }).decode(document);
    const parsed = parseXml(text, { preserveDocumentType: true });
    if (parsed.children.some((node) => node.type === 'doctype'))
      throw xml('the configuration has a document type (<!DOCTYPE …>)');
    root = parsed.root;
  } catch (cause) {
    if (cause instanceof NsgxError) throw cause;
    // The parser descends by recursion.
    if (cause instanceof RangeError) throw xml('the configuration nests its elements too deeply');
    const [first] = String(cause instanceof Error ? cause.message : cause).split('\n');
    throw xml(`the configuration is not XML in UTF-8: ${short(first)}`, cause);
  }
  if (root?.name !== ROOT) throw xml(`the outermost element is <${short(root?.name ?? '')}>, not <${ROOT}>`);
  return root;
}

function numberOf(name: string, text: string): bigint {
  if (text === '') throw problem(`${name} is empty`);
  const octal = /^0[0-7]+$/.test(text);
  if (!octal && !/^(0|[1-9][0-9]*|0[xX][0-9a-fA-F]+)$/.test(text))
    throw problem(`${name} is "${short(text)}", neither a decimal nor a hexadecimal number (0x…)`);
  return BigInt(octal ? `0o${text}` : text);
}

function inRange(name: ConfigElementName, value: bigint, text: string): bigint {
  const { min, max } = CONFIG_ELEMENTS[name];
  if (value < min || value > max)
    throw problem(`${name} is ${short(text)}; permitted is ${shown(min)}…${shown(max)}`);
  return value;
}

/** Small limits in decimal, large ones in hexadecimal digits, as they are written in such files. */
function shown(limit: bigint): string {
  return limit < 0x1000n ? `${limit}` : `0x${limit.toString(16)}`;
}

function complete(given: ReadonlyMap<ConfigElementName, bigint>): EnclaveConfig {
  const values = {} as Record<ConfigElementName, bigint>;
  for (const name of Object.keys(CONFIG_ELEMENTS) as ConfigElementName[])
    values[name] = given.get(name) ?? CONFIG_ELEMENTS[name].byDefault;
  const follow = (name: ConfigElementName, other: ConfigElementName): void => {
    if (!given.has(name)) values[name] = values[other];
  };
  follow('HeapInitSize', 'HeapMaxSize');
  follow('ReservedMemInitSize', 'ReservedMemMaxSize');
  follow('TCSMaxNum', 'TCSNum');
  const config = { values, given: new Set(given.keys()) };
  checkConfig(config, problem);
  return config;
}

function short(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

function unknown(name: string): NsgxError {
  return problem(`<${short(name)}> is no element of ${ROOT}`);
}

function problem(message: string): NsgxError {
  return new NsgxError('SIGN_CONFIG_ELEMENT', message, { advice: 'Correct Enclave.config.xml.' });
}

function xml(message: string, cause?: unknown): NsgxError {
  return new NsgxError('SIGN_CONFIG_XML', message, {
    cause,
    advice: `Give an Enclave.config.xml: <${ROOT}> with one element for each setting.`,
  });
}
