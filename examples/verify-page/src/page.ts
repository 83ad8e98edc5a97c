/** The page: files in, checks out. */
import {
  AttestError,
  type Check,
  collateralFromFiles,
  parsePolicyText,
  type Verdict,
  verify,
} from '@nestedsgx/attest';
import { type GivenFile, sortFile } from './files.js';

const STRICT = '{ "version": 1 }';
/** Above every file that is read. */
const LARGEST = 4 * 1024 * 1024;

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const [drop, input, given] = ['drop', 'files', 'given'].map((id) => element(id)) as [
  HTMLElement,
  HTMLInputElement,
  HTMLUListElement,
];
const time = element<HTMLInputElement>('time');
const reportData = element<HTMLInputElement>('report-data');
const policy = element<HTMLTextAreaElement>('policy');

const files = new Map<string, GivenFile>();
/** Counts judgements, so that one that was overtaken is not shown. */
let turn = 0;

async function take(list: FileList | null): Promise<void> {
  for (const file of list ?? []) {
    if (file.size > LARGEST) {
      problem(`${file.name} has ${file.size} bytes: no file of this kind is larger than ${LARGEST}.`);
      return;
    }
    const sorted = sortFile(file.name, new Uint8Array(await file.arrayBuffer()));
    // One piece of evidence and one policy at a time; collateral adds up.
    if (sorted.role === 'evidence')
      for (const [name, other] of files) if (other.role === 'evidence') files.delete(name);
    if (sorted.role === 'policy') policy.value = new TextDecoder().decode(sorted.bytes).trim();
    else files.set(sorted.name, sorted);
  }
  showFiles();
  await judge();
}

function showFiles(): void {
  given.replaceChildren(
    ...[...files.values()].map(({ name, label, role }) => {
      const item = document.createElement('li');
      item.className = role === 'unknown' ? 'unused' : '';
      const remove = document.createElement('button');
      remove.type = 'button';
      remove.textContent = '×';
      remove.setAttribute('aria-label', `Remove ${name}`);
      remove.addEventListener('click', () => {
        files.delete(name);
        showFiles();
        void judge();
      });
      const what = document.createElement('small');
      what.textContent = label;
      item.append(name, what, remove);
      return item;
    }),
  );
}

function problem(text: string | null): void {
  const box = element('problem');
  box.hidden = text === null;
  box.textContent = text ?? '';
}

async function judge(): Promise<void> {
  const mine = ++turn;
  const evidence = [...files.values()].find(({ role }) => role === 'evidence');
  const result = element('result');
  problem(null);
  if (evidence === undefined) {
    result.hidden = true;
    if (files.size > 0)
      problem('None of these files is evidence: drop a quote, a report or evidence as well.');
    return;
  }
  const collateral = [...files.values()].filter(({ role }) => role === 'collateral');
  try {
    const verdict = await verify(evidence.bytes, {
      policy: parsePolicyText(policy.value.trim() || STRICT),
      collateral: collateralFromFiles(collateral.map((file) => [file.collateral!, file.bytes])),
      ...(time.value.trim() === '' ? {} : { time: time.value.trim() }),
      ...(reportData.value.trim() === '' ? {} : { reportData: reportData.value.replace(/\s/g, '') }),
    });
    if (mine === turn) showVerdict(evidence, verdict);
  } catch (error) {
    if (!(error instanceof AttestError)) throw error;
    result.hidden = true;
    if (mine === turn) problem(`${error.message} ${error.advice ?? ''}`);
  }
}

function showVerdict(evidence: GivenFile, { verdict, checks, claims }: Verdict): void {
  const heading = element('verdict');
  heading.textContent = verdict === 'accepted' ? 'Accepted' : 'Rejected';
  heading.className = verdict;
  const count = (status: Check['status']) => checks.filter((check) => check.status === status).length;
  const failed = checks.filter((check) => check.status === 'failed').map(({ id }) => id);
  element('summary').textContent =
    `${evidence.name} (${evidence.label}): ${count('ok')} checks ok, ${count('skipped')} skipped, ` +
    (failed.length === 0 ? 'none failed.' : `${failed.length} failed: ${failed.join(', ')}.`);
  element('checks').replaceChildren(...checks.map(checkRow));
  element('claims').textContent = JSON.stringify(claims, null, 2);
  element('claims-note').textContent =
    verdict === 'accepted'
      ? 'What the evidence says.'
      : 'What the evidence says. Not to be believed: it is rejected.';
  element('result').hidden = false;
}

function checkRow({ id, status, detail }: Check): HTMLTableRowElement {
  const row = document.createElement('tr');
  for (const [text, style] of [
    [id, ''],
    [status === 'failed' ? 'FAILED' : status, status],
    [status === 'ok' ? detail : `because ${detail}`, ''],
  ] as const) {
    const cell = row.insertCell();
    cell.textContent = text;
    cell.className = style;
  }
  return row;
}

policy.value = STRICT;
input.addEventListener('change', () => {
  void take(input.files).then(() => {
    input.value = '';
  });
});
for (const field of [time, reportData, policy]) field.addEventListener('input', () => void judge());
for (const name of ['dragover', 'dragleave', 'drop'] as const) {
  // Anywhere on the page: a file that misses the box would otherwise replace the page.
  document.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle('over', name === 'dragover');
    if (name === 'drop') void take(event.dataTransfer?.files ?? null);
  });
}
