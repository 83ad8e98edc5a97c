/** The process that tries one enclave: whatever the enclave does to it, the run goes on. Its parent sets time limits. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DescribeOptions, EdlDescription } from '@nestedsgx/edl';
import { loadSignedSoFile } from '@nestedsgx/image/node';
import { Cvm, openEdl } from '@nestedsgx/sdk';
import { EnclaveCalls } from './calls.js';
import { chooseEdl } from './edl-fit.js';
import { failureOf, tidy } from './failure.js';
import { inspectFile } from './inspect.js';
import { callsOf, type Plan, readPlan } from './plan.js';
import type { ChildMessage, ChildTask } from './report.js';

/** Names a step of a scenario and makes it. */
export type Check = (what: string, step: () => unknown) => Promise<unknown>;

/** What a NAME.compat.mjs exports by default. */
export type Scenario = (cvm: Cvm, folder: string, check: Check) => unknown;

function send(message: ChildMessage): void {
  process.send?.(message);
}

async function tryEnclave({ path, root, from }: ChildTask): Promise<void> {
  const image = loadSignedSoFile(path);
  send({ kind: 'inspected', inspection: inspectFile(image) });
  const plan = readPlan(path);
  const edl = interfaceOf(path, root, plan, image);
  const { calls, leftOut } = edl === undefined ? { calls: [], leftOut: [] } : callsOf(plan, edl);
  send({
    kind: 'plan',
    calls: calls.map(({ name, seconds }) => ({ name, seconds })),
    leftOut,
    told: plan.calls !== undefined,
    title: plan.title,
    note: plan.note,
  });
  const files = plan.files ? mkdtempSync(join(tmpdir(), 'nsgx-compat-')) : undefined;
  const cvm = await Cvm.launch({ stateDir: null });
  try {
    const enclave = new EnclaveCalls(cvm, { path, root, plan, edl, files }, (name) =>
      send({ kind: 'zeros', name }),
    );
    await enclave.load();
    send({ kind: 'loaded' });
    for (let index = from; index < calls.length; index++) {
      send({ kind: 'calling', index });
      send({ kind: 'called', index, call: await enclave.call(calls[index]!) });
    }
    await enclave.close();
  } finally {
    await cvm.close();
    if (files !== undefined) rmSync(files, { recursive: true, force: true });
  }
}

function interfaceOf(
  path: string,
  root: string,
  plan: Plan,
  image: ReturnType<typeof loadSignedSoFile>,
): EdlDescription | undefined {
  const types = plan.types as DescribeOptions['types'];
  if (plan.edl !== undefined) {
    send({ kind: 'edl', edl: { file: relative(root, plan.edl), fit: 'told' } });
    return openEdl(plan.edl, plan.edlPath, types, plan.constants);
  }
  const found = chooseEdl(path, root, image, plan.edlPath, types, plan.constants);
  if ('why' in found) {
    send({ kind: 'edl', noEdl: tidy(found.why, root) });
    return undefined;
  }
  send({ kind: 'edl', edl: found.choice });
  return found.edl;
}

async function tryScenario({ path, root }: ChildTask): Promise<void> {
  const module_ = (await import(pathToFileURL(path).href)) as { default?: Scenario; title?: string };
  if (typeof module_.default !== 'function')
    throw new TypeError(`${basename(path)} has no function as its default export`);
  send({ kind: 'plan', calls: [], leftOut: [], told: true, title: module_.title });
  const cvm = await Cvm.launch({ stateDir: null });
  let index = 0;
  const check: Check = async (what, step) => {
    const at = index++;
    send({ kind: 'calling', index: at, name: what });
    const start = performance.now();
    const done = { name: what, told: true, milliseconds: 0 };
    try {
      const value = await step();
      const milliseconds = performance.now() - start;
      send({ kind: 'called', index: at, call: { ...done, milliseconds, outcome: 'returned' } });
      return value;
    } catch (error) {
      const milliseconds = performance.now() - start;
      const failure = failureOf(error, root);
      send({ kind: 'called', index: at, call: { ...done, milliseconds, outcome: 'failed', failure } });
      return undefined;
    }
  };
  try {
    send({ kind: 'loaded' });
    await module_.default(cvm, dirname(path), check);
  } finally {
    await cvm.close();
  }
}

// A listener that stays keeps the process alive, also while an enclave waits for what never comes.
process.on('message', (task: ChildTask) => {
  (task.kind === 'enclave' ? tryEnclave(task) : tryScenario(task))
    .catch((error) => send({ kind: 'failed', failure: failureOf(error, task.root) }))
    .finally(() => {
      send({ kind: 'done' });
      process.disconnect?.();
    });
});
