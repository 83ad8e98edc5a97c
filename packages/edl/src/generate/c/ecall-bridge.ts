/** The trusted bridge of an ECALL: from the host's marshalling structure to the author's function and back. */
import type { EdlComposite, EdlTrustedFunction } from '../../parse/ast.js';
import { typeText } from '../../parse/ast.js';
import { deepMembersOf, isVoidType, type Passing, passingOf, targetText } from './c-text.js';
import { hasStructure } from './structure.js';

type Buffer = Extract<Passing, { kind: 'buffer' }>;

const CHECK = '    if (nsgx_status != SGX_SUCCESS) goto nsgx_end;';

/** C of the bridge, which has the name `bridge_NAME`. */
export function ecallBridge(fn: EdlTrustedFunction, structures: ReadonlyMap<string, EdlComposite>): string[] {
  const { name, returns, parameters } = fn;
  const head = [`static sgx_status_t bridge_${name}(void *nsgx_structure) {`];
  if (!hasStructure(fn)) {
    const refuse = '    if (nsgx_structure != NULL) return SGX_ERROR_INVALID_PARAMETER;';
    return [...head, refuse, `    ${name}();`, '    return SGX_SUCCESS;', '}', ''];
  }
  const passings = parameters.map((p) => passingOf(p, (other) => `nsgx_ms.ms_${other}`, structures));
  const copied = passings.flatMap((p, i) => (p.kind === 'text' || p.kind === 'buffer' ? [i] : []));
  const take: string[] = [];
  const give: string[] = [];
  const args = parameters.map((p, i) => {
    const passing = passings[i];
    const field = `nsgx_ms.ms_${p.name}`;
    if (passing.kind === 'value') return field;
    const text = passing.kind === 'address' ? field : `nsgx_p${i}.ours`;
    if (passing.kind === 'text') {
      take.push(
        `    nsgx_status = nsgx_edl_take_text(&nsgx_memory, &nsgx_p${i}, ${field}, nsgx_ms.ms_${p.name}_len, ${passing.unit});`,
        CHECK,
      );
      if (passing.output) give.push(`    nsgx_edl_give_text(&nsgx_p${i}, ${passing.unit});`);
    } else if (passing.kind === 'buffer') {
      take.push(
        `    nsgx_status = nsgx_edl_take(&nsgx_memory, &nsgx_p${i}, ${field}, ${passing.unit}, ${passing.count}, ${passing.multiple}, ${passing.input});`,
        CHECK,
      );
      if (passing.deep !== undefined) take.push(...takeDeep(passing.deep, i));
      if (passing.output) give.push(...giveDeep(passing, i), `    nsgx_edl_give(&nsgx_p${i});`);
    }
    return p.attributes?.isary ? `*(${typeText(p.type)} *)${text}` : text;
  });
  const call = `${name}(${args.join(', ')});`;
  const result = isVoidType(returns)
    ? [`    ${call}`]
    : [
        `    ${typeText(returns)} nsgx_result = ${call}`,
        `    memcpy((uint8_t *)nsgx_structure + offsetof(ms_${name}_t, ms_retval), &nsgx_result, sizeof nsgx_result);`,
      ];
  const open = [
    `    ms_${name}_t nsgx_ms;`,
    '    if (!nsgx_copy_in(&nsgx_ms, nsgx_structure, sizeof nsgx_ms)) return SGX_ERROR_INVALID_PARAMETER;',
  ];
  if (copied.length === 0) return [...head, ...open, ...result, '    return SGX_SUCCESS;', '}', ''];
  return [
    ...head,
    ...open,
    '    sgx_status_t nsgx_status;',
    '    struct nsgx_edl_memory nsgx_memory = {0};',
    `    struct nsgx_edl_copy ${copied.map((i) => `nsgx_p${i}`).join(', ')};`,
    ...take,
    ...result,
    ...give,
    'nsgx_end:',
    '    nsgx_edl_release(&nsgx_memory);',
    '    return nsgx_status;',
    '}',
    '',
  ];
}

/** After the structures were copied: what their members point to, whose addresses and lengths are now in the copy. */
function takeDeep(struct: EdlComposite, i: number): string[] {
  const members = deepMembersOf(struct);
  return [
    `    struct nsgx_edl_copy *nsgx_d${i} = NULL;`,
    `    size_t nsgx_n${i} = nsgx_p${i}.length / sizeof(struct ${struct.name});`,
    `    nsgx_status = nsgx_edl_copies(&nsgx_memory, nsgx_n${i}, ${members.length}, &nsgx_d${i});`,
    CHECK,
    `    for (size_t nsgx_i = 0; nsgx_i < nsgx_n${i}; nsgx_i++) {`,
    `        struct ${struct.name} *nsgx_item = (struct ${struct.name} *)nsgx_p${i}.ours + nsgx_i;`,
    ...members.flatMap(({ name, type, attributes: a }, m) => {
      const { unit, count, multiple } = targetText(type, a?.size, a?.count, item, false);
      const copy = `nsgx_d${i}[nsgx_i * ${members.length} + ${m}]`;
      return [
        `        nsgx_status = nsgx_edl_take(&nsgx_memory, &${copy}, (void *)nsgx_item->${name}, ${unit}, ${count}, ${multiple}, true);`,
        `    ${CHECK}`,
        `        nsgx_item->${name} = ${copy}.ours;`,
      ];
    }),
    '    }',
  ];
}

/** Before the structures go back: what members pointed to, never more than came, and their first addresses. */
function giveDeep({ deep: struct }: Buffer, i: number): string[] {
  if (struct === undefined) return [];
  const members = deepMembersOf(struct);
  return [
    `    for (size_t nsgx_i = 0; nsgx_i < nsgx_n${i}; nsgx_i++) {`,
    `        struct ${struct.name} *nsgx_item = (struct ${struct.name} *)nsgx_p${i}.ours + nsgx_i;`,
    ...members.flatMap(({ name, type, attributes: a }, m) => {
      const { unit, count, multiple } = targetText(type, a?.size, a?.count, item, false);
      const copy = `nsgx_d${i}[nsgx_i * ${members.length} + ${m}]`;
      return [
        `        nsgx_status = nsgx_edl_shorten(&${copy}, ${unit}, ${count}, ${multiple});`,
        `    ${CHECK}`,
        `        nsgx_edl_give(&${copy});`,
        `        nsgx_item->${name} = ${copy}.theirs;`,
      ];
    }),
    '    }',
  ];
}

const item = (name: string) => `nsgx_item->${name}`;
