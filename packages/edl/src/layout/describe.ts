/** The description of an interface that the marshaller interprets: the layout of every marshalling structure. */
import { edlError } from '../errors.js';
import type { EdlFile, EdlTrustedFunction, EdlUntrustedFunction, EdlVariable } from '../parse/ast.js';
import { isDeepCopy } from '../parse/checks.js';
import { checkConstants } from '../parse/parse-edl.js';
import { refuseRemoved } from '../parse/removed.js';
import { EdlError } from '../parse/source.js';
import { type CType, StructLayout, sizeOf, type Target } from './ctype.js';
import { BASIC_TYPES, type ForeignType } from './foreign-types.js';
import { TypeTable } from './type-table.js';

export type Direction = 'in' | 'out' | 'inout';

/** A parameter with its field `ms_NAME` at `offset`. */
export type ParameterDescription = { readonly name: string; readonly offset: number } & (
  | { readonly pass: 'value'; readonly type: CType }
  /** user_check: the address as it is. */
  | { readonly pass: 'address' }
  /** Text with a terminating zero; ECALLs have its length in bytes with the zero at `lengthOffset`. */
  | { readonly pass: 'string' | 'wstring'; readonly direction: Direction; readonly lengthOffset?: number }
  | {
      readonly pass: 'buffer';
      readonly direction: Direction;
      readonly target: Target;
      /** One value of the element's type, several, or plain bytes. */
      readonly shape: 'one' | 'many' | 'bytes';
      /** What members of the structure point to is copied as well. */
      readonly deep: boolean;
    }
);

/** One ECALL or OCALL with its marshalling structure `ms_NAME_t`. */
export interface CallDescription {
  readonly name: string;
  /** Size of the structure in bytes; 0 when the call has none. */
  readonly size: number;
  readonly align: number;
  /** Type of `ms_retval`, which is at offset 0; missing for void. */
  readonly returns?: CType;
  /** Offset of `ocall_errno`. */
  readonly errnoOffset?: number;
  readonly parameters: readonly ParameterDescription[];
  readonly switchless: boolean;
  /** ECALLs: whether it can be called from outside of an OCALL. */
  readonly isPublic?: boolean;
  /** OCALLs: numbers of the ECALLs that may be made during it. */
  readonly allow?: readonly number[];
  /** Why the call cannot be made, when something is not known and `allowUnknown` was given. */
  readonly unavailable?: string;
}

/** An interface; the number of a call is its place in its list. */
export interface EdlDescription {
  readonly name: string;
  readonly ecalls: readonly CallDescription[];
  readonly ocalls: readonly CallDescription[];
}

export interface DescribeOptions {
  /** Types of C headers by name, or by `struct NAME`. */
  readonly types?: Readonly<Record<string, ForeignType>>;
  /** Values of macros that `size` and `count` of OCALLs name, beside the constants of the file's enums. */
  readonly constants?: Readonly<Record<string, number>>;
  /** Describe calls with types or constants that are not known, or removed attributes, as unavailable instead of failing. */
  readonly allowUnknown?: boolean;
}

const UNKNOWN: ReadonlySet<string> = new Set(['EDL_TYPE', 'EDL_REMOVED']);

/**
 * Lays out the marshalling structures as sgx_edger8r and gcc do: ms_retval, ocall_errno, then each parameter, in ECALLs
 * followed by its length if it is text.
 * @throws EDL_TYPE for a type or constant that is needed and not known, EDL_REMOVED for attributes that `allowRemoved` let
 * through, EDL_VALUE for constants that are no numbers
 */
export function describeEdl(file: EdlFile, options: DescribeOptions = {}): EdlDescription {
  checkConstants(options.constants ?? {});
  const table = new TypeTable(file, options.types ?? {}, options.constants);
  const structs = new Set(
    file.types.filter((type) => type.kind === 'struct' && isDeepCopy(type)).map(({ name }) => name),
  );
  const describe = (fn: EdlTrustedFunction | EdlUntrustedFunction): CallDescription => {
    try {
      refuseRemoved(fn, file);
      return layoutCall(fn, table, structs);
    } catch (error) {
      if (!options.allowUnknown || !(error instanceof EdlError) || !UNKNOWN.has(error.code)) throw error;
      const { name, switchless } = fn;
      return { name, size: 0, align: 1, parameters: [], switchless, unavailable: error.message };
    }
  };
  const numbers = new Map(file.trusted.map(({ name }, i) => [name, i]));
  return {
    name: file.name,
    ecalls: file.trusted.map((fn) => ({ ...describe(fn), isPublic: fn.isPublic })),
    ocalls: file.untrusted.map((fn) => ({
      ...describe(fn),
      allow: fn.allow.map(({ name }) => numbers.get(name) ?? -1).sort((a, b) => a - b),
    })),
  };
}

