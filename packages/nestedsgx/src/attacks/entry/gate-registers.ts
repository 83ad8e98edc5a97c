import { GATE, Gate, RUNNER_MEMORY } from '@nestedsgx/cpu/host';
import { futexWake } from '@nestedsgx/os';
import { type Attack, finding, Tally } from '../attack.js';
import { exitName } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;
const FUNCTIONS = [0, 1, 4, 5, 6, 7, 9, 0x202, 0x104, 0x8000_0002, 0xffff_ffff];
/** Commands of the runtime that are wrong outside of a call, and ECALL numbers that do not exist. */
const COMMANDS = [-2, -3, -4, -100, -99_999, 11, 1000, 0x7fff_ffff];
/** ECALL `read_word` of the sample. */
const READ_WORD = 3;

export const gateRegisters: Attack = Object.freeze({
  name: 'gate-registers',
  group: 'entry',
  by: 'app',
  title: 'enter an enclave elsewhere than at its entry point, or with hostile registers',
  tries:
    'gate functions that are no entry, commands without a call, structures and stacks inside the enclave, across its edge, in ' +
    'the runner and at no address',
  control: 'an honest call through the same enclave reads the secret afterwards',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    let vault = await stage.anotherVault();
    // The second thread is attacked; the first one tells whether the secret is there.
    const open = () => new Gate(vault.built.gates.address + PAGE, { peerPidfd: connection.cvmPidfd });
    let gate = open();
    const { file } = vault.built;
    const stack = connection.memory.alloc(2 * PAGE, { alignment: PAGE, zero: true });
    const view = new DataView(vault.built.gates.bytes.buffer, vault.built.gates.bytes.byteOffset + PAGE);
    const top = stack.address + PAGE;
    const tally = new Tally();
    const broken: (string | false)[] = [];
    try {
      for (const wanted of FUNCTIONS) {
        // The library asks for EENTER or ERESUME only: another number is written by hand.
        const seq = (view.getUint32(GATE.at.requestSeq, true) + 1) >>> 0;
        view.setUint32(GATE.at.requestFunction, wanted, true);
        view.setUint32(GATE.at.requestSeq, seq, true);
        futexWake(vault.built.gates.address + PAGE, 1);
        for (let i = 0; i < 300 && view.getUint32(GATE.at.responseSeq, true) !== seq; i++)
          await new Promise<void>((resolve) => setTimeout(resolve, 1));
        const kind = view.getUint32(GATE.at.responseKind, true);
        const { kind: how } = gate.exit(kind);
        tally.add(`function: ${how}`);
        broken.push(how !== 'ENTRY_FAILED' && `function ${wanted} gave ${how}`);
      }
      const entries: [what: string, rdi: number, rsi: number, rsp: number][] = [
        ...COMMANDS.map((rdi): [string, number, number, number] => ['command', rdi, stack.address, top]),
        ...[
          vault.address,
          file.base,
          file.base - 32,
          file.base + file.size - 32,
          0,
          RUNNER_MEMORY.IMAGE,
          2 ** 47,
          2 ** 64 - 64,
          connection.ramBase + connection.ramSize - 32,
        ].map((rsi): [string, number, number, number] => ['structure', READ_WORD, rsi, top]),
        ...[
          vault.address + 64,
          file.base + file.size,
          RUNNER_MEMORY.CONTROL + 0x100,
          8,
          2 ** 47,
          2 ** 64 - 64,
        ].map((rsp): [string, number, number, number] => ['stack', 1000, stack.address, rsp]),
      ];
      gate.close();
      gate = open();
      for (const [what, rdi, rsi, rsp] of entries) {
        gate.setRegisters({ rdx: vault.address, r8: vault.address, r9: vault.address, rsp, rbp: rsp });
        const exit = gate.exit(gate.enter(rdi, rsi));
        const answer = exit.kind === 'EEXIT' ? `status ${BigInt.asUintN(32, exit.rsi)}` : exitName(exit);
        tally.add(`${what}: ${answer}`);
        broken.push(exit.kind === 'EEXIT' && exit.rsi === 0n && `${what} ${rdi}, ${rsi}: accepted`);
        broken.push(exit.kind === 'LOST' && `${what} ${rdi}, ${rsi}: the enclave ended`);
        broken.push(!vault.intact() && `${what} ${rdi}, ${rsi}: the secret was changed`);
        // A thread that was interrupted by a fault is of no use any more: the next entry gets a new enclave.
        if (exit.kind === 'AEX') {
          gate.close();
          await vault.close();
          vault = await stage.anotherVault();
          gate = open();
        }
      }
      broken.push(!vault.intact() && 'the secret was changed');
      return [
        finding('the host itself', `${tally.total} entries: ${tally}; the secret is unchanged`, broken),
      ];
    } finally {
      gate.close();
      await vault.close();
      connection.memory.free(stack);
    }
  },
});
