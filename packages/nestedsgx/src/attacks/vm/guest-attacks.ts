/** Attacks from inside a guest with a real kernel: by its root user, and by the kernel itself. */
import { type Finding, finding, type Role } from '../attack.js';
import type { GuestStage } from './guest-stage.js';
import type { GuestVictim } from './guest-victim.js';

const ROOT = 'root of the guest';
const KERNEL = 'the guest’s kernel';
/** A kernel that took its own code away may do nothing any more. */
const FORCE_MS = 8000;

/** One attack on a guest. */
export interface GuestAttack {
  readonly name: string;
  readonly by: Role;
  readonly title: string;
  readonly tries: string;
  /** What shows that it reaches its target. */
  readonly control: string;
  run(stage: GuestStage): Promise<Finding>;
}

/** Lets the enclave work for `ms` while something happens to it; what it noticed. */
async function working(
  victim: GuestVictim,
  ms: number,
  attack: () => Promise<string>,
): Promise<[string, string]> {
  const work = victim.ask(`loop ${victim.secret} ${ms.toString(16)}`, ms + 60_000);
  const said = await attack();
  return [said, await work];
}

/** What is wrong with the line of a victim's loop: nothing but a right result of every round may be there. */
function mistakes(line: string): string | null {
  const match = /^rounds (\d+) wrong (\d+)/.exec(line);
  if (match === null) return `the enclave ended: ${line}`;
  if (Number(match[1]) === 0) return 'the enclave did nothing';
  return match[2] === '0' ? null : `${match[2]} wrong results`;
}

async function lives(stage: GuestStage): Promise<string | null> {
  return (await stage.alive()) ? null : 'the monitor no longer answers';
}

