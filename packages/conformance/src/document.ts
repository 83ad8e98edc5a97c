/** docs/CONFORMANCE.md: leaf functions, their checks, cases and deviations, from the tables that the code runs on. */
import { ENCLS_LEAVES, ENCLU_LEAVES } from '@nestedsgx/monitor';
import type { ConformanceCase } from './case.js';
import { DEVIATIONS } from './deviations.js';

type Row = (typeof ENCLS_LEAVES)[number] | (typeof ENCLU_LEAVES)[number];

const cell = (text: string) => text.replaceAll('|', '\\|');
const hex = (number: number) => `0x${number.toString(16).padStart(2, '0').toUpperCase()}`;

function checksOf(row: Row): string[] {
  if (row.checks.rows.length === 0) return ['No checks of its own.', ''];
  const lines = ['| # | check | when it fails | must hold |', '|---|---|---|---|'];
  row.checks.rows.forEach(({ id, outcome, requires, deviation, processor }, i) => {
    const whose = deviation ? ' (not the manual’s)' : processor ? ' (the processor checks)' : '';
    const text = `${requires}${whose}`;
    lines.push(`| ${i} | \`${id}\` | ${outcome === 'REFUSED' ? 'refused' : outcome} | ${cell(text)} |`);
  });
  return [...lines, ''];
}

function casesOf(names: readonly string[], cases: readonly ConformanceCase[]): string[] {
  const its = cases.filter((one) => names.includes(one.leaf));
  if (its.length === 0) return [];
  const line = ({ id, title, deviation }: ConformanceCase) =>
    `- \`${id}\`: ${title}${deviation === undefined ? '' : ` (deviation \`${deviation}\`)`}`;
  return ['Conformance cases:', '', ...its.map(line), ''];
}

function leafSection(kind: string, row: Row, cases: readonly ConformanceCase[]): string[] {
  const deviations = DEVIATIONS.filter(({ leaves }) => leaves.includes(row.name)).map(
    ({ id }) => `\`${id}\``,
  );
  return [
    `### ${kind}[${row.name}] (${hex(row.number)})`,
    '',
    `${row.section}. Operands: ${row.operands}.`,
    '',
    `Support: ${row.support}.${deviations.length === 0 ? '' : ` Deviations: ${deviations.join(', ')}.`}`,
    '',
    ...checksOf(row),
    ...casesOf([row.name], cases),
  ];
}

/** The document as Markdown. */
export function conformanceDocument(cases: readonly ConformanceCase[]): string {
  const checks = [...ENCLS_LEAVES, ...ENCLU_LEAVES].reduce((sum, row) => sum + row.checks.rows.length, 0);
  return [
    '# Conformance',
    '',
    '<!-- Made by `nsgx conformance --document docs/CONFORMANCE.md` from the leaf table. Do not edit. -->',
    '',
    `${ENCLS_LEAVES.length} ENCLS and ${ENCLU_LEAVES.length} ENCLU leaf functions with ${checks} checks in the order of the manual’s pseudo-code`,
    '(Intel SDM Vol. 3D). Every check of the monitor has a unit test that trips exactly it: the type of a leaf’s test table',
    'demands a case for each row. Checks that the processor makes at the moment of the instruction are the runner’s; package',
    'cpu tries those that a gate can reach (a gate names neither TCS nor AEP, so it cannot name wrong ones). The conformance',
    'cases below drive enclaves from outside, through the interface of Linux’s `/dev/sgx_enclave`, and are written to run on',
    'real hardware too:',
    '',
    '    nsgx conformance                                  # this machine',
    '    nsgx conformance --platform /dev/sgx_enclave      # a processor with SGX (not yet run by us)',
    '',
    'A check that fails gives the fault or code of its row; *refused* is an answer of the platform, not of the leaf.',
    '',
    '## Deviations',
    '',
    '| name | concerns | what differs | why |',
    '|---|---|---|---|',
    ...DEVIATIONS.map(
      ({ id, leaves, what, reason }) =>
        `| \`${id}\` | ${leaves.join(', ') || 'execution'} | ${cell(what)} | ${cell(reason)} |`,
    ),
    '',
    '## Execution',
    '',
    ...casesOf(['EXCEPTION', 'ENCLU'], cases),
    '## ENCLS',
    '',
    ...ENCLS_LEAVES.flatMap((row) => leafSection('ENCLS', row, cases)),
    '## ENCLU',
    '',
    ...ENCLU_LEAVES.flatMap((row) => leafSection('ENCLU', row, cases)),
  ]
    .join('\n')
    .trimEnd()
    .concat('\n');
}
