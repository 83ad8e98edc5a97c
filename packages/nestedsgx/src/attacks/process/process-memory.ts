import type { Adversary } from '../adversary/process.js';
import type { ProcessAttempt } from '../adversary/process-acts.js';
import { bytes64 } from '../adversary/world.js';
import { type Attack, type Finding, finding, Tally } from '../attack.js';
import type { Person } from '../people.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';

const WRITING = /writev/;

/** Judges the attempts of one attacker on one process: every one must be refused, and none may give the secret. */
export function judgeAttempts(
  as: string,
  what: string,
  attempts: readonly ProcessAttempt[],
  secret: Uint8Array,
): Finding {
  const refused = new Tally();
  const broken: string[] = [];
  for (const { what: way, got, why } of attempts) {
    if (got === null) refused.add(why);
    else if (!WRITING.test(way) && leaks(secret, bytes64(got))) broken.push(`${way} gave the secret`);
    else broken.push(`${way} was granted: ${got.slice(0, 40)}`);
  }
  const ways = attempts.map(({ what: way }) => way.replace('/proc/PID/', '')).join(' ');
  return finding(as, `${what}: ${attempts.length} ways tried (${ways}), refused with ${refused}`, broken);
}

/** Tries everything against a process that holds `secret` at `address`. */
export async function probeProcess(
  adversary: Adversary,
  pid: number,
  address: number,
  secret: Uint8Array,
  what: string,
): Promise<Finding> {
  const attempts = await adversary.act('probe', { pid, address, length: secret.length, write: true });
  return judgeAttempts(adversary.person.label, what, attempts, secret);
}

async function eachPerson(
  stage: Stage,
  attack: (adversary: Adversary, person: Person) => Promise<Finding>,
): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const person of stage.cast.processes)
    findings.push(await attack(await stage.adversary(person), person));
  return findings;
}

export const runnerMemory: Attack = Object.freeze({
  name: 'runner-memory',
  group: 'process',
  by: 'local user',
  control: 'a careless process gives its secret to the same probe (a test)',
  title: "open the memory of an enclave's runner",
  tries:
    '/proc/PID/mem, process_vm_readv and writev, ptrace, pidfd_getfd, and every descriptor, mapping and secret file of ' +
    '/proc/PID, at the address of the secret',
  run: async (stage: Stage) => {
    const vault = await stage.vault();
    const pid = await stage.runnerOf(vault);
    return eachPerson(stage, (adversary) =>
      probeProcess(adversary, pid, vault.address, vault.secret, `runner ${pid}`),
    );
  },
});

export const cvmMemory: Attack = Object.freeze({
  name: 'cvm-memory',
  group: 'process',
  by: 'local user',
  control: 'a careless process gives its secret to the same probe (a test)',
  title: 'open the memory of the confidential VM',
  tries: 'the same against the process that holds all keys and all enclave memory',
  run: async (stage: Stage) => {
    const vault = await stage.vault();
    const { pid, ram } = await stage.machine();
    // Guest RAM lies at a known address in it: what could be read there could be read anywhere.
    return eachPerson(stage, (adversary) =>
      probeProcess(adversary, pid, ram.base + 0x1000, vault.secret, `confidential VM ${pid}`),
    );
  },
});
