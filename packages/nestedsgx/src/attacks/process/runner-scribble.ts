import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { generator } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import { Evil } from '../stage/evil.js';
import { latencyFaults, latencyText, workBeside } from '../stage/innocent.js';
import type { Stage } from '../stage/stage.js';

/** What a runner keeps outside of its enclave, which enclave code can reach (public), and how much of it is scribbled over. */
const REGIONS: readonly (readonly [what: string, address: number, bytes: number])[] = [
  ['the head of the control memory', RUNNER_MEMORY.CONTROL, 256],
  ["a thread's control words (state, CSSA, thread id)", RUNNER_MEMORY.CONTROL + 0x1000, 64],
  ['its leaf mailbox', RUNNER_MEMORY.CONTROL + 0x1080, 128],
  ["another thread's control words", RUNNER_MEMORY.CONTROL + 0x1280, 256],
  ['its counters', RUNNER_MEMORY.CONTROL + 0x1100, 256],
  ['a thread block', RUNNER_MEMORY.THREADS, 512],
  ["another thread's block", RUNNER_MEMORY.THREADS + 0x1000, 512],
  ["the agent's block", RUNNER_MEMORY.THREADS + 0xf_f000, 256],
  ['an XSAVE area', RUNNER_MEMORY.XSAVE, 1024],
  ['a signal stack', RUNNER_MEMORY.SIGNAL_STACKS + 0xf000, 2048],
  ['the stack of a thread', RUNNER_MEMORY.STACKS + 0xf000, 2048],
  ['the plan', RUNNER_MEMORY.PLAN, 64],
  ['jump slots', RUNNER_MEMORY.SLOTS, 64],
  ['the code of the runner', RUNNER_MEMORY.IMAGE, 64],
];

export const runnerScribble: Attack = Object.freeze({
  name: 'runner-scribble',
  group: 'process',
  by: 'enclave',
  title: "lie to the monitor through the runner's own memory",
  tries:
    'an enclave writes noise over control memory, leaf mailboxes, thread blocks, signal stacks and XSAVE areas of its own runner, forges signal ' +
    'frames there, and calls on',
  control: 'the writes arrive: words are read back, and most of these enclaves end by them',
  run: async (stage: Stage) => {
    const evil = new Evil(stage);
    const random = generator(stage.seed);
    const ends = new Tally();
    const broken: (string | false)[] = [];
    let arrived = 0;
    const work = (async () => {
      const { cvm } = await stage.machine();
      for (const [, address, bytes] of REGIONS) {
        const { how } = await evil.attempt(async (calls, victim) => {
          for (let at = 0; at < bytes; at += 8) {
            const word = (BigInt(random()) << 32n) | BigInt((random() & (at & 8 ? 0xf : 0xffff_ffff)) >>> 0);
            await calls.write_word!(BigInt(address + at), word);
            if (at === bytes - 8 && BigInt((await calls.read_word!(BigInt(address + at))) as bigint) === word)
              arrived++;
          }
          // It goes on living, if it can: a leaf, an interrupt, and the monitor's look at it.
          await calls.leaf!(0n, BigInt(victim.address), BigInt(victim.address), BigInt(victim.address));
          return 'lives on';
        });
        ends.add(how);
        await cvm.ps();
        await evil.renew();
      }
    })();
    const beside = await workBeside(stage, work);
    await work;
    broken.push(arrived + ends.count('ENCLAVE_LOST') < 3 && 'hardly a write arrived, so this shows nothing');
    return [
      finding(
        'a malicious enclave',
        `${REGIONS.length} places scribbled over (${arrived} read back): ${ends}; ${latencyText(beside)}`,
        [...broken, ...latencyFaults(beside)],
      ),
    ];
  },
});
