import { SECS } from '@nestedsgx/arch';
import { RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { codeOf } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import { HostileKernel } from '../stage/kernel.js';
import { exitName, Micro, microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { leaks } from '../stage/vault.js';
import { einit } from './measured-order.js';

const PAGE = 4096;
const SIZE = 2 ** 20;
const MIB = 2 ** 20;

/** Addresses at which no enclave may lie: what is there belongs to others, or is no address. */
function places(ramBase: number): [string, number][] {
  return [
    ['page 0', 0],
    ["the runner's code", RUNNER_MEMORY.IMAGE],
    ["the runner's thread blocks", RUNNER_MEMORY.THREADS],
    ["the runner's control memory", RUNNER_MEMORY.CONTROL],
    ["the runner's plan", RUNNER_MEMORY.PLAN],
    ["the runner's signal stacks", RUNNER_MEMORY.SIGNAL_STACKS],
    ['the beginning of guest RAM', ramBase],
    ['the middle of guest RAM', ramBase + 64 * MIB],
    ['the end of the user half', 2 ** 47 - SIZE],
    ['the kernel half', 2 ** 63],
    ['the end of everything', 2 ** 64 - SIZE],
    ['an unaligned base', 0x5000_0008_0000],
  ];
}

export const elrangePlaces: Attack = Object.freeze({
  name: 'elrange-places',
  group: 'lifecycle',
  by: 'guest OS',
  title: 'an enclave where other memory lies',
  tries:
    "SECS whose ELRANGE covers the runner's own memory, guest RAM, the kernel half, or another enclave's addresses; sizes that " +
    'are no power of two, wrap around or are far too large',
  control: 'the same image at an ordinary base starts and answers',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const vault = await stage.vault();
    const kernel = new HostileKernel(connection);
    const layout = microImage(stage.signer);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    const start = async (what: string, base: number, secs?: (bytes: Uint8Array) => void) => {
      let prepared: ReturnType<typeof prepare> | null = null;
      try {
        prepared = prepare(device, layout, { base, secs });
        const code = einit(kernel, prepared.file.secs, layout.sigstruct);
        if (code !== 'success') throw Object.assign(new Error('EINIT'), { code: `EINIT ${code}` });
        const micro = Micro.of(connection, layout, prepared);
        prepared = null;
        const exit = micro.enter(OP.NOTHING);
        codes.add(`started (${exitName(exit)})`);
        broken.push(`an enclave was started at ${what}`);
        await micro.close();
      } catch (error) {
        codes.add((error as { fault?: unknown }).fault === undefined ? codeOf(error) : 'ECREATE #GP');
        prepared?.give();
      }
    };
    for (const [what, base] of places(connection.ramBase)) await start(what, base);
    for (const size of [0n, 4096n, 12_288n, 2n ** 47n, 2n ** 52n, 2n ** 63n, 2n ** 64n - 1n])
      await start(`size ${size}`, 0, (secs) =>
        new DataView(secs.buffer).setBigUint64(SECS.offsets.SIZE, size, true),
      );
    // Another address space may use the same addresses: it holds its own pages there and nothing else.
    const { base, size } = vault.built.file;
    const there = vault.address - base;
    // So many data pages that the micro enclave's last page lies at the address of the secret.
    const shape = { size, dataPages: there / PAGE - 4 };
    const twin = Micro.load(device, microImage(stage.signer, shape), { base });
    const seen = twin.readBytes(there, 64);
    broken.push(leaks(vault.secret, seen) && "it sees the other enclave's secret");
    await twin.close();
    broken.push(!vault.intact() && "the other enclave's secret was changed");
    const ordinary = Micro.load(device, layout);
    const exit = ordinary.enter(OP.NOTHING);
    broken.push(exit.kind !== 'EEXIT' && `at an ordinary base: ${exitName(exit)}, so this shows nothing`);
    await ordinary.close();
    kernel.close();
    return [
      finding(
        'the host itself',
        `${codes.total} places and sizes: ${codes}; an enclave at the addresses of another one finds its own memory there`,
        broken,
      ),
    ];
  },
});
