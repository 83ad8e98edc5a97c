/** The marshalling structures `ms_NAME_t`, as sgx_edger8r lays them out. */
import type { EdlTrustedFunction, EdlUntrustedFunction } from '../../parse/ast.js';
import { typeText } from '../../parse/ast.js';
import { isVoidType } from './c-text.js';

/** Whether a call has a structure at all. */
export function hasStructure(fn: EdlTrustedFunction | EdlUntrustedFunction): boolean {
  return (
    !isVoidType(fn.returns) || fn.parameters.length > 0 || (fn.kind === 'untrusted' && fn.propagateErrno)
  );
}

/** C of the structure; what is passed by address is an address of anything. */
export function structureText(fn: EdlTrustedFunction | EdlUntrustedFunction): string[] {
  if (!hasStructure(fn)) return [];
  const fields = fn.parameters.flatMap(({ name, type, attributes: a }) => {
    if (a === undefined) return [`    ${typeText(type)} ms_${name};`];
    const length = fn.kind === 'trusted' && (a.string || a.wstring);
    return [`    void *ms_${name};`, ...(length ? [`    size_t ms_${name}_len;`] : [])];
  });
  return [
    `typedef struct ms_${fn.name}_t {`,
    ...(isVoidType(fn.returns) ? [] : [`    ${typeText(fn.returns)} ms_retval;`]),
    ...(fn.kind === 'untrusted' && fn.propagateErrno ? ['    int ocall_errno;'] : []),
    ...fields,
    `} ms_${fn.name}_t;`,
    '',
  ];
}
