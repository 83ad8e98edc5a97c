import { SEV_FEATURES_SNP_ACTIVE, SVSM_CORE, SVSM_PROTOCOL, svsmResultName, VMSA } from '@nestedsgx/arch';
import { MONITOR_GPA } from '@nestedsgx/machine';
import type { RawCall } from '../adversary/guest-acts.js';
import { bytes64, text64 } from '../adversary/world.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { leaks } from '../stage/vault.js';

const PAGE = 4096;
const LARGE = 0x20_0000;
const CORE = SVSM_PROTOCOL.CORE;
const AP_CREATION = 0x8000_0013;
const PAGE_STATE_CHANGE = 0x8000_0010;
const SHARED_BUFFER = 0x800;

interface Trick {
  what: string;
  call: RawCall;
  /** Written before the call. */
  piece?: { gpa: number; bytes: string };
}

/** One entry of a page list: page size in bits 1:0, bit 2 = validate. */
function list(gpa: number, flags: number): string {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 1, true);
  view.setBigUint64(8, BigInt(gpa) | BigInt(flags), true);
  return text64(bytes);
}

function vmsa(vmpl: number, features = SEV_FEATURES_SNP_ACTIVE): string {
  return text64(VMSA.encode({ VMPL: vmpl, SEV_FEATURES: BigInt(features), EFER: 0x1d01n, RIP: 0x1000n }));
}

/** Everything VMPL1 can ask for that would change who may touch a page; each must be refused. */
function tricks(epc: number, ownEpc: number, page: number): Trick[] {
  const at = (gpa: number, bytes: string) => ({ gpa, bytes });
  const listed = (what: string, call: number, gpa: number, flags: number): Trick => ({
    what,
    call: { protocol: CORE, call, rcx: page },
    piece: at(page, list(gpa, flags)),
  });
  const vcpu = (what: string, content: string | null, rcx: number, rdx: number): Trick => ({
    what,
    call: { protocol: CORE, call: SVSM_CORE.CREATE_VCPU, rcx, rdx, r8: 7 },
    piece: content === null ? undefined : at(page, content),
  });
  const caa = page + PAGE;
  return [
    listed('PVALIDATE of EPC', SVSM_CORE.PVALIDATE, epc, 4),
    listed('PVALIDATE of EPC away', SVSM_CORE.PVALIDATE, epc, 8),
    listed('PVALIDATE of EPC as 2 MiB', SVSM_CORE.PVALIDATE, epc - (epc % LARGE), 5),
    listed("PVALIDATE of the monitor's page", SVSM_CORE.PVALIDATE, MONITOR_GPA, 4),
    listed('DEPOSIT_MEM of EPC', SVSM_CORE.DEPOSIT_MEM, epc, 0),
    listed("DEPOSIT_MEM of the monitor's page", SVSM_CORE.DEPOSIT_MEM, MONITOR_GPA, 0),
    listed('WITHDRAW_MEM of EPC', SVSM_CORE.WITHDRAW_MEM, epc, 0),
    listed("WITHDRAW_MEM of the monitor's page", SVSM_CORE.WITHDRAW_MEM, MONITOR_GPA, 0),
    vcpu('CREATE_VCPU with VMPL 0', vmsa(0), page, caa),
    vcpu('CREATE_VCPU with VMPL 3', vmsa(3), page, caa),
    vcpu('CREATE_VCPU without SNP', vmsa(1, 0n as unknown as typeof SEV_FEATURES_SNP_ACTIVE), page, caa),
    vcpu('CREATE_VCPU with its save area in EPC', null, epc, caa),
    vcpu('CREATE_VCPU with its save area in the monitor', null, MONITOR_GPA, caa),
    vcpu('CREATE_VCPU with its calling area in EPC', vmsa(1), page, epc),
    { what: 'REMAP_CA to EPC', call: { protocol: CORE, call: SVSM_CORE.REMAP_CA, rcx: epc } },
    { what: 'REMAP_CA to EPC of its own', call: { protocol: CORE, call: SVSM_CORE.REMAP_CA, rcx: ownEpc } },
    { what: 'REMAP_CA to the monitor', call: { protocol: CORE, call: SVSM_CORE.REMAP_CA, rcx: MONITOR_GPA } },
    { what: 'CONFIGURE_VTOM', call: { protocol: CORE, call: SVSM_CORE.CONFIGURE_VTOM, rcx: epc } },
  ];
}

