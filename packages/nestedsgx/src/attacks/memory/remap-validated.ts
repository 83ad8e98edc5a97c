import { SVSM_CORE } from '@nestedsgx/arch';
import { bytes64, text64 } from '../adversary/world.js';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import { Micro, microImage } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { buildStepwise, removeFrame } from '../stage/stepwise.js';
import { fill, leaks } from '../stage/vault.js';
import { victimOf } from '../stage/victim.js';

const PAGE = 4096;
const VALIDATE = 4;

export const remapValidated: Attack = Object.freeze({
  name: 'remap-validated',
  group: 'memory',
  by: 'hypervisor',
  title: 'put other memory under a page after it was validated',
  tries:
    'behind a page that is EPC: holes in the file of guest RAM, bytes written through the old mapping, a second deposit, PVALIDATE ' +
    'away and back; and reads by another enclave, whose runner maps guest RAM',
  control:
    'on a page that is guest RAM the hole and the bytes do arrive, and PVALIDATE away and back empties it',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest);
    const pages = connection.memory.alloc(2 * PAGE, { alignment: PAGE, zero: true });
    const ordinary = pages.gpa;
    const taken = pages.gpa + PAGE;
    const noise = text64(new Uint8Array(PAGE).fill(0x99));
    return asKernel(connection, async (kernel) => {
      const broken: (string | null | false)[] = [];
      const { DEPOSIT_MEM, WITHDRAW_MEM, PVALIDATE } = SVSM_CORE;
      await adversary.act('poke', { gpa: ordinary, bytes: noise });
      broken.push(pages.bytes[0] !== 0x99 && 'bytes do not even arrive in guest RAM');
      await adversary.act('hole', { gpa: ordinary, length: PAGE });
      broken.push(pages.bytes[0] !== 0 && 'a hole does not even empty a page of guest RAM');
      await adversary.act('poke', { gpa: ordinary, bytes: noise });
      const cycle = [0, VALIDATE].map((flags) => kernel.listed(PVALIDATE, ordinary, flags).code);
      broken.push(cycle.some((code) => code !== 'success') && `PVALIDATE gave ${cycle.join(', ')}`);
      broken.push(pages.bytes[0] !== 0 && 'a page kept its content over PVALIDATE');

      broken.push(kernel.listed(DEPOSIT_MEM, taken).code !== 'success' && 'the page could not be deposited');
      const image = stage.image('evil');
      const built = buildStepwise(device, image, { lastPageFrame: taken });
      const vault = fill(victimOf(connection, built, image.description, image.page));
      const spy = Micro.load(device, microImage(stage.signer));
      await adversary.act('poke', { gpa: taken, bytes: noise });
      broken.push(!vault.intact() && 'bytes written through the old mapping reached the enclave');
      await adversary.act('hole', { gpa: taken, length: PAGE });
      broken.push(!vault.intact() && 'a hole took the content away');
      const { codes } = await refuse(
        [
          { what: 'a second deposit', act: () => kernel.listed(DEPOSIT_MEM, taken).code },
          { what: 'PVALIDATE away', act: () => kernel.listed(PVALIDATE, taken, 0).code },
          { what: 'PVALIDATE back', act: () => kernel.listed(PVALIDATE, taken, VALIDATE).code },
          { what: 'a withdrawal while in use', act: () => kernel.listed(WITHDRAW_MEM, taken).code },
        ],
        undefined,
        broken,
      );
      const outside = spy.readBytes(connection.ramBase + taken - spy.base, 64);
      broken.push(leaks(vault.secret, outside) && 'another enclave reads the secret through guest RAM');
      const seen = bytes64(await adversary.act('peek', { gpa: taken, length: PAGE }));
      broken.push(leaks(vault.secret, seen) && 'the mapping shows the secret');
      broken.push(!vault.intact() && 'the secret was changed');
      await spy.close();
      removeFrame(device, taken);
      await vault.close();
      broken.push(kernel.listed(WITHDRAW_MEM, taken).code !== 'success' && 'the page cannot be withdrawn');
      broken.push(
        pages.bytes.some((byte) => byte !== 0) && 'the page is not empty when it is guest RAM again',
      );
      connection.memory.free(pages);
      return [
        finding(
          stage.cast.guest.label,
          `holes and bytes behind a deposited page change nothing; ${codes.total} requests: ${codes}; another enclave sees no secret`,
          broken,
        ),
      ];
    });
  },
});
