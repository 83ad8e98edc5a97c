import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Person } from '../people.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';

const SIGABRT = 6;
const WAIT_MS = 400;

/** Where this kernel puts core files of a process that works in `/`. */
function corePlace(): { pattern: string; folder: string | null } {
  const pattern = readFileSync('/proc/sys/kernel/core_pattern', 'latin1').trim();
  if (pattern.startsWith('|')) return { pattern, folder: null };
  return { pattern, folder: isAbsolute(pattern) ? dirname(pattern) : '/' };
}

function newFiles(folder: string | null, since: number): string[] {
  if (folder === null || folder.includes('%') || !existsSync(folder)) return [];
  return readdirSync(folder)
    .map((name) => join(folder, name))
    .filter((path) => {
      try {
        return statSync(path).isFile() && statSync(path).mtimeMs >= since;
      } catch {
        return false;
      }
    });
}

/** Aborts a runner that holds a secret of its own, and looks for what it left. */
async function abortRunner(stage: Stage, person: Person): Promise<Finding> {
  const vault = await stage.anotherVault();
  const pid = await stage.runnerOf(vault);
  const { pattern, folder } = corePlace();
  const since = Date.now() - 1;
  try {
    const adversary = await stage.adversary(person);
    const outcome = await adversary.act('abort', { pid, signal: SIGABRT });
    let told = '';
    if (outcome.signal === 'sent') {
      const started = performance.now();
      while (performance.now() - started < WAIT_MS) {
        told = stateOf(vault);
        if (told !== 'running') break;
        await new Promise<void>((resolve) => setTimeout(resolve, 5));
      }
      await new Promise<void>((resolve) => setTimeout(resolve, 20));
    }
    const cores = newFiles(folder, since);
    const leaked = cores.filter((path) => safely(() => leaks(vault.secret, readFileSync(path))));
    const looked =
      folder === null ? `core pattern "${pattern}" pipes to a program` : `no core file in ${folder}`;
    return finding(
      person.label,
      `core limit: ${outcome.core}; SIGABRT: ${outcome.signal}${told === '' ? '' : `, enclave ${told}`}; ${looked}`,
      [leaked.length > 0 && `the core file ${leaked[0]} holds the secret`],
    );
  } finally {
    await vault.close();
  }
}

function stateOf(vault: { enclave: { status(): { state: string } } }): string {
  try {
    return vault.enclave.status().state;
  } catch {
    return 'lost';
  }
}

function safely(look: () => boolean): boolean {
  try {
    return look();
  } catch {
    return false;
  }
}

export const coreDump: Attack = Object.freeze({
  name: 'core-dump',
  group: 'process',
  by: 'local user',
  control: "as the machine's own user the signal arrives and ends the runner",
  title: 'make a runner dump its memory',
  tries: "raises the runner's core limit, makes it abort, and looks into what it left behind",
  run: async (stage: Stage) => {
    const findings: Finding[] = [];
    for (const person of stage.cast.processes) findings.push(await abortRunner(stage, person));
    return findings;
  },
});
