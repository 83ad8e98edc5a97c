/** A compatibility report as a document. */
import type { CallOutcome, CompatReport, EnclaveReport, Failure } from './report.js';

const MIB = 2 ** 20;
const GOOD: readonly CallOutcome['outcome'][] = ['returned'];

/** Whether everything about an enclave went as it should: it loads, and what its plan tells comes true. */
export function isWorking({ loaded, failure, calls, inspection }: EnclaveReport): boolean {
  return (
    loaded &&
    failure === undefined &&
    inspection?.matches !== false &&
    calls.every(({ told, outcome }) => (told ? GOOD.includes(outcome) : outcome !== 'crashed'))
  );
}

/** The part of the document that a run writes. */
export function compatMarkdown({ place, enclaves }: CompatReport): string {
  const images = enclaves.filter(({ kind }) => kind === 'enclave');
  const calls = enclaves.flatMap((report) => report.calls);
  const told = calls.filter((call) => call.told);
  const good = told.filter(({ outcome }) => GOOD.includes(outcome));
  const guessed = calls.filter((call) => !call.told);
  const returned = guessed.filter(({ outcome }) => GOOD.includes(outcome));
  const lines = [
    `Run on ${place.date} with version ${place.version}: ${place.processor}, Linux ${place.kernel}, Node ${place.node}.`,
    '',
    `- ${images.length} enclaves; the measurement taken here is that of SIGSTRUCT for ${count(images, ({ inspection }) => inspection?.matches === true)}.`,
    `- ${count(images, ({ loaded }) => loaded)} load and initialise; ${count(images, ({ inspection }) => inspection?.mode === 'simulation')} were built for simulation and cannot.`,
    ...(told.length === 0
      ? []
      : [`- ${good.length} of ${told.length} calls and steps with a known outcome came out so.`]),
    ...(guessed.length === 0
      ? []
      : [
          `- ${returned.length} of ${guessed.length} further calls, made with zeros and empty buffers because nothing is ` +
            'known of them, returned; the others ended in an error of the enclave or at a time limit.',
        ]),
    '',
    '| enclave | SDK | metadata | threads | size | MRENCLAVE | loads | calls |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...images.map(row),
    '',
  ];
  const scenarios = enclaves.filter(({ kind }) => kind === 'scenario');
  if (scenarios.length > 0)
    lines.push(
      '### Scenarios',
      '',
      '| scenario | steps |',
      '| --- | --- |',
      ...scenarios.map(scenarioRow),
      '',
    );
  const details = detailLines(enclaves);
  if (details.length > 0) lines.push('### Notes, and what did not come out', '', ...details);
  return `${lines.join('\n').trimEnd()}\n`;
}

function count(reports: readonly EnclaveReport[], is: (report: EnclaveReport) => boolean): number {
  return reports.filter(is).length;
}

function row(report: EnclaveReport): string {
  const { file, title, inspection, loaded, failure } = report;
  const name = title === undefined ? code(file) : `${cell(title)} (${code(file)})`;
  const size =
    inspection === undefined ? '' : `${mebibytes(inspection.added)} of ${mebibytes(inspection.size)} MiB`;
  const measured = inspection === undefined ? '' : inspection.matches ? 'as signed' : 'differs';
  const cells = [
    name,
    inspection?.sdk ?? (inspection === undefined ? '' : 'unknown'),
    inspection?.metadata ?? '',
    inspection === undefined ? '' : `${inspection.threads}`,
    size,
    measured,
    loaded ? 'yes' : `no: ${failure === undefined ? '' : (failure.status ?? failure.code)}`,
    summary(report),
  ];
  return `| ${cells.join(' | ')} |`;
}

