import { EVICT_ENTRY, LOAD_ENTRY } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { MONITOR_GPA } from '@nestedsgx/machine';
import { text64 } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Pager } from '../stage/pager.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';

const PAGE = 4096;
const PAGES = 4;
const MS = 300;

export const listRace: Attack = Object.freeze({
  name: 'list-race',
  group: 'races',
  by: 'guest OS',
  title: 'change the lists of EVICT and LOAD while they are worked through',
  tries:
    "a second process turns an entry between an own page and a victim's frame, its destination between guest RAM and EPC or the monitor, and " +
    'its source, PCMD and address, while EVICT and LOAD run again and again',
  control: 'both sides of the race come through, and the enclave finds its pages as they were',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const vault = await stage.vault();
    const adversary = await stage.adversary(stage.cast.guest);
    const micro = await stage.micro({ dataPages: PAGES });
    const evictions = new Tally();
    const loads = new Tally();
    const broken: (string | false)[] = [];
    try {
      await asKernel(connection, async (kernel) => {
        const va = new Pager(kernel).versionArray();
        const offsets = Array.from({ length: PAGES }, (_, i) => micro.layout.data + i * PAGE);
        for (const [i, offset] of offsets.entries()) micro.write(offset, BigInt(1000 + i));
        const frames = offsets.map((offset) => micro.frameOf(offset));
        const pcmds = kernel.page(20);
        const evict = (i: number, frame = frames[i]!, to = kernel.page(10 + i)) =>
          EVICT_ENTRY.encode({
            FRAME: BigInt(frame),
            VASLOT: BigInt(va + 8 * i),
            SRCPGE: BigInt(to),
            PCMD: BigInt(pcmds + 128 * i),
          });
        const load = (i: number, source = kernel.page(10 + i), linaddr = micro.base + offsets[i]!) =>
          LOAD_ENTRY.encode({
            FRAME: BigInt(frames[i]!),
            VASLOT: BigInt(va + 8 * i),
            SRCPGE: BigInt(source),
            PCMD: BigInt(pcmds + 128 * i),
            LINADDR: BigInt(linaddr),
          });
        const list = (entries: Uint8Array[]) => Buffer.concat(entries);
        const out = [0, 1, 2, 3].map((i) => evict(i));
        const back = [0, 1, 2, 3].map((i) => load(i));
        const hostileOut = [
          evict(2, vault.gpa),
          evict(2, frames[2], vault.gpa),
          evict(2, frames[2], MONITOR_GPA),
          evict(2, vault.built.file.secs),
        ];
        const hostileBack = [
          load(2, vault.gpa),
          load(2, kernel.page(10), micro.base + offsets[0]!),
          load(2, MONITOR_GPA),
          load(2, kernel.page(11)),
        ];
        /** Brings everything in, whatever the race left outside: honest lists of what is still missing. */
        const settle = () => {
          for (let i = 0; i < PAGES; i++) {
            kernel.bytes(3).set(back[i]!);
            kernel.sgx(SGX_CALL.LOAD, micro.secs, kernel.page(3), 1);
          }
        };
        for (let h = 0; h < hostileOut.length; h++) {
          const [outList, backList] = [kernel.page(1), kernel.page(2)];
          kernel.bytes(1).set(list(out));
          kernel.bytes(2).set(list(back));
          for (const side of ['out', 'back'] as const) {
            const gpa = side === 'out' ? outList + 2 * EVICT_ENTRY.size : backList + 2 * LOAD_ENTRY.size;
            const [one, two] = side === 'out' ? [out[2]!, hostileOut[h]!] : [back[2]!, hostileBack[h]!];
            const { done } = await adversary.begin('toggle', {
              gpa,
              one: text64(one),
              two: text64(two),
              ms: MS / 2,
            });
            const started = performance.now();
            while (performance.now() - started < MS / 2 - 10) {
              evictions.add(kernel.sgx(SGX_CALL.EVICT, micro.secs, outList, PAGES).code);
              loads.add(kernel.sgx(SGX_CALL.LOAD, micro.secs, backList, PAGES).code);
              settle();
            }
            await done;
          }
        }
        settle();
        // A page whose eviction stopped half way is blocked, not lost: written out and loaded once more, it is as before.
        kernel.bytes(1).set(list(out));
        kernel.sgx(SGX_CALL.EVICT, micro.secs, kernel.page(1), PAGES);
        settle();
        const seen = offsets.map((offset) => micro.read(offset));
        broken.push(
          seen.some((word, i) => word !== BigInt(1000 + i)) &&
            `the enclave finds ${seen.map(String).join(', ')}`,
        );
        broken.push(!vault.intact() && 'the secret was changed');
        broken.push(leaks(vault.secret, kernel.block.bytes) && 'the secret came into guest RAM');
        for (const [name, tally] of [
          ['EVICT', evictions],
          ['LOAD', loads],
        ] as const) {
          const good = tally.count('success');
          broken.push(
            (good === 0 || good === tally.total) &&
              `${name}: only one side of the race came through (${tally})`,
          );
        }
      });
    } finally {
      await micro.close();
    }
    return [
      finding(
        stage.cast.guest.label,
        `EVICT: ${evictions}; LOAD: ${loads}; all pages are as the enclave left them, the secret is unread and unchanged`,
        broken,
      ),
    ];
  },
});
