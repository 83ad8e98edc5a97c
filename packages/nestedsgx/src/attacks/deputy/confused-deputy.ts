import { SEV_FEATURES_SNP_ACTIVE, SVSM_CORE, VMSA } from '@nestedsgx/arch';
import { MONITOR_GPA } from '@nestedsgx/machine';
import { type Attack, finding, Tally } from '../attack.js';
import { asKernel, type HostileKernel } from '../stage/kernel.js';
import { microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';
import { operandTable, Surroundings } from './operands.js';

const PAGE = 4096;

/** An address, and for which operands it is wrong. */
interface Target {
  what: string;
  gpa: number;
  /** True where a frame operand there is this guest's own and may be right. */
  own?: boolean;
}

/** Walks the table with every target; what succeeds is broken. */
async function walk(stage: Stage, targets: (kernel: HostileKernel) => Promise<readonly Target[]>) {
  const { connection, device } = await stage.host();
  const vault = await stage.vault();
  const layout = microImage(stage.signer, { dataPages: 3 });
  return asKernel(connection, async (kernel) => {
    const around = new Surroundings(kernel, device, layout);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    try {
      const table = operandTable(around);
      const answers = new Map(table.map((row) => [row, new Set<string>()]));
      for (const { what, gpa, own } of await targets(kernel))
        for (const row of table) {
          const { call, operand, kind, act } = row;
          if (kind === 'frame' && own === true) continue;
          const code = act(gpa);
          codes.add(code);
          answers.get(row)!.add(code);
          broken.push(code === 'success' && `${call} with ${operand} in ${what} succeeded`);
        }
      broken.push(leaks(vault.secret, kernel.block.bytes) && 'the secret came into guest RAM');
      broken.push(!vault.intact() && 'the secret was changed');
      // The honest address, last: what succeeds changes what the table stands on. Memory that is the guest's own gets
      // another answer than memory that is not.
      let honest = 0;
      kernel.bytes(9).fill(0);
      around.ready();
      for (const row of table)
        if (row.kind === 'memory' && !answers.get(row)!.has(row.act(kernel.page(9)))) honest++;
      broken.push(honest < 20 && `only ${honest} requests get another answer with honest memory`);
      return { codes, broken, honest, rows: table.length };
    } finally {
      await around.close();
    }
  });
}

export const confusedDeputy: Attack = Object.freeze({
  name: 'confused-deputy',
  group: 'deputy',
  by: 'guest OS',
  title: 'make the monitor read or write what the guest may not',
  tries:
    "every address of every leaf and call, one at a time, in a victim's EPC, its SECS, a deposited page, a save area and the monitor",
  control: "the same requests get another answer where the address is the guest's own memory",
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const vault = await stage.vault();
    const ram = connection.memory.alloc(3 * PAGE, { alignment: PAGE, zero: true });
    let release = () => {};
    try {
      const { codes, broken, honest, rows } = await walk(stage, async (kernel) => {
        const [deposited, save, area] = [0, 1, 2].map((i) => ram.gpa + i * PAGE) as [number, number, number];
        const taken = kernel.listed(SVSM_CORE.DEPOSIT_MEM, deposited).code;
        ram.bytes.set(
          VMSA.encode({
            VMPL: 1,
            SEV_FEATURES: BigInt(SEV_FEATURES_SNP_ACTIVE),
            EFER: 0x1d01n,
            RIP: 0x1000n,
          }),
          PAGE,
        );
        const made = kernel.core(SVSM_CORE.CREATE_VCPU, save, area, 8).code;
        if (taken !== 'success' || made !== 'success') throw new Error(`setting up gave ${taken}, ${made}`);
        release = () => {
          connection.vcpu.call(0, SVSM_CORE.DELETE_VCPU, save);
          const list = connection.memory.alloc(64, { alignment: PAGE, zero: true });
          const view = new DataView(list.bytes.buffer, list.bytes.byteOffset, 16);
          view.setUint16(0, 1, true);
          view.setBigUint64(8, BigInt(deposited), true);
          connection.vcpu.call(0, SVSM_CORE.WITHDRAW_MEM, list.gpa);
          connection.memory.free(list);
        };
        return [
          { what: "a victim's EPC", gpa: vault.gpa, own: true },
          { what: 'its SECS', gpa: vault.built.file.secs, own: true },
          { what: 'a deposited page', gpa: deposited, own: true },
          { what: "the monitor's page", gpa: MONITOR_GPA },
        ];
      });
      return [
        finding(
          'the host itself',
          `${codes.total} requests (${rows} operands): ${codes}; the secret is unread and unchanged; ${honest} get another answer with honest memory`,
          broken,
        ),
      ];
    } finally {
      release();
      connection.memory.free(ram);
    }
  },
});

export const addressLimits: Attack = Object.freeze({
  name: 'address-limits',
  group: 'deputy',
  by: 'guest OS',
  title: 'addresses beyond memory, around its edges and around the end of numbers',
  tries:
    'every address of every leaf and call at the end of guest RAM, across it, in the gaps between RAM, monitor and EPC, beyond 2^52 and 2^53, ' +
    'where adding wraps around, and just below aligned ones',
  control: "the same requests get another answer where the address is the guest's own memory",
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const { ramSize, epc } = connection;
    const { codes, broken, honest, rows } = await walk(stage, async () => [
      { what: 'the end of RAM', gpa: ramSize },
      { what: 'the last bytes of RAM', gpa: ramSize - 8 },
      { what: 'the gap below the monitor', gpa: MONITOR_GPA - PAGE },
      { what: 'the gap below the EPC', gpa: 0x80_0000_0000 - PAGE },
      { what: 'behind the EPC', gpa: epc.first + 2 ** 40 },
      { what: '2^52', gpa: 2 ** 52 },
      { what: '2^53', gpa: 2 ** 53 },
      { what: '2^63', gpa: 2 ** 63 },
      { what: 'the last page of all', gpa: 2 ** 64 - PAGE },
      { what: 'an odd address in EPC', gpa: epc.first + 1 },
    ]);
    return [
      finding(
        'the host itself',
        `${codes.total} requests (${rows} operands): ${codes}; ${honest} get another answer with honest memory`,
        broken,
      ),
    ];
  },
});
