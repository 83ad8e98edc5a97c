/** Checks over a whole interface, as sgx_edger8r makes them, and those that its C compiler would make. */
import type { EdlComposite, EdlExtent, EdlFile, EdlType, EdlVariable } from './ast.js';
import { typeText } from './ast.js';
import { EdlError, locate, type Span } from './source.js';

/** Something allowed but doubtful. */
export interface EdlWarning {
  readonly message: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Whether passing a pointer to the structure copies what its members point to. */
export function isDeepCopy(struct: EdlComposite): boolean {
  return struct.members.some(({ attributes }) => attributes !== undefined);
}

/** @throws EDL_DECLARATION, EDL_ATTRIBUTE */
export function checkInterface(file: EdlFile, requirePublic: boolean): EdlWarning[] {
  const warnings: EdlWarning[] = [];
  const warn = (message: string, span: Span) => {
    const { line, column } = locate(span);
    warnings.push({ message, file: span.source.file, line, column });
  };
  const functions = [...file.trusted, ...file.untrusted];
  refuseTwice(functions, 'function');
  const structs = checkTypes(file);
  for (const fn of functions) {
    refuseTwice(fn.parameters, 'parameter');
    const fields = new Set(fn.parameters.map(({ name }) => name));
    for (const parameter of fn.parameters) {
      checkExtents(parameter, fn.parameters, fn.kind === 'untrusted' ? 'constant' : 'parameter');
      checkStructure(parameter, structs, warn);
      const { attributes: a, name, span } = parameter;
      if (fn.kind === 'trusted' && (a?.string || a?.wstring) && fields.has(`${name}_len`))
        throw declared(`'${name}_len' is the name of the field with the length of '${name}'`, span);
      if (name === 'retval' && !(fn.returns.kind === 'basic' && fn.returns.name === 'void'))
        throw declared("'retval' is the name of the field with the result", span);
    }
  }
  const ecalls = new Set(file.trusted.map(({ name }) => name));
  const allowed = new Set<string>();
  for (const fn of file.untrusted)
    for (const { name, span } of fn.allow) {
      if (!ecalls.has(name))
        throw declared(`'${fn.name}' allows '${name}', which is not a trusted function`, span);
      allowed.add(name);
    }
  if (requirePublic && !file.trusted.some(({ isPublic }) => isPublic))
    throw declared(
      'the enclave has no public ECALL, expected at least one',
      file.span,
      "Write 'public' in front of one.",
    );
  for (const fn of file.trusted)
    if (!fn.isPublic && !allowed.has(fn.name))
      warn(`no OCALL allows the private ECALL '${fn.name}'`, fn.span);
  return warnings;
}

function checkTypes(file: EdlFile): Map<string, EdlComposite> {
  const structs = new Map<string, EdlComposite>();
  const seen = new Set<string>();
  const constants: { name: string; span: Span }[] = [];
  for (const type of file.types) {
    if (type.name !== undefined) {
      if (seen.has(type.name)) throw declared(`the type '${type.name}' is defined twice`, type.span);
      seen.add(type.name);
    }
    if (type.kind === 'enum') {
      constants.push(...type.constants);
      continue;
    }
    refuseTwice(type.members, 'member');
    for (const member of type.members) checkExtents(member, type.members, 'member');
    if (type.kind === 'struct') structs.set(type.name, type);
  }
  refuseTwice(constants, 'constant');
  return structs;
}

function checkStructure(
  { type, attributes, dimensions, span }: EdlVariable,
  structs: ReadonlyMap<string, EdlComposite>,
  warn: (message: string, span: Span) => void,
): void {
  const target = type.kind === 'pointer' ? type.to : type;
  if (target.kind === 'struct') {
    const struct = structs.get(target.name);
    if (struct === undefined) return;
    const deep = isDeepCopy(struct);
    if (type.kind === 'pointer') {
      if (deep && attributes?.direction === 'out')
        throw declared(`'struct ${struct.name}' is copied deeply and cannot be an 'out' parameter`, span);
    } else if (deep)
      throw declared(
        `'struct ${struct.name}' is copied deeply and cannot be passed ${dimensions.length > 0 ? 'as an array' : 'by value'}`,
        span,
        'Pass a pointer to it, with count for several.',
      );
    else if (struct.members.some((member) => member.type.kind === 'pointer'))
      warn(`what the pointers in 'struct ${struct.name}' point to is not copied`, span);
    return;
  }
  const name = foreignName(type);
  const struct = name === undefined ? undefined : structs.get(name);
  if (struct === undefined) return;
  if (isDeepCopy(struct))
    throw declared(
      `'${name}' is copied deeply, expected 'struct ${name}'`,
      span,
      'Deep copies need the word struct.',
    );
  warn(`'${name}' is a structure, better 'struct ${name}'`, span);
}

function foreignName(type: EdlType): string | undefined {
  if (type.kind === 'pointer') return foreignName(type.to);
  return type.kind === 'foreign' ? type.name : undefined;
}

/**
 * The names in size and count must be integers that are passed by value beside it. In an OCALL another name goes to the C
 * compiler as it is, as in sgx_edger8r, so it can be a macro or an enum's constant.
 */
function checkExtents(
  variable: EdlVariable,
  siblings: readonly EdlVariable[],
  what: 'parameter' | 'member' | 'constant',
): void {
  const { attributes: a, span } = variable;
  for (const [key, value] of [
    ['size', a?.size],
    ['count', a?.count],
  ] as [string, EdlExtent | undefined][]) {
    if (typeof value !== 'string') continue;
    const sibling = siblings.find(({ name }) => name === value);
    if (sibling === undefined && what === 'constant') continue;
    if (sibling === undefined)
      throw declared(
        `'${key}=${value}' names no ${what}, expected one of this list or a number`,
        span,
        `When '${value}' is a macro, define it: nsgx edl --define ${value}=VALUE, or the option \`defines\`.`,
      );
    const { type, dimensions } = sibling;
    const integer =
      dimensions.length === 0 &&
      sibling.attributes === undefined &&
      (type.kind === 'enum' ||
        type.kind === 'foreign' ||
        (type.kind === 'basic' && !['float', 'double', 'long double'].includes(type.name)));
    if (!integer)
      throw declared(
        `'${key}=${value}' names '${typeText(type)} ${value}', expected an integer passed by value`,
        span,
      );
  }
}

function refuseTwice(list: readonly { name: string; span: Span }[], what: string): void {
  const seen = new Set<string>();
  for (const { name, span } of list) {
    if (seen.has(name)) throw declared(`the ${what} '${name}' is declared twice`, span);
    seen.add(name);
  }
}

function declared(problem: string, span: Span, advice?: string): EdlError {
  return new EdlError('EDL_DECLARATION', problem, span, advice);
}
