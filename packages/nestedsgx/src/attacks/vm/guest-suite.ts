/** Running the attacks from inside a guest, and what a crash of the guest leaves behind. */
import { existsSync } from 'node:fs';
import { NsgxError } from '@nestedsgx/arch';
import { type AttackResult, type Finding, finding } from '../attack.js';
import { type GuestAttack, guestAttacks } from './guest-attacks.js';
import { GuestStage } from './guest-stage.js';

/** Options of {@link runGuestAttacks}. */
export interface GuestAttackOptions {
  seed: number;
  onStart?: (attack: GuestAttack) => void;
  onResult?: (result: AttackResult) => void;
  progress?: (text: string) => void;
}

const CRASH_MS = 30_000;

/** The last attack of all: the guest ends in the middle of its enclaves' work. */
const crash: GuestAttack = {
  name: 'vm-crash',
  by: 'guest OS',
  title: 'A crash of the guest’s kernel',
  tries: 'The guest crashes itself (sysrq c) while an enclave runs, and is then switched off.',
  control: 'The kernel’s console says that it panicked.',
  async run(stage) {
    const running = stage.vm.run(['/root/nsgx-victim', '/root/victim.image']);
    running.stdin.write('put 41\nloop 41 ffff\n');
    await new Promise((done) => setTimeout(done, 1500));
    const machine = stage.vm.cvm?.pid;
    const runners = machine === undefined ? [stage.vm.pid] : [stage.vm.pid, machine];
    void stage.shell('echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger').catch(() => undefined);
    const over = await Promise.race([
      stage.vm.exit.then(() => true),
      new Promise<boolean>((done) => setTimeout(() => done(false), CRASH_MS)),
    ]);
    await stage.vm.close();
    await new Promise((done) => setTimeout(done, 500));
    const left = runners.filter((pid) => existsSync(`/proc/${pid}`));
    const panicked = /panic/i.test(stage.vm.consoleText);
    return finding(
      'the guest’s kernel',
      `${panicked ? 'the kernel panicked' : 'the console says nothing'}, the guest ${over ? 'ended' : 'was switched off'}, ${left.length} of ${runners.length} processes left`,
      [
        !panicked && 'the kernel did not crash',
        left.length > 0 && `processes ${left.join(', ')} are still there`,
      ],
    );
  },
};

/** Every attack from inside a guest, in order. */
export const allGuestAttacks: readonly GuestAttack[] = Object.freeze([...guestAttacks, crash]);

/** @throws NsgxError ATTACK_UNKNOWN */
export function guestAttacksNamed(names: readonly string[]): readonly GuestAttack[] {
  for (const name of names)
    if (!allGuestAttacks.some((attack) => attack.name === name))
      throw new NsgxError('ATTACK_UNKNOWN', `there is no attack "${name}" on a Linux guest`, {
        advice: 'See what there is: nsgx attack --guest vm --list',
      });
  return names.length === 0
    ? allGuestAttacks
    : allGuestAttacks.filter((attack) => names.includes(attack.name));
}

/**
 * Boots a guest and attacks from inside it.
 * @throws NsgxError ATTACK_UNKNOWN, and what `Vm.start` throws
 */
export async function runGuestAttacks(
  names: readonly string[],
  options: GuestAttackOptions,
): Promise<AttackResult[]> {
  const attacks = guestAttacksNamed(names);
  const results: AttackResult[] = [];
  let stage = await GuestStage.open(options.seed, options.progress);
  try {
    for (const attack of attacks) {
      options.onStart?.(attack);
      const found = await carryOut(attack, stage);
      const { name, by, tries } = attack;
      const result = Object.freeze({ name, group: 'guest' as const, by, tries, ...found });
      results.push(result);
      options.onResult?.(result);
      // What a guest did to its own side of the machine is its own affair: the next attack has a fresh one.
      if (attack !== attacks.at(-1) && !(await usable(stage))) {
        await stage.close();
        stage = await GuestStage.open(options.seed, options.progress);
      }
    }
    return results;
  } finally {
    await stage.close();
  }
}

async function carryOut(attack: GuestAttack, stage: GuestStage): Promise<Finding> {
  try {
    return await attack.run(stage);
  } catch (error) {
    const { message, code } = error as { message?: unknown; code?: unknown };
    const observed = `the attack could not be carried out: ${String(message)}${code === undefined ? '' : ` [${String(code)}]`}`;
    return { as: 'root of the guest', held: false, observed };
  }
}

/** Whether another program of the guest can still have an enclave. */
async function usable(stage: GuestStage): Promise<boolean> {
  try {
    return await stage.withVictim((victim) => victim.intact());
  } catch {
    return false;
  }
}
