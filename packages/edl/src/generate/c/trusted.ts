/** C of the trusted side of an interface, for this project's runtime: what sgx_edger8r makes for Intel's. */
import type { EdlFile } from '../../parse/ast.js';
import { refuseRemoved } from '../../parse/removed.js';
import { deepStructures } from './c-text.js';
import { ecallBridge } from './ecall-bridge.js';
import { trustedHeader } from './header.js';
import { ocallStub } from './ocall-stub.js';
import { structureText } from './structure.js';

/** Two files for an enclave project. */
export interface TrustedC {
  /** NAME_t.h: for authors. */
  readonly header: string;
  /** NAME_t.c: bridges, stubs and tables. */
  readonly source: string;
}

/**
 * Makes `NAME_t.h` and `NAME_t.c`. Every type must be known to C: by the file, or by the headers that it includes.
 * The bridges take any host that speaks the protocol of Intel's untrusted runtime.
 * @throws EDL_REMOVED for attributes that `allowRemoved` let through
 */
export function generateTrustedC(file: EdlFile): TrustedC {
  for (const fn of [...file.trusted, ...file.untrusted]) refuseRemoved(fn, file);
  const structures = deepStructures(file);
  const ecalls = file.trusted.map(({ name, isPublic }) => `    {bridge_${name}, ${isPublic ? 0 : 1}},`);
  const rows = file.untrusted.map(({ name, allow }) => {
    const allowed = new Set(allow.map((ecall) => ecall.name));
    return `    ${file.trusted.map((ecall) => (allowed.has(ecall.name) ? '1,' : '0,')).join(' ')} /* ${name} */`;
  });
  const lines = [
    '/* Made from an EDL file; changes are overwritten. */',
    `#include "${file.name}_t.h"`,
    '',
    ...file.trusted.flatMap(structureText),
    ...file.untrusted.flatMap(structureText),
    ...file.trusted.flatMap((fn) => ecallBridge(fn, structures)),
    ...file.untrusted.flatMap((fn, index) => ocallStub(fn, index, structures)),
    'const struct nsgx_edl_ecall nsgx_edl_ecalls[] = {',
    ...(ecalls.length > 0 ? ecalls : ['    {0, 0},']),
    '};',
    `const uint32_t nsgx_edl_ecall_count = ${file.trusted.length};`,
    'const uint8_t nsgx_edl_allowed[] = {',
    ...(file.trusted.length > 0 && rows.length > 0 ? rows : ['    0,']),
    '};',
    `const uint32_t nsgx_edl_ocall_count = ${file.untrusted.length};`,
  ];
  return { header: trustedHeader(file), source: `${lines.join('\n')}\n` };
}
