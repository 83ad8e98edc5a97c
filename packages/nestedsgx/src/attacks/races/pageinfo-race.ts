import { ENCLS, PAGEINFO, PT_REG, SECINFO_R, SECINFO_W, SECINFO_X, secinfoBytes } from '@nestedsgx/arch';
import { text64 } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import { einit } from '../lifecycle/measured-order.js';
import { asKernel } from '../stage/kernel.js';
import { EXIT_CODE, exitName, Micro, microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { leaks } from '../stage/vault.js';

const MS = 350;
const ROUNDS = 6;
const READ_ONLY = SECINFO_R | (PT_REG << 8);

export const pageinfoRace: Attack = Object.freeze({
  name: 'pageinfo-race',
  group: 'races',
  by: 'guest OS',
  title: 'change PAGEINFO and SECINFO while EADD checks them',
  tries:
    "a second process turns SRCPGE, SECS and LINADDR of a PAGEINFO between honest ones and a victim's, and the permissions in a SECINFO " +
    'between read-only and all, while EADD runs again and again',
  control: 'both sides of the race come through: some EADD succeed, some are refused',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const vault = await stage.vault();
    const adversary = await stage.adversary(stage.cast.guest);
    // The last page holds code: were it executable, a jump there would leave in the ordinary way.
    const layout = microImage(stage.signer, { last: EXIT_CODE });
    const young = prepare(device, layout);
    const codes = new Tally();
    const broken: (string | false)[] = [];
    try {
      await asKernel(connection, async (kernel) => {
        const frame = kernel.frame();
        const secinfo = kernel.page(3);
        kernel.bytes(3).set(secinfoBytes(READ_ONLY));
        const info = (linaddr: number, source: number, secs: number) =>
          PAGEINFO.encode({
            LINADDR: BigInt(linaddr),
            SRCPGE: BigInt(source),
            SECINFO: BigInt(secinfo),
            SECS: BigInt(secs),
          });
        const at = young.file.base + layout.free;
        const pageinfo = kernel.page(2);
        const honest = info(at, kernel.page(1), young.file.secs);
        kernel.bytes(2).set(honest);
        const hostile = [
          info(at, vault.gpa, young.file.secs),
          info(vault.address, kernel.page(1), vault.built.file.secs),
          info(young.file.base + 2 ** 20, kernel.page(1), young.file.secs),
        ];
        for (const two of hostile) {
          const { done } = await adversary.begin('toggle', {
            gpa: pageinfo,
            one: text64(honest),
            two: text64(two),
            ms: MS,
          });
          const started = performance.now();
          while (performance.now() - started < MS - 20) {
            const { code } = kernel.sgx(ENCLS.EADD, pageinfo, frame);
            codes.add(code);
            if (code === 'success') kernel.sgx(ENCLS.EREMOVE, 0, frame);
          }
          await done;
        }
        broken.push(!vault.intact() && 'the secret was changed');
        broken.push(leaks(vault.secret, kernel.block.bytes) && 'the secret came into guest RAM');
        // Permissions are measured: an enclave that is accepted has those that were signed.
        for (let round = 0; round < ROUNDS; round++) {
          const flags = SECINFO_R | SECINFO_W | (PT_REG << 8);
          const all = flags | SECINFO_X;
          const enclave = prepare(device, layout, { lastPageLeftOut: true });
          kernel.bytes(3).set(secinfoBytes(flags));
          const { done } = await adversary.begin('toggle', {
            gpa: secinfo,
            one: text64(secinfoBytes(flags)),
            two: text64(secinfoBytes(all)),
            ms: 12,
          });
          const target = kernel.frame();
          kernel.bytes(1).fill(0).set(EXIT_CODE);
          kernel.bytes(2).set(info(enclave.file.base + layout.page, kernel.page(1), enclave.file.secs));
          kernel.sgx(ENCLS.EADD, pageinfo, target);
          for (let chunk = 0; chunk < 16; chunk++)
            kernel.sgx(ENCLS.EEXTEND, enclave.file.secs, target + chunk * 256);
          await done;
          const code = einit(kernel, enclave.file.secs, layout.sigstruct);
          codes.add(`EINIT ${code}`);
          if (code === 'success') {
            const micro = Micro.of(connection, layout, enclave);
            const jumped = exitName(micro.enter(OP.CALL, { rsi: micro.base + layout.page }));
            codes.add(`a jump there ${jumped}`);
            broken.push(jumped !== '#PF' && jumped !== 'EEXIT' && `a jump to the page gave ${jumped}`);
            broken.push(jumped === 'EEXIT' && 'a page that was signed without X is executed');
            // The driver does not know of this page: it goes first, so that the rest of the enclave can go.
            kernel.sgx(ENCLS.EREMOVE, 0, target);
            await micro.close();
          } else {
            kernel.sgx(ENCLS.EREMOVE, 0, target);
            enclave.give();
          }
        }
        broken.push(codes.count('success') === 0 && 'no honest EADD came through, so this shows nothing');
        broken.push(codes.total - codes.count('success') < 10 && 'hardly a hostile PAGEINFO came through');
      });
    } finally {
      young.give();
    }
    return [
      finding(
        stage.cast.guest.label,
        `${codes.total} times: ${codes}; the secret is unread and unchanged`,
        broken,
      ),
    ];
  },
});
