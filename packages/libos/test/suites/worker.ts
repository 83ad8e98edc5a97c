/** Runs the invocations of one suite from a number on, and tells its parent each outcome: `worker SUITE FIRST FOLDER`. */
import { Inside } from '../inside.js';
import { compare, SUITES } from './run.js';

const [name = '', first = '0', folder = ''] = process.argv.slice(2);
const cases = SUITES.find((suite) => suite.name === name)?.cases(folder) ?? [];
await using machine = await Inside.open();
for (let i = Number(first); i < cases.length; i++) {
  let outcome: unknown;
  try {
    outcome = await compare(machine, cases[i]!);
  } catch (error) {
    outcome = { kind: 'differs', text: `fails: ${(error as Error).message.split('\n')[0]}` };
  }
  process.send?.({ i, outcome });
}
process.disconnect?.();
