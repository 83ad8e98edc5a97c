import { text64 } from '../adversary/world.js';
import { type Attack, finding } from '../attack.js';
import type { Stage } from '../stage/stage.js';

const PAGE = 4096;

export const epcWrite: Attack = Object.freeze({
  name: 'epc-write',
  group: 'memory',
  by: 'guest OS',
  title: 'write enclave memory',
  tries:
    "writes at an EPC page's guest-physical address and at its SECS through a mapping, mmap and pwrite of the RAM file, and punches a " +
    'hole there',
  control: 'mapping and pwrite reach a page of guest RAM in the same way, where the host sees the bytes',
  run: async (stage: Stage) => {
    const vault = await stage.vault();
    const { connection } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest);
    const page = connection.memory.alloc(PAGE, { alignment: PAGE, zero: true });
    const noise = text64(new Uint8Array(64).fill(0x66));
    const broken: (string | false)[] = [];
    const control = await adversary.act('write', { gpa: page.gpa, bytes: noise });
    broken.push(control.some(({ why }) => why !== null) && 'the ways do not even reach guest RAM');
    await adversary.act('poke', { gpa: page.gpa, bytes: noise });
    broken.push(page.bytes[0] !== 0x66 && 'bytes do not even arrive in guest RAM');
    const told: string[] = [];
    for (const gpa of [vault.gpa, vault.built.file.secs]) {
      const attempts = await adversary.act('write', { gpa, bytes: noise });
      if (told.length === 0)
        told.push(...attempts.map(({ way, why }) => `${way}: ${why ?? 'no error, and no effect'}`));
      broken.push(!vault.intact() && `writing at gPA 0x${gpa.toString(16)} changed the secret`);
    }
    connection.memory.free(page);
    return [finding(stage.cast.guest.label, `${told.join('; ')}; the secret is unchanged`, broken)];
  },
});