export const guestAttacks: readonly GuestAttack[] = Object.freeze([
  {
    name: 'vm-epc-user',
    by: 'guest OS',
    title: 'EPC through /dev/mem',
    tries:
      'Root maps EPC’s physical addresses and reads and writes them while an enclave holds a secret there.',
    control: 'The same program reads the window through the same device.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const { said, code } = await stage.kit('epc');
        return finding(ROOT, said, [
          code !== 0 && 'EPC has contents for root',
          !(await victim.intact()) && 'the secret changed',
          await lives(stage),
        ]);
      }),
  },
  {
    name: 'vm-epc-kernel',
    by: 'guest OS',
    title: 'EPC by the kernel’s own mappings',
    tries: 'A kernel module maps the EPC pages of a running enclave, reads every word and writes over it.',
    control: 'The enclave has its secret before and after.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const said = await stage.module('what=physical', `secret=0x${victim.secret}`);
        return finding(KERNEL, said, [
          !/secret 0 times, 0 writes kept$/.test(said) && 'EPC gave way',
          !(await victim.intact()) && 'the secret changed',
          await lives(stage),
        ]);
      }),
  },
  {
    name: 'vm-page-tables-elrange',
    by: 'guest OS',
    title: 'Other memory under the ELRANGE',
    tries:
      'A kernel module lets the page-table entry of the enclave’s page point to a page of its own, 200 times, while the enclave reads there.',
    control: 'The entry is present and changes.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        await victim.ask('touch');
        const [said, line] = await working(victim, 1500, () =>
          stage.module('what=tables', `pid=${victim.pid}`, `address=${victim.address}`),
        );
        return finding(KERNEL, `${said}; ${line}`, [
          !/changed 200 times/.test(said) && 'the entry did not change: nothing was tried',
          mistakes(line),
          !(await victim.intact()) && 'the secret changed',
        ]);
      }),
  },
  {
    name: 'vm-call-lies',
    by: 'guest OS',
    title: 'Calls with forged operands',
    tries:
      'Thousands of calls of the monitor with random numbers and operands, on addresses of EPC, window and kernel.',
    control: 'Some are served: the guest may change what is its own, and lose its enclave by that.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const [{ said, code }, line] = await (async () => {
          const work = victim.ask(`loop ${victim.secret} 5dc`, 60_000);
          const kit = await stage.kit('calls', String(stage.seed), '3000');
          return [kit, await work] as const;
        })();
        const wrong = /wrong (\d+)/.exec(line)?.[1] ?? '0';
        return finding(ROOT, `${said}; ${line}`, [
          code !== 0 && 'a call was not answered',
          wrong !== '0' && `${wrong} wrong results`,
          await lives(stage),
        ]);
      }),
  },
  {
    name: 'vm-seize',
    by: 'guest OS',
    title: 'Leaves on the pages of a running enclave',
    tries:
      'Every leaf on the SECS and the pages of an enclave: to map them twice, to take them over, to read them by EDBGRD, to write them out.',
    control: 'The pages are found by asking the monitor; some leaves are served.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const { said, code } = await stage.kit('seize', `0x${victim.secret}`);
        const after = await victim.ask('get');
        return finding(
          ROOT,
          `${said}; the enclave: ${after === `got ${victim.secret}` ? 'has its secret' : after}`,
          [
            code !== 0 && 'the secret was seen, or a leaf was not answered',
            /^got /.test(after) && after !== `got ${victim.secret}` && 'the secret changed',
            await lives(stage),
          ],
        );
      }),
  },
  {
    name: 'vm-interrupt-storm',
    by: 'guest OS',
    title: 'An interrupt wherever one fits',
    tries:
      'The enclave’s thread is interrupted as often as the guest can, while it reads its secret and writes outside.',
    control: 'Thousands of interrupts are served.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const [said, line] = await working(victim, 2000, async () => (await stage.kit('storm', '1500')).said);
        return finding(ROOT, `${said}; ${line}`, [
          !/^[1-9]\d+ interrupts$/.test(said) && 'there was no storm',
          mistakes(line),
          !(await victim.intact()) && 'the secret changed',
        ]);
      }),
  },
  {
    name: 'vm-page-replay',
    by: 'guest OS',
    title: 'Old and damaged copies of an evicted page',
    tries:
      'A page is written out twice; its first copy, copies under other versions and addresses, and 64 copies with one wrong bit are loaded.',
    control: 'The genuine copy loads, and the enclave has what it wrote last.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const kit = stage.startKit('replay', victim.address);
        let said = '';
        kit.stdout.on('data', (chunk) => {
          said += String(chunk);
        });
        const until = Date.now() + 20_000;
        while (!said.includes('loaded') && Date.now() < until)
          await new Promise((done) => setTimeout(done, 20));
        const later = '1234567887654321';
        await victim.ask(`put ${later}`);
        kit.stdin.end('\n');
        const { code } = await kit.ended;
        const after = await victim.ask('get');
        return finding(ROOT, said.trim().replaceAll('\n', '; '), [
          code !== 0 && 'a false copy was accepted, or nothing could be tried',
          after !== `got ${later}` && `the enclave has ${after}`,
          await lives(stage),
        ]);
      }),
  },
  {
    name: 'vm-unload',
    by: 'guest OS',
    title: 'Unloading the module under an enclave',
    tries: 'rmmod while an enclave runs.',
    control: 'The kernel says that the module is in use.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const { said } = await stage.shell('rmmod nsgx; echo $?');
        return finding(ROOT, said.replaceAll('\n', '; '), [
          !/unavailable|in use|busy/i.test(said) && 'the module went',
          !(await victim.intact()) && 'the enclave no longer answers',
          await lives(stage),
        ]);
      }),
  },
  {
    name: 'vm-kill',
    by: 'guest OS',
    title: 'Killing programs inside their enclaves',
    tries:
      'Programs with enclaves are killed at random moments, twenty times; the next one finds its pages empty.',
    control: 'Each ran before it was killed.',
    run: async (stage) => {
      let ran = 0;
      let stale = 0;
      for (let i = 0; i < 20; i++)
        await stage.withVictim(async (victim) => {
          if (await victim.intact()) ran++;
          void victim.ask(`loop ${victim.secret} 3e8`);
          await new Promise((done) => setTimeout(done, (stage.seed + i * 37) % 50));
        });
      await stage.withVictim(async (victim) => {
        if (!(await victim.intact())) stale++;
      });
      return finding(ROOT, `${ran} programs killed, the next one works`, [
        ran !== 20 && `only ${ran} of 20 ran`,
        stale !== 0 && 'the one after them does not work',
        await lives(stage),
      ]);
    },
  },
  {
    name: 'vm-unload-force',
    by: 'guest OS',
    title: 'Unloading the module by force',
    tries: 'rmmod -f while an enclave works: the kernel takes code away that it still executes.',
    control: 'The guest’s kernel suffers; what the enclave answered until then was right.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const work = victim.ask(`loop ${victim.secret} 7d0`, FORCE_MS);
        const forced = await Promise.race([
          stage.shell('rmmod -f nsgx; echo $?').then(({ said }) => said.replaceAll('\n', '; ')),
          new Promise<string>((done) => setTimeout(() => done('rmmod does not come back'), FORCE_MS)),
        ]);
        const line = await work;
        const wrong = /wrong (\d+)/.exec(line)?.[1] ?? '0';
        const machine = await stage.machineLives();
        return finding(
          ROOT,
          `${forced}; the enclave: ${line}; the machine ${machine ? 'lives' : 'is gone'}`,
          [wrong !== '0' && `${wrong} wrong results`, !machine && 'the machine does not answer'],
        );
      }),
  },
  {
    name: 'vm-window-noise',
    by: 'guest OS',
    title: 'Noise in all that guest and machine share',
    tries: 'Root writes random words over doorbell, relay, GHCB pages and calling areas for a second.',
    control: 'The guest’s own calls suffer: its module may give its machine up.',
    run: (stage) =>
      stage.withVictim(async (victim) => {
        const [said, line] = await working(
          victim,
          1500,
          async () => (await stage.kit('scribble', String(stage.seed), '1000')).said,
        );
        const wrong = /wrong (\d+)/.exec(line)?.[1] ?? '0';
        return finding(ROOT, `${said}; ${line}`, [
          !/words written/.test(said) && 'nothing was written',
          wrong !== '0' && `${wrong} wrong results`,
          await lives(stage),
        ]);
      }),
  },
] satisfies GuestAttack[]);
