/** The attributes in brackets, with the rules of sgx_edger8r on which go together. */
import { type EdlAttributes, type EdlExtent, type EdlType, type EdlVariable, typeText } from './ast.js';
import { EdlError, type Span } from './source.js';

export interface AttributeToken {
  readonly key: string;
  readonly value?: EdlExtent;
  readonly span: Span;
}

export const NO_ATTRIBUTES: EdlAttributes = Object.freeze({
  string: false,
  wstring: false,
  isptr: false,
  isary: false,
  readonly: false,
  userCheck: false,
});

const FLAGS: Record<string, 'string' | 'wstring' | 'isptr' | 'isary' | 'readonly' | 'userCheck'> = {
  string: 'string',
  wstring: 'wstring',
  isptr: 'isptr',
  isary: 'isary',
  readonly: 'readonly',
  user_check: 'userCheck',
};
const REMOVED = 'sizefunc';
const KNOWN = 'in, out, size, count, string, wstring, user_check, isptr, isary, readonly';

function fail(problem: string, span: Span, advice?: string): never {
  throw new EdlError('EDL_ATTRIBUTE', problem, span, advice);
}

/** The attribute of the list that the language no longer has. */
export function findRemoved(list: readonly AttributeToken[]): EdlVariable['removed'] {
  const found = list.find(({ key }) => key === REMOVED);
  return found && { name: found.key, span: found.span };
}

/** EDL_REMOVED for the attribute at a place. */
export function removedError(span: Span): EdlError {
  return new EdlError(
    'EDL_REMOVED',
    `the attribute '${REMOVED}' was removed from the language, expected 'size'`,
    span,
    'Pass the size as a parameter and name it: [in, size=n].',
  );
}

/** Collects attributes. @throws EDL_ATTRIBUTE for an unknown or repeated one, EDL_REMOVED for `sizefunc` */
export function collectAttributes(list: readonly AttributeToken[]): EdlAttributes {
  const found: { -readonly [K in keyof EdlAttributes]: EdlAttributes[K] } = { ...NO_ATTRIBUTES };
  for (const { key, value, span } of list) {
    if (key === REMOVED) throw removedError(span);
    if (key === 'size' || key === 'count') {
      if (value === undefined) fail(`'${key}' has no value, expected '${key}=' and a number or a name`, span);
      if (found[key] !== undefined) fail(`'${key}' appears twice`, span);
      found[key] = value;
      continue;
    }
    if (value !== undefined && (key in FLAGS || key === 'in' || key === 'out'))
      fail(`'${key}' takes no value`, span);
    if (key === 'in' || key === 'out') {
      if (found.direction === key || found.direction === 'inout') fail(`'${key}' appears twice`, span);
      found.direction = found.direction === undefined ? key : 'inout';
    } else if (Object.hasOwn(FLAGS, key)) found[FLAGS[key]] = true;
    else fail(`'${key}' is not an attribute, expected one of ${KNOWN}`, span);
  }
  return found;
}

/** Rules for the attributes of a parameter that is passed by address, as far as they need no type. */
export function checkParameterAttributes(a: EdlAttributes, span: Span): void {
  const text = a.string || a.wstring;
  const sized = a.size !== undefined || a.count !== undefined;
  if (a.string && a.wstring) fail("'string' and 'wstring' exclude each other", span);
  if (a.isary) {
    if (sized) fail("'size' and 'count' cannot be used with 'isary'", span);
    if (text) fail("'isary' cannot be used with 'string' or 'wstring'", span);
    if (a.isptr) fail("'isary' cannot be used with 'isptr'", span);
    if (!a.userCheck && a.direction === undefined)
      fail("an array needs a direction, expected 'in', 'out' or 'user_check'", span);
    if (a.userCheck && a.direction !== undefined)
      fail("a direction and 'user_check' exclude each other", span);
    return;
  }
  if (sized && text) fail("'size' and 'count' cannot be used with 'string' or 'wstring'", span);
  if ((sized || text) && a.direction === undefined)
    fail("'size', 'count', 'string' and 'wstring' need a direction, expected 'in' or 'out' as well", span);
  if (a.direction !== undefined && a.userCheck) fail("a direction and 'user_check' exclude each other", span);
  if (a.direction === undefined && !a.userCheck)
    fail('a pointer or array needs a direction, expected [in], [out], [in, out] or [user_check]', span);
  if (a.direction === 'out' && text) fail("'string' and 'wstring' need 'in' as well", span);
}

