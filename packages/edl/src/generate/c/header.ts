/** NAME_t.h: types of the interface, prototypes of the ECALLs that authors write and of the OCALLs that they call. */
import type {
  EdlFile,
  EdlTrustedFunction,
  EdlTypeDefinition,
  EdlUntrustedFunction,
} from '../../parse/ast.js';
import { typeText } from '../../parse/ast.js';
import { isVoidType, parameterText } from './c-text.js';

/** The prototype of an ECALL, as the author defines it. */
function ecallPrototype({ returns, name, parameters }: EdlTrustedFunction): string {
  const list = parameters.map(parameterText).join(', ');
  return `${typeText(returns)} ${name}(${list === '' ? 'void' : list})`;
}

/** The prototype of an OCALL's stub. */
export function ocallPrototype({ returns, name, parameters }: EdlUntrustedFunction): string {
  const list = parameters.map(parameterText);
  if (!isVoidType(returns)) list.unshift(`${typeText(returns)}* retval`);
  return `sgx_status_t SGX_CDECL ${name}(${list.length === 0 ? 'void' : list.join(', ')})`;
}

function definition(type: EdlTypeDefinition): string[] {
  if (type.kind === 'enum') {
    const constants = type.constants.map(
      ({ name, value }) => `    ${name}${value === undefined ? '' : ` = ${value}`},`,
    );
    return type.name === undefined
      ? ['enum {', ...constants, '};', '']
      : [`typedef enum ${type.name} {`, ...constants, `} ${type.name};`, ''];
  }
  // Headers may define the type as well: they say so with this name, as for sgx_edger8r.
  return [
    `#ifndef _${type.name}`,
    `#define _${type.name}`,
    `typedef ${type.kind} ${type.name} {`,
    ...type.members.map((member) => `    ${parameterText(member)};`),
    `} ${type.name};`,
    '#endif',
    '',
  ];
}

/** NAME_t.h of an interface. */
export function trustedHeader(file: EdlFile): string {
  const guard = `${file.name.replace(/[^A-Za-z0-9]/g, '_').toUpperCase()}_T_H__`;
  const includes = [...new Set([...file.includes, ...file.trustedIncludes])];
  const lines = [
    '/* Made from an EDL file; changes are overwritten. */',
    `#ifndef ${guard}`,
    `#define ${guard}`,
    '',
    '#include <stddef.h>',
    '#include <stdint.h>',
    '#include <stdlib.h>',
    '#include <wchar.h>',
    '',
    '#include "nsgx_edl.h"',
    ...includes.map((name) => `#include "${name}"`),
    '',
    ...file.types.flatMap(definition),
    '/* ECALLs: to be written by the author of the enclave. */',
    ...file.trusted.map((fn) => `${ecallPrototype(fn)};`),
    '',
    '/* OCALLs: answered by the host, so never to be trusted. What they give counts only with SGX_SUCCESS. */',
    ...file.untrusted.map((fn) => `${ocallPrototype(fn)};`),
    '',
    '#endif',
  ];
  return `${lines.join('\n')}\n`;
}
