import { ENCLS } from '@nestedsgx/arch';
import { type GuestConnection, SGX_CALL, Vcpu } from '@nestedsgx/guest';
import { caaGpa, DOORBELL_GPA, ghcbGpa } from '@nestedsgx/machine';
import { type Attack, finding, Tally } from '../attack.js';
import { einit } from '../lifecycle/measured-order.js';
import { asKernel } from '../stage/kernel.js';
import { microImage, OP } from '../stage/micro.js';
import type { Stage } from '../stage/stage.js';
import { operandTable, Surroundings } from './operands.js';

const PAGE = 4096;
/** Calls that name no EPC: any guest may make them. */
const ANYBODYS = new Set([
  'QUOTE',
  'QE_TARGETINFO',
  'PVALIDATE',
  'DEPOSIT_MEM',
  'WITHDRAW_MEM',
  'CREATE_VCPU',
  'DELETE_VCPU',
]);

/** The virtual CPU of another guest: its pages lie in guest RAM, where every guest can fill and ring them. */
function vcpuOf(connection: GuestConnection, id: number): Vcpu {
  return new Vcpu({
    id,
    ghcb: connection.view(ghcbGpa(id), PAGE),
    caa: connection.view(caaGpa(id), PAGE),
    caaAddress: connection.ramBase + caaGpa(id),
    doorbell: connection.view(DOORBELL_GPA, PAGE),
    doorbellAddress: connection.ramBase + DOORBELL_GPA,
    cvmPidfd: connection.cvmPidfd,
    maxSpinCycles: 0,
  });
}

export const foreignEnclave: Attack = Object.freeze({
  name: 'foreign-enclave',
  group: 'deputy',
  by: 'guest OS',
  title: "operate on another host's enclave",
  tries:
    'every leaf and call that names EPC, through the virtual CPU of a second guest: enclaves under construction, running ones, their SECS, pages, ' +
    'version arrays and pages that are out',
  control: 'the second guest is served for itself, and the same requests of the owner succeed afterwards',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const vault = await stage.vault();
    const adversary = await stage.attachedAdversary();
    const { vcpu: id, epc } = await adversary.act('whereami', undefined);
    const foreign = vcpuOf(connection, id);
    const layout = microImage(stage.signer, { dataPages: 3 });
    return asKernel(connection, async (kernel) => {
      const around = new Surroundings(kernel, device, layout);
      const codes = new Tally();
      const broken: (string | false)[] = [];
      const own = kernel.vcpu;
      try {
        const rows = operandTable(around).filter(({ call }) => !ANYBODYS.has(call));
        kernel.vcpu = foreign;
        const served = kernel.service(SGX_CALL.QUERY);
        const itself = [
          kernel.sgx(ENCLS.EPA, 3, epc.first).code,
          kernel.sgx(ENCLS.EREMOVE, 0, epc.first).code,
        ];
        broken.push(
          [served, ...itself].some((code) => code !== 'success') &&
            `the attacker is not served for itself: ${[served, ...itself].join(', ')}`,
        );
        const frames = [vault.gpa, vault.built.file.secs, around.young.file.secs, around.va];
        for (const { call, operand, kind, act } of rows)
          for (const target of kind === 'memory' ? [kernel.page(9)] : frames) {
            const code = act(target);
            codes.add(code);
            broken.push(code === 'success' && `${call} with ${operand} 0x${target.toString(16)} succeeded`);
          }
        kernel.vcpu = own;
        const back = around.pager.load(around.out, around.micro.secs);
        const started = einit(kernel, around.young.file.secs, layout.sigstruct);
        broken.push(
          (back !== 'success' || started !== 'success') &&
            `the owner's own requests gave ${back}, ${started}`,
        );
        broken.push(around.micro.enter(OP.NOTHING).kind !== 'EEXIT' && 'the running enclave does not answer');
        broken.push(!vault.intact() && 'the secret was changed');
        return [
          finding(
            `${stage.cast.guest.label}, attached as a second guest`,
            `${codes.total} requests: ${codes}; all enclaves are as before, and their owner is served`,
            broken,
          ),
        ];
      } finally {
        kernel.vcpu = own;
        await around.close();
      }
    });
  },
});
