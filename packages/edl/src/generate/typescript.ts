/** TypeScript generated from an interface: types of its calls and the description that the marshaller interprets. */

import type { CType, Target } from '../layout/ctype.js';
import type { CallDescription, EdlDescription, ParameterDescription } from '../layout/describe.js';
import { targetShape } from '../marshal/buffers.js';
import { hasOutputs } from '../marshal/ecall.js';

const RESERVED = new Set(
  (
    'await break case catch class const continue debugger default delete do else enum export extends false finally ' +
    'for function if implements import in instanceof interface let new null package private protected public return ' +
    'static super switch this throw true try typeof var void while with yield arguments eval any unknown never ' +
    'object string number boolean bigint symbol undefined Uint8Array ArrayBufferView EdlInterface OcallAnswer Partial'
  ).split(' '),
);

/** How values look: given to the marshaller, where numbers of 64 bits may be numbers, or coming from it. */
type Side = 'given' | 'taken';

/**
 * A module with `NAMEEcalls`, `NAMEOcalls` and the constant `NAME` for `cvm.load`.
 * @param name of the constant; otherwise the file's name with a capital
 */
export function generateTypeScript(description: EdlDescription, name?: string): string {
  const plain = (name ?? description.name).replace(/[^A-Za-z0-9_]/g, '_').replace(/^(?![A-Za-z_])/, '_');
  const title = plain.charAt(0).toUpperCase() + plain.slice(1);
  const types = new TypeNames([title, `${title}Ecalls`, `${title}Ocalls`]);
  const ecalls = description.ecalls.filter(available).flatMap((call) => ecall(call, types));
  const ocalls = description.ocalls.filter(available).flatMap((call) => ocall(call, types));
  const imports = ocalls.some((line) => line.includes('OcallAnswer<'))
    ? 'EdlInterface, OcallAnswer'
    : 'EdlInterface';
  return [
    `/** Made from ${description.name.replaceAll('*/', '')}.edl; changes are overwritten. */`,
    `import type { ${imports} } from '@nestedsgx/edl';`,
    '',
    ...types.declarations(),
    `export interface ${title}Ecalls {`,
    ...ecalls,
    '}',
    '',
    `export interface ${title}Ocalls {`,
    ...ocalls,
    '}',
    '',
    `export const ${title}: EdlInterface<${title}Ecalls, ${title}Ocalls> = {`,
    `  description: ${JSON.stringify(description, null, 2).replaceAll('\n', '\n  ')},`,
    '};',
    '',
  ].join('\n');
}

function available(call: CallDescription): boolean {
  return call.unavailable === undefined;
}

function ecall(call: CallDescription, types: TypeNames): string[] {
  const list = call.parameters.map((p, i) => {
    const label = parameterName(p);
    if (p.pass === 'value') return `${label}: ${types.text(p.type, 'given')}`;
    if (p.pass === 'address') return `${label}: bigint | number | null`;
    if (p.pass !== 'buffer') return `${label}: string | ${p.pass === 'string' ? 'Uint8Array | ' : ''}null`;
    if (p.direction !== 'out') return `${label}: ${targetText(p, types, 'given')} | null`;
    const last = call.parameters
      .slice(i)
      .every((later) => later.pass === 'buffer' && later.direction === 'out');
    return last ? `${label}?: ArrayBufferView | null` : `${label}: ArrayBufferView | null | undefined`;
  });
  const value = call.returns === undefined ? 'undefined' : types.text(call.returns, 'taken');
  const out = outputs(call).map((p) => `${p.name}: ${outputText(p, types, 'taken')}`);
  const result = hasOutputs(call)
    ? `{ value: ${value}; out: { ${out.join('; ')} } }`
    : call.returns === undefined
      ? 'void'
      : value;
  const comment = call.isPublic ? [] : ['  /** Private: only during an OCALL that allows it. */'];
  return [...comment, `  ${call.name}(${list.join(', ')}): ${result};`];
}

