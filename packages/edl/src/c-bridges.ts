/**
 * C generated from an interface: `nsgx_interface.h` with the prototypes of what the author writes (ECALLs) and may call
 * (OCALLs), and the bridges that turn messages into calls.
 */
import type { FunctionDescription, InterfaceDescription, ValueType } from './interface.js';

const C_TYPES: Record<ValueType, string> = {
  i32: 'int32_t',
  u32: 'uint32_t',
  i64: 'int64_t',
  u64: 'uint64_t',
  f64: 'double',
  bool: 'bool',
  string: 'nsgx_string',
  bytes: 'nsgx_bytes',
};

function params(call: FunctionDescription, extra: string[] = []): string {
  const all = [...call.params.map((p) => `${C_TYPES[p.type]} ${p.name}`), ...extra];
  return all.length === 0 ? 'void' : all.join(', ');
}

function ecallPrototype(call: FunctionDescription): string {
  const type = call.returns === 'void' ? 'void' : C_TYPES[call.returns];
  return `${type} ${call.name}(${params(call)})`;
}

function ocallPrototype(call: FunctionDescription): string {
  const result = call.returns === 'void' ? [] : [`${C_TYPES[call.returns]} *nsgx_result`];
  return `nsgx_status ${call.name}(${params(call, result)})`;
}

/** The header for authors. */
export function generateHeader(calls: InterfaceDescription): string {
  const lines = [
    '/* Made from interface.json; changes are overwritten. */',
    '#ifndef NSGX_INTERFACE_H',
    '#define NSGX_INTERFACE_H',
    '',
    '#include "nsgx.h"',
    '',
    '/* ECALLs: to be written by the author of the enclave. Text and bytes given live until the call returns; text and',
    ' * bytes returned are copied out (nsgx_call_alloc gives memory that lives long enough). */',
    ...calls.ecalls.map((call) => `${ecallPrototype(call)};`),
    '',
    '/* OCALLs: answered by the host. Check the status; results live until the ECALL returns. Never trust them. */',
    ...calls.ocalls.map((call) => `${ocallPrototype(call)};`),
    '',
    '#endif',
  ];
  return `${lines.join('\n')}\n`;
}

function ecallBridge(call: FunctionDescription): string[] {
  const names = call.params.map((_, i) => `a${i}`);
  const invoke = `${call.name}(${names.join(', ')})`;
  return [
    `static void bridge_${call.name}(nsgx_reader *request, nsgx_writer *response) {`,
    ...call.params.map((p, i) => `    ${C_TYPES[p.type]} ${names[i]} = nsgx_read_${p.type}(request);`),
    '    if (!nsgx_read_end(request)) return;',
    ...(call.returns === 'void'
      ? [`    ${invoke};`, '    (void)response;']
      : [`    nsgx_write_${call.returns}(response, ${invoke});`]),
    '}',
    '',
  ];
}

function ocallStub(call: FunctionDescription, index: number): string[] {
  const zero =
    call.returns === 'string' || call.returns === 'bytes' ? `(${C_TYPES[call.returns]}){0, 0}` : '0';
  return [
    `${ocallPrototype(call)} {`,
    '    nsgx_writer nsgx_request;',
    '    nsgx_reader nsgx_response;',
    '    nsgx_writer_start(&nsgx_request);',
    ...call.params.map((p) => `    nsgx_write_${p.type}(&nsgx_request, ${p.name});`),
    `    nsgx_status nsgx_code = nsgx_ocall(${index}, &nsgx_request, &nsgx_response);`,
    '    nsgx_writer_free(&nsgx_request);',
    ...(call.returns === 'void' ? [] : [`    *nsgx_result = ${zero};`]),
    '    if (nsgx_code != NSGX_OK) return nsgx_code;',
    ...(call.returns === 'void'
      ? ['    return nsgx_read_end(&nsgx_response) ? NSGX_OK : NSGX_OCALL_FAILED;']
      : [
          `    ${C_TYPES[call.returns]} nsgx_value = nsgx_read_${call.returns}(&nsgx_response);`,
          '    if (!nsgx_read_end(&nsgx_response)) return NSGX_OCALL_FAILED;',
          '    *nsgx_result = nsgx_value;',
          '    return NSGX_OK;',
        ]),
    '}',
    '',
  ];
}

/** The C file with bridges, OCALL stubs and the dispatch table. */
export function generateBridges(calls: InterfaceDescription): string {
  const table = calls.ecalls.map((call) => `    bridge_${call.name},`);
  const lines = [
    '/* Made from interface.json; changes are overwritten. */',
    '#include "nsgx_interface.h"',
    '#include "nsgx_message.h"',
    '',
    ...calls.ecalls.flatMap(ecallBridge),
    ...calls.ocalls.flatMap(ocallStub),
    'const nsgx_ecall_bridge nsgx_ecall_table[] = {',
    ...(table.length > 0 ? table : ['    0,']),
    '};',
    `const uint32_t nsgx_ecall_count = ${calls.ecalls.length};`,
  ];
  return `${lines.join('\n')}\n`;
}
