/** Running attacks one after another against one machine. */
import { NsgxError } from '@nestedsgx/arch';
import type { Attack, AttackResult, Finding } from './attack.js';
import type { MachineOptions } from './stage/machine.js';
import { Stage } from './stage/stage.js';
import { attackTable } from './table.js';

/** Options of {@link runAttacks}. */
export interface AttackOptions {
  /** Called with each result as soon as it is there. */
  onResult?: (result: AttackResult) => void;
  /** Called before an attack begins. */
  onStart?: (attack: Attack) => void;
  /** Options of the machine that is attacked. */
  machine?: MachineOptions;
  /** Seed of everything random that attackers do. */
  seed?: number;
}

/** Attacks by name, in the order of the table. @throws NsgxError ATTACK_UNKNOWN */
export function attacksNamed(names: readonly string[] = []): readonly Attack[] {
  for (const name of names)
    if (!attackTable.some((attack) => attack.name === name))
      throw new NsgxError('ATTACK_UNKNOWN', `there is no attack "${name}"`, {
        advice: 'See what there is: nsgx attack --list',
      });
  return names.length === 0 ? attackTable : attackTable.filter((attack) => names.includes(attack.name));
}

/**
 * Launches a machine, attacks it, and reports one result for every attack and attacker. After each attack the machine
 * and its other enclaves must still work; where they do not, the attack counts as having broken them.
 * @throws NsgxError ATTACK_UNKNOWN, ATTACK_SETUP, and what launching a machine throws
 */
export async function runAttacks(
  names: readonly string[] = [],
  options: AttackOptions = {},
): Promise<AttackResult[]> {
  const attacks = attacksNamed(names);
  const stage = await Stage.open(options.machine, options.seed);
  const results: AttackResult[] = [];
  try {
    await stage.vault();
    for (const attack of attacks) {
      options.onStart?.(attack);
      for (const result of await carryOut(attack, stage)) {
        results.push(result);
        options.onResult?.(result);
      }
    }
    return results;
  } finally {
    await stage.close();
  }
}

/** One attack on a stage, with the check that nothing else was harmed. */
export async function carryOut(attack: Attack, stage: Stage): Promise<AttackResult[]> {
  let findings: Finding[];
  try {
    findings = await attack.run(stage);
  } catch (error) {
    const { message, code } = error as { message?: unknown; code?: unknown };
    const observed = `the attack could not be carried out: ${String(message)}${code === undefined ? '' : ` [${String(code)}]`}`;
    findings = [{ as: stage.cast.guest.label, held: false, observed }];
  }
  const harm = await stage.harm();
  if (harm !== null) {
    findings = findings.map((found) => ({
      ...found,
      held: false,
      observed: `${found.observed}; afterwards ${harm}`,
    }));
    await stage.renew();
  }
  const { name, group, by, tries } = attack;
  return findings.map((found) => Object.freeze({ name, group, by, tries, ...found }));
}
