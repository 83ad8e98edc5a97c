/** `nsgx bench vm`: enclaves of an application in a Linux guest. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKey, loadSigningKey } from '@nestedsgx/image/node';
import { missingForGuests, Vm, victimProgram } from '@nestedsgx/vm';
import { EXIT_CODE, EXTRA_CODE, Micro, type MicroImage, microImage, OP } from '../attacks/stage/micro.js';
import { guestImage } from '../attacks/vm/guest-image.js';
import { GuestVictim } from '../attacks/vm/guest-victim.js';
import { anchor, PAPER_FIGURES } from './anchors.js';
import { BENCH_MACHINE, onCpus, withMachine } from './place.js';
import type { Bench, BenchContext, Row } from './row.js';
import { median, quantile } from './statistics.js';

const VICTIM = '/root/nsgx-victim';
const IMAGE = '/root/victim.image';
/** mov %rdx,%rcx; 1: dec %rcx; jnz 1b; and out. */
const LOOP = Buffer.concat([Buffer.from('4889d148ffc975fb', 'hex'), EXIT_CODE]);

interface Guest {
  victim: GuestVictim;
  started: number;
}

/** Nanoseconds that the program says: of the median, of 99 in 100, of the best. */
function times(line: string): { p50: number; p99: number; min: number } {
  const match = /^p50 (\d+) p99 (-?\d+) min (-?\d+)$/.exec(line);
  if (match === null) throw new Error(`the program in the guest says: ${line}`);
  return { p50: Number(match[1]), p99: Number(match[2]), min: Number(match[3]) };
}

async function inGuest<T>(image: string, work: (guest: Guest) => Promise<T>): Promise<T> {
  const began = performance.now();
  await using vm = await Vm.start({
    accel: 'tcg',
    launch: { stateDir: null, epcBytes: BENCH_MACHINE.epcBytes },
    copies: [
      { from: victimProgram(), to: VICTIM },
      { from: image, to: IMAGE },
    ],
  });
  const started = performance.now() - began;
  const command = vm.run([VICTIM, IMAGE]);
  const victim = new GuestVictim(command);
  await victim.begin();
  try {
    return await work({ victim, started });
  } finally {
    victim.kill();
  }
}

const row = (
  name: string,
  form: string,
  unit: string,
  value: number,
  p99: number,
  rest: Partial<Row>,
): Row => ({
  name,
  form,
  value,
  unit,
  p99,
  floor: null,
  peer: null,
  paper: null,
  ...rest,
});

/** Entries in the guest's three forms, and what comes with each start. */
async function entries(context: BenchContext, image: string): Promise<Row[]> {
  const count = context.short ? 200 : 20_000;
  const micro = (cycles: number) => (cycles / context.tscHz) * 1e6;
  const paper = anchor(PAPER_FIGURES, 'ecall', 'one-cpu');
  const note = 'a whole ENCLU of a program in the guest: #UD, module, runner and back';
  const measured = async (form: string, { victim }: Guest) => {
    await victim.ask('time 100');
    const { p50, p99 } = times(await victim.ask(`time ${count.toString(16)}`, 120_000));
    return row('vm ecall', form, 'µs', p50 / 1000, p99 / 1000, {
      paper: paper === null ? null : micro(paper),
      note,
    });
  };
  const rows: Row[] = [];
  context.note('a Linux guest on one CPU');
  await onCpus(context.cpus.slice(0, 1), () =>
    inGuest(image, async (guest) => {
      rows.push(await measured('one-cpu', guest));
    }),
  );
  context.note('a Linux guest on all CPUs');
  await inGuest(image, async (guest) => {
    rows.push(await measured('spin', guest));
    const cycles = times(await guest.victim.ask(`cycles ${(context.short ? 5 : 200).toString(16)}`, 120_000));
    rows.push(
      row('vm load', 'small', 'ms', cycles.p50 / 1e6, cycles.p99 / 1e6, { note: 'create, run, destroy' }),
    );
    rows.push(
      row('vm boot', 'to first command', 's', guest.started / 1000, guest.started / 1000, {
        note: 'with QEMU’s emulation',
      }),
    );
  });
  return rows;
}

/** The same loop in an enclave of the guest and in one of this process, in turn. */
async function compute(context: BenchContext, image: string, layout: MicroImage): Promise<Row> {
  const rounds = context.short ? 1_000_000 : 500_000_000;
  const here: number[] = [];
  const there: number[] = [];
  context.note('a loop inside, in the guest and here');
  await withMachine(async (cvm) => {
    const micro = Micro.load((await cvm.guest()).device, layout);
    await inGuest(image, async ({ victim }) => {
      for (let i = 0; i < (context.short ? 2 : 9); i++) {
        const began = performance.now();
        micro.enter(OP.CALL, { rsi: micro.base + EXTRA_CODE, rdx: rounds });
        here.push((performance.now() - began) * 1e6);
        const said = /^ns (\d+)$/.exec(await victim.ask(`compute ${rounds.toString(16)}`, 120_000));
        if (said === null) throw new Error('the program in the guest does not compute');
        there.push(Number(said[1]));
      }
    });
  });
  const ratios = there.map((time, i) => time / here[i]!);
  return row('vm compute', '', 'ratio', median(ratios), quantile(ratios, 0.99), {
    floor: 1,
    note: `against the same enclave outside of the guest, ${(median(here) / 1e6).toFixed(0)} ms a run`,
  });
}

/** `nsgx bench vm`. */
export const vm: Bench = {
  name: 'vm',
  summary: 'enclaves of a program in a Linux guest',
  async run(context) {
    const missing = missingForGuests();
    if (missing.length > 0)
      return [
        {
          ...row('vm ecall', 'one-cpu', 'µs', 0, 0, {}),
          value: null,
          p99: null,
          note: missing.map(({ what }) => what).join('; '),
        },
      ];
    const folder = mkdtempSync(join(tmpdir(), 'nsgx-bench-vm-'));
    try {
      const signer = await loadSigningKey((await generateKey()).privateKeyPem);
      const layout = microImage(signer, { code: LOOP });
      const image = join(folder, 'bench.image');
      writeFileSync(image, guestImage(layout));
      return [...(await entries(context, image)), await compute(context, image, layout)];
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
