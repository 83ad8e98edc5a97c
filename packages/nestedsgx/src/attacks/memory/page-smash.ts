import { SVSM_CORE } from '@nestedsgx/arch';
import { type Attack, finding, refuse } from '../attack.js';
import { asKernel } from '../stage/kernel.js';
import type { Stage } from '../stage/stage.js';
import { buildStepwise, removeFrame } from '../stage/stepwise.js';
import { fill } from '../stage/vault.js';
import { victimOf } from '../stage/victim.js';

const PAGE = 4096;
const LARGE = 0x20_0000;
/** Bits of a page list entry: 2 MiB; validate; ignore an unchanged state. */
const SIZE_2M = 1;
const VALIDATE = 4;
const IGNORE_CF = 8;

export const pageSmash: Attack = Object.freeze({
  name: 'page-smash',
  group: 'memory',
  by: 'guest OS',
  title: 'mix 2 MiB and 4 KiB pages around a page that is EPC',
  tries:
    'deposits one 4 KiB page inside a 2 MiB page, keeps a secret there, then PVALIDATE, DEPOSIT_MEM and WITHDRAW_MEM of the 2 MiB ' +
    'page around it and of misaligned 2 MiB pages',
  control: 'an honest deposit and withdrawal of the whole 2 MiB page succeed afterwards',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const large = connection.memory.alloc(LARGE, { alignment: LARGE, zero: true });
    const inside = large.gpa + 16 * PAGE;
    return asKernel(connection, async (kernel) => {
      const broken: (string | null | false)[] = [];
      const { DEPOSIT_MEM, WITHDRAW_MEM, PVALIDATE } = SVSM_CORE;
      const deposited = kernel.listed(DEPOSIT_MEM, inside).code;
      broken.push(deposited !== 'success' && `the deposit gave ${deposited}, so this shows nothing`);
      const image = stage.image('evil');
      const built = buildStepwise(device, image, { lastPageFrame: inside });
      const vault = fill(victimOf(connection, built, image.description, image.page));
      const { codes } = await refuse(
        [
          ['PVALIDATE of the 2 MiB', PVALIDATE, large.gpa, SIZE_2M | VALIDATE],
          ['PVALIDATE of the 2 MiB, unchanged allowed', PVALIDATE, large.gpa, SIZE_2M | VALIDATE | IGNORE_CF],
          ['PVALIDATE of the 2 MiB away', PVALIDATE, large.gpa, SIZE_2M],
          ['PVALIDATE of the page', PVALIDATE, inside, VALIDATE],
          ['PVALIDATE of the page away', PVALIDATE, inside, 0],
          ['DEPOSIT_MEM of the 2 MiB', DEPOSIT_MEM, large.gpa, SIZE_2M],
          ['DEPOSIT_MEM of the page again', DEPOSIT_MEM, inside, 0],
          ['WITHDRAW_MEM of the 2 MiB', WITHDRAW_MEM, large.gpa, SIZE_2M],
          ['WITHDRAW_MEM of the page in use', WITHDRAW_MEM, inside, 0],
          ['a misaligned 2 MiB PVALIDATE', PVALIDATE, inside, SIZE_2M | VALIDATE],
          ['a misaligned 2 MiB WITHDRAW_MEM', WITHDRAW_MEM, inside, SIZE_2M],
          ['a 2 MiB WITHDRAW_MEM of regular EPC', WITHDRAW_MEM, vault.gpa - (vault.gpa % LARGE), SIZE_2M],
          [
            'a 2 MiB PVALIDATE of regular EPC',
            PVALIDATE,
            vault.gpa - (vault.gpa % LARGE),
            SIZE_2M | VALIDATE,
          ],
          ['a page size that does not exist', PVALIDATE, large.gpa, 3 | VALIDATE],
        ].map(([what, call, gpa, flags]) => ({
          what: what as string,
          act: () => kernel.listed(call as number, gpa as number, flags as number).code,
        })),
        undefined,
        broken,
      );
      broken.push(large.bytes.some((byte) => byte !== 0) && 'something of the enclave came into guest RAM');
      broken.push(!vault.intact() && 'the secret was changed');
      removeFrame(device, inside);
      await vault.close();
      broken.push(kernel.listed(WITHDRAW_MEM, inside).code !== 'success' && 'the page cannot be withdrawn');
      const whole = [DEPOSIT_MEM, WITHDRAW_MEM].map((call) => kernel.listed(call, large.gpa, SIZE_2M).code);
      broken.push(
        whole.some((code) => code !== 'success') && `the whole 2 MiB page gave ${whole.join(', ')}`,
      );
      connection.memory.free(large);
      return [
        finding(
          'the host itself',
          `${codes.total} requests: ${codes}; the secret is unread and unchanged`,
          broken,
        ),
      ];
    });
  },
});