/** Rules that join attributes to the type; `constant` is a `const` in front of the type. */
export function checkParameterType(
  a: EdlAttributes,
  type: EdlType,
  dimensions: readonly number[],
  constant: boolean,
  name: string,
  span: Span,
): void {
  const bare = type.kind === 'foreign';
  if (!constant) {
    if (a.isptr && !bare) fail(`'isptr' is for types of C headers, not for '${typeText(type)}'`, span);
    if (a.isary && !bare) fail(`'isary' is for types of C headers, not for '${typeText(type)}'`, span);
    if (a.readonly && !isForeign(type))
      fail(
        `'readonly' is for types of C headers, not for '${typeText(type)}'`,
        span,
        "Write 'const' instead.",
      );
    if (a.readonly && !a.isptr) fail("'readonly' needs 'isptr' as well", span);
  }
  const pointer = type.kind === 'pointer';
  if (pointer && isVoid(type.to) && !a.userCheck && a.size === undefined)
    fail(`the size of what '${name}' points to is unknown, expected 'size' or 'user_check'`, span);
  if ((dimensions.length > 0 || a.isary) && (pointer || a.isptr))
    fail(`'${name}' is an array of pointers`, span);
  if ((constant || a.readonly) && (a.direction === 'out' || a.direction === 'inout'))
    fail(`'${name}' is constant and cannot be an 'out' parameter`, span);
  if (a.string && !(pointer && isBasic(type.to, 'char', 'unsigned char')))
    fail(`'string' is for char pointers, not for '${typeText(type)}'`, span);
  if (a.wstring && !(pointer && isBasic(type.to, 'wchar_t')))
    fail(`'wstring' is for wchar_t pointers, not for '${typeText(type)}'`, span);
  if (dimensions.length > 0) {
    if (a.size !== undefined) fail(`'size' cannot be used with the array '${name}'`, span);
    if (a.count !== undefined) fail(`'count' cannot be used with the array '${name}'`, span);
    if (a.isary) fail(`'isary' cannot be used with the array '${name}'`, span);
  }
}

/** Rules for a member with attributes: a deep copy. */
export function checkMemberAttributes(
  a: EdlAttributes,
  type: EdlType,
  dimensions: readonly number[],
  span: Span,
): void {
  if (a.size === undefined && a.count === undefined)
    fail("a member with attributes is a deep copy, expected 'size' or 'count'", span);
  if (a.direction !== undefined)
    fail('a member cannot have a direction', span, 'It goes the way of the structure that it is in.');
  for (const key of ['isptr', 'isary', 'readonly', 'string', 'wstring'] as const)
    if (a[key]) fail(`a member cannot have '${key}'`, span);
  if (a.userCheck) fail("'user_check' and a deep copy exclude each other", span);
  if (type.kind !== 'pointer' || dimensions.length > 0)
    fail(
      `only a pointer can be copied deeply, not '${typeText(type)}${dimensions.length > 0 ? '[]' : ''}'`,
      span,
    );
}

export function isVoid(type: EdlType): boolean {
  return isBasic(type, 'void');
}

function isBasic(type: EdlType, ...names: string[]): boolean {
  return type.kind === 'basic' && names.includes(type.name);
}

function isForeign(type: EdlType): boolean {
  return type.kind === 'pointer' ? isForeign(type.to) : type.kind === 'foreign';
}
