import { GPRSGX } from '@nestedsgx/arch';
import { type Attack, finding, Tally } from '../attack.js';
import { exitName, type Micro, OP } from '../stage/micro.js';
import { runnerCode } from '../stage/runner-code.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const GPR = PAGE - GPRSGX.size;
const AT = GPRSGX.offsets;
/** Offset of `out` in the micro enclave's code: EEXIT to R10. */
const OUT = 0x62;
const MXCSR = 24;
const XSTATE_BV = 512;
const XCOMP_BV = 520;

interface Forgery {
  what: string;
  /** Offset in the SSA frame, and what another thread writes there. */
  writes: (base: number) => readonly (readonly [offset: number, value: bigint])[];
  /** Ends that are right; anything else is broken. */
  ends: readonly string[];
}

const gpr = (field: keyof typeof AT) => GPR + AT[field];
const FAULTS = ['#UD', '#GP', '#PF', 'entry #GP', 'entry #PF', 'lost'];

function forgeries(): Forgery[] {
  const rip = (what: string, value: (base: number) => bigint, ends = FAULTS): Forgery => ({
    what: `RIP ${what}`,
    writes: (base) => [[gpr('RIP'), value(base)]],
    ends,
  });
  const one = (what: string, offset: number, value: bigint, ends: readonly string[]): Forgery => ({
    what,
    // RIP goes to the exit, so that a resume that is accepted ends at once.
    writes: (base) => [
      [gpr('RIP'), BigInt(base + OUT)],
      [offset, value],
    ],
    ends,
  });
  const { syscalls } = runnerCode();
  return [
    rip('not canonical', () => 1n << 62n),
    rip('in the kernel half', () => 0xffff_ffff_8100_0000n),
    rip('at 0', () => 0n),
    rip('in the middle of guest RAM', (base) => BigInt(base - 2 ** 40)),
    ...syscalls.map(({ address }) =>
      rip(`at a SYSCALL of the stub (0x${address.toString(16)})`, () => BigInt(address)),
    ),
    one('FSBASE not canonical', gpr('FSBASE'), 1n << 62n, ['entry #GP']),
    one('GSBASE not canonical', gpr('GSBASE'), 0x8000_0000_0000n, ['entry #GP']),
    one('RFLAGS with IOPL 3, TF, NT, VM and all else', gpr('RFLAGS'), 0xffff_ffffn, ['EEXIT']),
    one('reserved bits of MXCSR', MXCSR, 0xffff_0000n | 0x1f80n, ['entry #GP']),
    one('state components that XFRM does not have', XSTATE_BV, 0xffff_ffff_ffff_ffffn, ['entry #GP']),
    one('the compacted format', XCOMP_BV, 1n << 63n, ['entry #GP']),
    one('reserved bytes of the XSAVE header', XCOMP_BV + 8, 1n, ['entry #GP']),
    one('RSP not canonical', gpr('RSP'), 1n << 62n, ['EEXIT']),
  ];
}

/** Interrupts thread 0 with a fault, so that SSA[0] holds its registers. */
function fault(micro: Micro): string {
  return exitName(micro.enter(OP.READ, { rsi: micro.base + micro.layout.free }, 0));
}

export const forgedSsa: Attack = Object.freeze({
  name: 'forged-ssa',
  group: 'entry',
  by: 'enclave',
  title: 'ERESUME from a frame that the enclave has forged',
  tries:
    'a second thread rewrites RIP, RFLAGS, segment bases, MXCSR and the XSAVE header in the SSA frame of an interrupted one, ' +
    'which the host then resumes',
  control: 'a frame with RIP at its own exit is resumed and leaves in the ordinary way',
  run: async (stage: Stage) => {
    const codes = new Tally();
    const broken: (string | false)[] = [];
    let micro = await stage.micro({ threads: 2 });
    let interrupted = false;
    const begin = async () => {
      if (!interrupted && fault(micro) === '#PF') interrupted = true;
      if (interrupted) return;
      await micro.close();
      micro = await stage.micro({ threads: 2 });
      interrupted = fault(micro) === '#PF';
    };
    try {
      await begin();
      micro.write(micro.layout.ssa(0) + gpr('RIP'), BigInt(micro.base + OUT), 1);
      const control = exitName(micro.resume(0));
      broken.push(control !== 'EEXIT' && `a harmless frame gave ${control}, so this shows nothing`);
      for (const { what, writes, ends } of forgeries()) {
        await micro.close();
        micro = await stage.micro({ threads: 2 });
        interrupted = false;
        await begin();
        for (const [offset, value] of writes(micro.base)) micro.write(micro.layout.ssa(0) + offset, value, 1);
        const exit = exitName(micro.resume(0));
        codes.add(exit);
        broken.push(!ends.includes(exit) && `${what} gave ${exit}`);
      }
      return [finding('a malicious enclave', `${codes.total} forged frames: ${codes}`, broken)];
    } finally {
      await micro.close();
    }
  },
});
