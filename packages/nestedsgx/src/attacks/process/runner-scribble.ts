import { generator } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import { Evil } from '../stage/evil.js';
import { latencyFaults, latencyText, workBeside } from '../stage/innocent.js';
import type { Stage } from '../stage/stage.js';

/** What a runner keeps outside of its enclave, which enclave code can reach (public), and how much of it is scribbled over. */
const REGIONS: readonly (readonly [what: string, address: number, bytes: number])[] = [
  ['the head of the control memory', 0x0600_0000, 256],
  ["a thread's control words (state, CSSA, thread id)", 0x0600_1000, 64],
  ['its leaf mailbox', 0x0600_1080, 128],
  ["another thread's control words", 0x0600_1280, 256],
  ['its counters', 0x0600_1100, 256],
  ['a thread block', 0x0200_0000, 512],
  ["another thread's block", 0x0200_1000, 512],
  ["the agent's block", 0x020f_f000, 256],
  ['an XSAVE area', 0x0900_0000, 1024],
  ['a signal stack', 0x1000_f000, 2048],
  ['the stack of a thread', 0x0500_f000, 2048],
  ['the plan', 0x0700_0000, 64],
  ['jump slots', 0x0800_0000, 64],
  ['the code of the runner', 0x0100_0000, 64],
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