/** The call of a name or number. @throws EDL_VALUE when there is none, EDL_TYPE when it is unavailable */
export function findCall(list: readonly CallDescription[], key: string | number): [CallDescription, number] {
  const index = typeof key === 'number' ? key : list.findIndex(({ name }) => name === key);
  const call = list[index];
  if (call === undefined) throw edlError('EDL_VALUE', `the interface has no call ${JSON.stringify(key)}`);
  if (call.unavailable !== undefined)
    throw edlError(
      'EDL_TYPE',
      `${call.name} cannot be called: ${call.unavailable}`,
      'Give what is not known in `types` or `constants`.',
    );
  return [call, index];
}

function layoutCall(
  fn: EdlTrustedFunction | EdlUntrustedFunction,
  table: TypeTable,
  deepStructs: ReadonlySet<string | undefined>,
): CallDescription {
  const layout = new StructLayout();
  const isVoid = fn.returns.kind === 'basic' && fn.returns.name === 'void';
  const returns = isVoid ? undefined : table.resolve(fn.returns, fn.span);
  if (returns !== undefined) layout.add(returns);
  const errnoOffset = fn.kind === 'untrusted' && fn.propagateErrno ? layout.add(BASIC_TYPES.int) : undefined;
  const parameters = fn.parameters.map((variable): ParameterDescription => {
    const { name, attributes: a } = variable;
    if (a === undefined) {
      const type = table.variable(variable);
      return { name, offset: layout.add(type), pass: 'value', type };
    }
    const offset = layout.add({ kind: 'pointer' });
    if (a.userCheck || a.direction === undefined) return { name, offset, pass: 'address' };
    const { direction } = a;
    if (a.string || a.wstring) {
      const lengthOffset = fn.kind === 'trusted' ? layout.add(BASIC_TYPES.size_t) : undefined;
      return { name, offset, pass: a.string ? 'string' : 'wstring', direction, lengthOffset };
    }
    const deep =
      variable.type.kind === 'pointer' &&
      variable.type.to.kind === 'struct' &&
      deepStructs.has(variable.type.to.name);
    const target = parameterTarget(variable, fn, table, deep);
    const single = a.size === undefined && a.count === undefined && target.element !== undefined;
    const shape = single ? 'one' : isByteLike(target.element) ? 'bytes' : 'many';
    return { name, offset, pass: 'buffer', direction, target, shape, deep };
  });
  const { size, align } = layout;
  const { name, switchless } = fn;
  return { name, size, align, returns, errnoOffset, parameters, switchless };
}

function parameterTarget(
  variable: EdlVariable,
  fn: EdlTrustedFunction | EdlUntrustedFunction,
  table: TypeTable,
  deep: boolean,
): Target {
  const { type, dimensions, attributes: a, span } = variable;
  const extent = (key: 'size' | 'count') => {
    const value = a?.[key];
    const isName = typeof value === 'string' && !fn.parameters.some(({ name }) => name === value);
    return isName ? table.constant(key, value, span) : value;
  };
  const size = extent('size');
  const count = extent('count');
  if (dimensions.length > 0 || a?.isary) {
    const element = table.variable(variable);
    return { element, unit: sizeOf(element), count: 1, multiple: 1 };
  }
  if (type.kind === 'pointer') return table.target(type.to, size, count, deep, span);
  const known = table.find(type, span);
  const element = known?.kind === 'pointer' ? known.to : undefined;
  if (size === undefined && element === undefined)
    throw new EdlError(
      'EDL_TYPE',
      `what '${variable.name}' points to has no known size`,
      span,
      "Give the type in `types` as { pointer: … }, or use 'size'.",
    );
  return {
    element,
    unit: size ?? (element === undefined ? 1 : sizeOf(element)),
    count: count ?? 1,
    multiple: 1,
  };
}

export function isByteLike(type: CType | undefined): boolean {
  return type === undefined || type.kind === 'bytes' || (type.kind === 'integer' && type.size === 1);
}