function ocall(call: CallDescription, types: TypeNames): string[] {
  const list = call.parameters.map((p) => `${parameterName(p)}: ${outputText(p, types, 'taken')}`);
  const value = call.returns === undefined ? 'undefined' : types.text(call.returns, 'given');
  const simple = call.returns === undefined ? 'void' : value;
  const out = outputs(call).map((p) => `${p.name}: ${outputText(p, types, 'given')}`);
  const outText = out.length === 0 ? 'object' : `{ ${out.join('; ')} }`;
  const wide = hasOutputs(call) || call.errnoOffset !== undefined;
  return [
    `  ${call.name}(${list.join(', ')}): ${wide ? `${simple} | OcallAnswer<${value}, ${outText}>` : simple};`,
  ];
}

function outputs(call: CallDescription): ParameterDescription[] {
  return call.parameters.filter((p) => p.pass !== 'value' && p.pass !== 'address' && p.direction !== 'in');
}

function parameterName({ name }: ParameterDescription): string {
  return RESERVED.has(name) ? `${name}_` : name;
}

function outputText(p: ParameterDescription, types: TypeNames, side: Side): string {
  if (p.pass === 'value') return types.text(p.type, side);
  if (p.pass === 'address') return 'bigint';
  if (p.pass !== 'buffer') return 'string | null';
  return `${targetText(p, types, side)} | null`;
}

function targetText(
  p: Extract<ParameterDescription, { pass: 'buffer' }>,
  types: TypeNames,
  side: Side,
): string {
  const { element } = p.target;
  if (element === undefined || p.shape === 'bytes')
    return side === 'given' ? 'ArrayBufferView' : 'Uint8Array';
  const text = types.text(element, side);
  if (p.shape === 'one')
    return side === 'given' && !p.deep && element.kind !== 'array' ? `${text} | ArrayBufferView` : text;
  if (side === 'taken') return `${bracket(text)}[]`;
  return p.deep ? `readonly ${bracket(text)}[]` : `readonly ${bracket(text)}[] | ArrayBufferView`;
}

function bracket(text: string): string {
  return text.includes('|') || text.startsWith('readonly') ? `(${text})` : text;
}

/** Names of the structures that the calls use, and their declarations. */
class TypeNames {
  readonly #names = new Map<string, string>();
  readonly #used: Set<string>;
  readonly #lines: string[] = [];

  constructor(used: readonly string[]) {
    this.#used = new Set([...RESERVED, ...used]);
  }

  declarations(): string[] {
    return this.#lines;
  }

  text(type: CType, side: Side): string {
    switch (type.kind) {
      case 'integer':
        if (type.size < 8) return 'number';
        return side === 'given' ? 'bigint | number' : 'bigint';
      case 'boolean':
        return 'boolean';
      case 'float':
        return 'number';
      case 'pointer':
        return side === 'given' ? 'bigint | number | null' : 'bigint';
      case 'bytes':
        return 'Uint8Array';
      case 'array': {
        const { element } = type;
        if (element.kind === 'integer' && element.size === 1)
          return side === 'given' ? 'ArrayBufferView | readonly number[]' : 'Uint8Array';
        const text = bracket(this.text(element, side));
        return side === 'given' ? `readonly ${text}[] | ArrayBufferView` : `${text}[]`;
      }
      case 'struct':
        return this.#struct(type, side);
    }
  }

  #struct(type: Extract<CType, { kind: 'struct' }>, side: Side): string {
    const key = `${side} ${JSON.stringify(type)}`;
    const known = this.#names.get(key);
    if (known !== undefined) return known;
    const plain = `${type.name.replace(/^struct /, '').replace(/[^A-Za-z0-9_]/g, '_')}${side === 'given' ? '_given' : ''}`;
    let name = plain;
    for (let i = 2; this.#used.has(name); i++) name = `${plain}_${i}`;
    this.#used.add(name);
    this.#names.set(key, name);
    const readonly = side === 'given' ? 'readonly ' : '';
    const members = type.members.map(({ name: member, type: of, deep }) => {
      const text = deep === undefined ? this.text(of, side) : `${this.#deep(deep, side)} | null`;
      return `  ${readonly}${member}: ${text};`;
    });
    this.#lines.push(`export interface ${name} {`, ...members, '}', '');
    return name;
  }

  #deep(target: Target, side: Side): string {
    const { element } = target;
    if (element === undefined || targetShape(target) === 'bytes')
      return side === 'given' ? 'ArrayBufferView' : 'Uint8Array';
    const text = `${bracket(this.text(element, side))}[]`;
    return side === 'given' ? `readonly ${text} | ArrayBufferView` : text;
  }
}
