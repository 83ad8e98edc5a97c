/** Pieces of C that headers and bridges made from EDL files share. */
import type { EdlComposite, EdlExtent, EdlFile, EdlType, EdlVariable } from '../../parse/ast.js';
import { typeText } from '../../parse/ast.js';
import { isDeepCopy } from '../../parse/checks.js';

/** A parameter as the prototype has it. */
export function parameterText({ type, name, dimensions, attributes }: EdlVariable): string {
  const constant = attributes?.readonly && type.kind === 'pointer' ? 'const ' : '';
  return `${constant}${typeText(type)} ${name}${dimensions.map((n) => `[${n}]`).join('')}`;
}

export function isVoidType(type: EdlType): boolean {
  return type.kind === 'basic' && type.name === 'void';
}

/** How a parameter crosses the border. */
export type Passing =
  | { readonly kind: 'value' }
  | { readonly kind: 'address' }
  | { readonly kind: 'text'; readonly unit: string; readonly output: boolean }
  | {
      readonly kind: 'buffer';
      /** Expressions of the size of an element, how many there are, and what the product is a multiple of. */
      readonly unit: string;
      readonly count: string;
      readonly multiple: string;
      readonly input: boolean;
      readonly output: boolean;
      /** The structure whose members are copied as well. */
      readonly deep?: EdlComposite;
    };

/** `name` writes the value of the parameter or member that a size or count names. */
export type NameText = (name: string) => string;

function extentText(extent: EdlExtent, name: NameText): string {
  return typeof extent === 'number' ? `${extent}u` : `(size_t)${name(extent)}`;
}

/** Structures that are copied deeply, by name. */
export function deepStructures(file: EdlFile): ReadonlyMap<string, EdlComposite> {
  const found = new Map<string, EdlComposite>();
  for (const type of file.types) if (type.kind === 'struct' && isDeepCopy(type)) found.set(type.name, type);
  return found;
}

/** How a parameter is passed, with the lengths that sgx_edger8r's code takes. */
export function passingOf(
  variable: EdlVariable,
  name: NameText,
  structures: ReadonlyMap<string, EdlComposite>,
): Passing {
  const { type, dimensions, attributes: a } = variable;
  if (a === undefined) return { kind: 'value' };
  if (a.userCheck || a.direction === undefined) return { kind: 'address' };
  const input = a.direction !== 'out';
  const output = a.direction !== 'in';
  if (a.string || a.wstring) return { kind: 'text', unit: a.string ? '1u' : 'sizeof(wchar_t)', output };
  const sides = { kind: 'buffer', input, output } as const;
  if (dimensions.length > 0 || a.isary) {
    const count = dimensions.reduce((all, n) => all * n, 1);
    return { ...sides, unit: `sizeof(${typeText(type)})`, count: `${count}u`, multiple: '1u' };
  }
  const deep =
    type.kind === 'pointer' && type.to.kind === 'struct' ? structures.get(type.to.name) : undefined;
  return { ...sides, ...targetText(type, a.size, a.count, name, deep !== undefined), deep };
}

/** Unit, count and multiple of what a pointer type points to. Structures are only held to multiples in deep copies. */
export function targetText(
  type: EdlType,
  size: EdlExtent | undefined,
  count: EdlExtent | undefined,
  name: NameText,
  strict: boolean,
): { unit: string; count: string; multiple: string } {
  const to = type.kind === 'pointer' ? type.to : undefined;
  const element = to === undefined ? `sizeof(*(${typeText(type)})0)` : `sizeof(${typeText(to)})`;
  const checked =
    to !== undefined && !isVoidType(to) && to.kind !== 'foreign' && (to.kind !== 'struct' || strict);
  return {
    unit: size === undefined ? element : extentText(size, name),
    count: count === undefined ? '1u' : extentText(count, name),
    multiple: checked ? element : '1u',
  };
}

/** Members that are copied with their structure. */
export function deepMembersOf(struct: EdlComposite): EdlVariable[] {
  return struct.members.filter(({ attributes }) => attributes !== undefined);
}
