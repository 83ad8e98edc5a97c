import { randomBytes } from 'node:crypto';
import { GPRSGX } from '@nestedsgx/arch';
import { text64 } from '../adversary/world.js';
import { type Attack, finding } from '../attack.js';
import { EXTRA_CODE, exitName, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const ODD = 0x123;
/** Loads RAX, RBX, RCX, RDX, RDI, RBP, R8, R9, R12 … R15, RSI, XMM0 and XMM7 from [RDX]; UD2. */
const LOAD = Buffer.from(
  'f30f6f02f30f6f3a488b024889c34889c14889c74889c54989c04989c14989c44989c54989c64989c74889c24889c60f0b',
  'hex',
);

export const aexInformation: Attack = Object.freeze({
  name: 'aex-information',
  group: 'entry',
  by: 'guest OS',
  title: "learn an enclave's registers from its exceptions",
  tries:
    'lets an enclave fault with a secret in all of its registers and looks into the gate and all of guest RAM; lets it fault at an ' +
    'odd address and looks at the address that is told',
  control: "the secret is in the enclave's SSA frame, where the enclave itself finds it",
  run: async (stage: Stage) => {
    const micro = await stage.micro({ threads: 2, code: LOAD, miscselect: 1 });
    const adversary = await stage.adversary(stage.cast.guest);
    const broken: (string | false)[] = [];
    try {
      const secret = new Uint8Array(randomBytes(16));
      const [word, second] = new BigUint64Array(secret.buffer);
      micro.write(micro.layout.data, word!);
      micro.write(micro.layout.data + 8, second!);
      // The words came through the gates: what lies there now is something else.
      for (const thread of [0, 1]) micro.write(micro.layout.data + 64, 0n, thread);
      const exit = micro.enter(OP.CALL, {
        rsi: micro.base + EXTRA_CODE,
        rdx: micro.base + micro.layout.data,
      });
      broken.push(exitName(exit) !== '#UD' && `the fault gave ${exitName(exit)}`);
      const ssa = micro.layout.ssa(0) + PAGE - GPRSGX.size;
      const inside = ['RAX', 'R15', 'RSI'].map((name) =>
        micro.read(ssa + GPRSGX.offsets[name as 'RAX' | 'R15' | 'RSI'], 1),
      );
      const held = inside[0] as bigint;
      const right = held === word && inside.every((value) => value === held);
      broken.push(!right && 'the registers did not hold it, so this shows nothing');
      // What thread 1 read went through its gate: overwritten as well.
      micro.enter(OP.NOTHING, {}, 1);
      const needle = new Uint8Array(new BigUint64Array([held]).buffer);
      const found = await adversary.act('search', { needle: text64(needle) });
      const gate = Buffer.from(micro.gateBytes()).indexOf(needle) >= 0;
      broken.push(gate && 'the gate shows a register');
      broken.push(found.length > 0 && `guest RAM shows a register at 0x${found[0]?.toString(16)}`);
      const odd = micro.enter(OP.READ, { rsi: micro.base + micro.layout.free + ODD }, 1);
      const told = odd.kind === 'AEX' ? Number(odd.address) : -1;
      broken.push(
        told !== micro.base + micro.layout.free &&
          `a fault at …${ODD.toString(16)} told 0x${told.toString(16)}`,
      );
      return [
        finding(
          'the host itself',
          'registers of a faulting enclave: not in the gate, not in guest RAM; a fault at an odd address tells its page only',
          broken,
        ),
      ];
    } finally {
      await micro.close();
    }
  },
});