/** A page state change of one 4 KiB page: private 1, shared 2, smash 3, unsmash 4. */
function pageState(gpa: number, operation: number): string {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(8, BigInt(gpa) | (BigInt(operation) << 52n), true);
  return text64(bytes);
}

export const rmpTricks: Attack = Object.freeze({
  name: 'rmp-self',
  group: 'memory',
  by: 'guest OS',
  control: 'an honest CREATE_VCPU through the same virtual CPU succeeds',
  title: 'VMPL1 changes its own permissions',
  tries:
    'PVALIDATE, DEPOSIT_MEM, WITHDRAW_MEM, REMAP_CA, page state changes and virtual CPUs with VMPL 0, aimed at EPC and at ' +
    "the monitor's pages; then rewrites the save area of a virtual CPU it was given",
  run: async (stage: Stage) => {
    const vault = await stage.vault();
    const adversary = await stage.attachedAdversary();
    const share = await adversary.act('whereami', undefined);
    const page = share.slice.gpa;
    const refused = new Tally();
    const broken: (string | null | false)[] = [];
    const all = tricks(vault.gpa, share.epc.first, page);
    for (const { what, call, piece } of all) {
      const [answer] = await adversary.act('calls', {
        pieces: piece === undefined ? [] : [piece],
        calls: [call],
      });
      if (!answer!.answered) broken.push(`${what} was not answered`);
      else if (answer!.rax === 0) broken.push(`${what} succeeded`);
      else refused.add(svsmResultName(answer!.rax).replace('SVSM_', ''));
    }
    const { ghcb } = share;
    const exits = [vault.gpa, MONITOR_GPA].flatMap((gpa) =>
      [1, 2, 3, 4].map((operation) => ({ gpa, operation })),
    );
    for (const { gpa, operation } of exits) {
      const shared = pageState(gpa, operation);
      const [change] = await adversary.act('exits', {
        exits: [{ code: PAGE_STATE_CHANGE, scratch: ghcb + SHARED_BUFFER, shared }],
      });
      if (change!.info1 === 0 && change!.info2 === 0)
        broken.push(`page state change ${operation} of 0x${gpa.toString(16)} succeeded`);
      else refused.add('page state change refused');
    }
    const starts = await adversary.act('exits', {
      exits: [0, 1].flatMap((request) => [
        { code: AP_CREATION, info1: request, info2: vault.gpa },
        { code: AP_CREATION, info1: request, info2: page },
      ]),
    });
    for (const answer of starts) {
      if (answer.info1 === 0) broken.push('AP creation at VMPL 0 succeeded');
      else refused.add('AP creation malformed');
    }
    // A save area that the monitor accepts is out of the guest's hands from then on.
    const [made] = await adversary.act('calls', {
      pieces: [{ gpa: page, bytes: vmsa(1) }],
      calls: [{ protocol: CORE, call: SVSM_CORE.CREATE_VCPU, rcx: page, rdx: page + PAGE, r8: 7 }],
    });
    if (made!.rax !== 0) broken.push(`an honest CREATE_VCPU was refused: ${svsmResultName(made!.rax)}`);
    await adversary.act('poke', { gpa: page + VMSA.offsets.VMPL, bytes: text64(new Uint8Array([0])) });
    const [zero] = await adversary.act('exits', {
      exits: [{ code: AP_CREATION, info1: 7 * 2 ** 32 + 1, info2: page }],
    });
    if (zero!.info1 === 0) broken.push('a save area rewritten to VMPL 0 was started as that');
    const [deleted] = await adversary.act('calls', {
      calls: [{ protocol: CORE, call: SVSM_CORE.DELETE_VCPU, rcx: page }],
    });
    if (deleted!.rax !== 0) broken.push(`DELETE_VCPU was refused: ${svsmResultName(deleted!.rax)}`);
    const attempts = await adversary.act('read', { gpa: vault.gpa, length: vault.secret.length });
    if (attempts.some(({ bytes }) => bytes !== null && leaks(vault.secret, bytes64(bytes))))
      broken.push('afterwards the secret could be read');
    if (!vault.intact()) broken.push('afterwards the secret was changed');
    return [
      finding(
        stage.cast.guest.label,
        `${all.length + exits.length + starts.length + 1} requests, refused with ${refused}; a save area rewritten to VMPL 0 ` +
          'has no effect; the secret is unread and unchanged',
        broken,
      ),
    ];
  },
});
