/** The stub of an OCALL: puts structure and buffers on the caller's stack, and takes the answer from there. */
import type { EdlComposite, EdlUntrustedFunction, EdlVariable } from '../../parse/ast.js';
import { deepMembersOf, isVoidType, passingOf, targetText } from './c-text.js';
import { ocallPrototype } from './header.js';
import { hasStructure } from './structure.js';

const CHECK = '    if (nsgx_status != SGX_SUCCESS) goto nsgx_end;';

/** C of the stub of the OCALL with the number `index`. */
export function ocallStub(
  fn: EdlUntrustedFunction,
  index: number,
  structures: ReadonlyMap<string, EdlComposite>,
): string[] {
  const { name, returns, parameters, propagateErrno } = fn;
  const head = `${ocallPrototype(fn)} {`;
  if (!hasStructure(fn)) return [head, `    return sgx_ocall(${index}, NULL);`, '}', ''];
  const passings = parameters.map((p) => passingOf(p, (other) => other, structures));
  const copied = passings.flatMap((p, i) => (p.kind === 'text' || p.kind === 'buffer' ? [i] : []));
  const deep = passings.some((p) => p.kind === 'buffer' && p.deep !== undefined);
  const lend: string[] = [];
  const recall: string[] = [];
  parameters.forEach((p, i) => {
    const passing = passings[i];
    const field = `    nsgx_ms.ms_${p.name}`;
    if (passing.kind === 'value') lend.push(`${field} = ${p.name};`);
    else if (passing.kind === 'address') lend.push(`${field} = (void *)${p.name};`);
    else if (passing.kind === 'text') {
      const length = `${passing.unit === '1u' ? 'strlen' : 'wcslen'}((const void *)${p.name}) + 1`;
      lend.push(
        `    nsgx_status = nsgx_edl_lend(&nsgx_p${i}, ${p.name}, ${passing.unit}, ${p.name} == NULL ? 0 : ${length}, 1u, true);`,
        CHECK,
        `${field} = nsgx_p${i}.theirs;`,
      );
      if (passing.output) recall.push(`    nsgx_edl_recall_text(&nsgx_p${i}, ${passing.unit});`);
    } else {
      lend.push(
        `    nsgx_status = nsgx_edl_lend(&nsgx_p${i}, ${p.name}, ${passing.unit}, ${passing.count}, ${passing.multiple}, ${passing.input});`,
        CHECK,
        ...(passing.deep === undefined ? [] : lendDeep(passing.deep, p, i)),
        `${field} = nsgx_p${i}.theirs;`,
      );
      if (!passing.output) return;
      recall.push(`    nsgx_edl_recall(&nsgx_p${i});`);
      if (passing.deep !== undefined) recall.push(...recallDeep(passing.deep, i));
    }
  });
  if (!isVoidType(returns))
    recall.push(
      `    if (retval != NULL) memcpy(retval, nsgx_theirs + offsetof(ms_${name}_t, ms_retval), sizeof *retval);`,
    );
  if (propagateErrno)
    recall.push(`    memcpy(&errno, nsgx_theirs + offsetof(ms_${name}_t, ocall_errno), sizeof errno);`);
  return [
    head,
    '    sgx_status_t nsgx_status;',
    '    uint64_t nsgx_stack = nsgx_edl_stack();',
    '    uint8_t *nsgx_theirs;',
    ...(deep ? ['    struct nsgx_edl_memory nsgx_memory = {0};'] : []),
    ...(copied.length > 0 ? [`    struct nsgx_edl_copy ${copied.map((i) => `nsgx_p${i}`).join(', ')};`] : []),
    `    ms_${name}_t nsgx_ms;`,
    // With its padding: nothing of this stack may go out.
    '    memset(&nsgx_ms, 0, sizeof nsgx_ms);',
    ...lend,
    `    nsgx_status = nsgx_edl_call(${index}, &nsgx_ms, sizeof nsgx_ms, &nsgx_theirs);`,
    ...(recall.length > 0 ? [CHECK, ...recall] : []),
    ...(recall.length > 0 || copied.length > 0 ? ['nsgx_end:'] : []),
    '    nsgx_edl_stack_back(nsgx_stack);',
    ...(deep ? ['    nsgx_edl_release(&nsgx_memory);'] : []),
    '    return nsgx_status;',
    '}',
    '',
  ];
}

/** Puts what members point to beside the structures, and its addresses into them. Reads the enclave's own ones only. */
function lendDeep(struct: EdlComposite, p: EdlVariable, i: number): string[] {
  const members = deepMembersOf(struct);
  return [
    `    struct nsgx_edl_copy *nsgx_d${i} = NULL;`,
    `    size_t nsgx_n${i} = nsgx_p${i}.length / sizeof(struct ${struct.name});`,
    `    nsgx_status = nsgx_edl_copies(&nsgx_memory, nsgx_n${i}, ${members.length}, &nsgx_d${i});`,
    CHECK,
    `    for (size_t nsgx_i = 0; nsgx_i < nsgx_n${i}; nsgx_i++) {`,
    `        const struct ${struct.name} *nsgx_item = ${p.name} + nsgx_i;`,
    ...members.flatMap(({ name, type, attributes: a }, m) => {
      const { unit, count, multiple } = targetText(type, a?.size, a?.count, item, false);
      const copy = `nsgx_d${i}[nsgx_i * ${members.length} + ${m}]`;
      return [
        `        nsgx_status = nsgx_edl_lend(&${copy}, nsgx_item->${name}, ${unit}, ${count}, ${multiple}, true);`,
        `    ${CHECK}`,
        `        ((struct ${struct.name} *)nsgx_p${i}.theirs)[nsgx_i].${name} = ${copy}.theirs;`,
      ];
    }),
    '    }',
  ];
}

/** The enclave's addresses come back first, in all structures: no address of the host's may stay, whatever fails. */
function recallDeep(struct: EdlComposite, i: number): string[] {
  const members = deepMembersOf(struct);
  const loop = [
    `    for (size_t nsgx_i = 0; nsgx_i < nsgx_n${i}; nsgx_i++) {`,
    `        struct ${struct.name} *nsgx_item = (struct ${struct.name} *)nsgx_p${i}.ours + nsgx_i;`,
  ];
  const copy = (m: number) => `nsgx_d${i}[nsgx_i * ${members.length} + ${m}]`;
  return [
    ...loop,
    ...members.map(({ name }, m) => `        nsgx_item->${name} = ${copy(m)}.ours;`),
    '    }',
    ...loop,
    ...members.flatMap(({ type, attributes: a }, m) => {
      const { unit, count, multiple } = targetText(type, a?.size, a?.count, item, false);
      return [
        `        nsgx_status = nsgx_edl_shorten(&${copy(m)}, ${unit}, ${count}, ${multiple});`,
        `    ${CHECK}`,
        `        nsgx_edl_recall(&${copy(m)});`,
      ];
    }),
    '    }',
  ];
}

const item = (name: string) => `nsgx_item->${name}`;