function summary({ loaded, edl, calls, leftOut }: EnclaveReport): string {
  if (!loaded) return '';
  if (edl === undefined) return 'no EDL file';
  const parts: string[] = [];
  for (const told of [true, false]) {
    const own = calls.filter((call) => call.told === told);
    if (own.length === 0) continue;
    const good = own.filter(({ outcome }) => GOOD.includes(outcome)).length;
    parts.push(
      told ? `${good} of ${own.length} as expected` : `${good} of ${own.length} returned with zeros`,
    );
  }
  const open = leftOut.filter(({ why }) => why !== 'private').length;
  if (open > 0) parts.push(`${open} not tried`);
  return parts.join(', ') || 'none to make';
}

function scenarioRow({ file, title, calls, failure }: EnclaveReport): string {
  const good = calls.filter(({ outcome }) => GOOD.includes(outcome)).length;
  const name = title === undefined ? code(file) : `${cell(title)} (${code(file)})`;
  const steps = calls.map(({ name: step, outcome }) => (GOOD.includes(outcome) ? step : `**${step}**`));
  const end = failure === undefined ? '' : `; then ${failureText(failure)}`;
  return `| ${name} | ${good} of ${calls.length}: ${cell(steps.join('; '))}${cell(end)} |`;
}

/** Notes, and what did not come out; files of which the same is to be said stand together. */
function detailLines(enclaves: readonly EnclaveReport[]): string[] {
  const alike = new Map<string, string[]>();
  for (const report of enclaves) {
    const text = detail(report).join('\n');
    if (text !== '') alike.set(text, [...(alike.get(text) ?? []), report.file]);
  }
  return [...alike].flatMap(([text, files]) => [`${files.map(code).join(', ')}`, '', text, '']);
}

function detail({ failure, noEdl, calls, zeros, note, loaded }: EnclaveReport): string[] {
  const bad = calls.filter(({ outcome }) => !GOOD.includes(outcome));
  const lines = note === undefined ? [] : [`- ${cell(note)}`];
  if (failure !== undefined) lines.push(`- ${failureText(failure)}`);
  if (noEdl !== undefined && loaded) lines.push(`- no call made: ${cell(noEdl)}`);
  const alike = new Map<string, string[]>();
  for (const call of bad) {
    const text = `${call.told ? '' : 'with zeros '}${outcomeText(call)}`;
    alike.set(text, [...(alike.get(text) ?? []), code(call.name)]);
  }
  for (const [text, names] of alike) lines.push(`- ${names.join(', ')}: ${text}`);
  if (bad.length > 0 && zeros.length > 0)
    lines.push(`- OCALLs answered with zeros: ${zeros.map(code).join(', ')}`);
  return lines;
}

function outcomeText({ name, outcome, failure, expected, result, out, milliseconds }: CallOutcome): string {
  if (outcome === 'hung') return `no end within ${Math.round(milliseconds / 1000)} s`;
  if (outcome === 'unexpected')
    return cell(`expected ${expected}, got ${JSON.stringify(out === undefined ? result : { result, out })}`);
  if (failure === undefined) return outcome;
  // Calls that failed alike are told together.
  return failureText({ ...failure, message: failure.message.replace(`ECALL ${name} failed`, 'failed') });
}

function failureText({ code: name, status, message }: Failure): string {
  const also = status !== null && !message.includes(status) ? `, ${status}` : '';
  // What the SDK's abort() and failed assertions execute.
  const abort = name === 'ENCLAVE_FAULT' && message.includes('#UD') ? ' (as abort() does)' : '';
  return cell(`${name}${also}: ${message}${abort}`);
}

function mebibytes(bytes: number): string {
  const value = bytes / MIB;
  return value < 10 ? value.toFixed(1) : `${Math.round(value)}`;
}

function code(text: string): string {
  return `\`${text.replaceAll('`', "'").replaceAll('|', '\\|')}\``;
}

/** Text that enclaves and files choose, so that it cannot end its cell or begin markup. */
function cell(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return (line.length > 500 ? `${line.slice(0, 500)}…` : line).replaceAll('|', '\\|').replaceAll('<', '&lt;');
}
