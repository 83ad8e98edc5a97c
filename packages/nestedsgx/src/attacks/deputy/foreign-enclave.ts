import {
  ADD_RANGE,
  ENCLS,
  PAGEINFO,
  PT_REG,
  SECINFO_R,
  SVSM_CORE,
  SVSM_PROTOCOL,
  secinfoBytes,
} from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import type { RawCall } from '../adversary/guest-acts.js';
import { text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';

const SGX = 0x4e53;
const PAGE = 4096;

export const foreignEnclave: Attack = Object.freeze({
  name: 'foreign-enclave',
  group: 'deputy',
  by: 'guest OS',
  control:
    'a request of the attacker for itself is served, and the enclave is initialised by its owner afterwards',
  title: "operate on another host's enclave",
  tries:
    'a second guest, attached through the socket, names SECS, EPC pages and threads of the first one in every leaf and ' +
    'service call, through its own virtual CPU',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const vault = await stage.vault();
    const adversary = await stage.attachedAdversary();
    const { slice, epc } = await adversary.act('whereami', undefined);
    // An enclave of the first guest that is still being built is the weakest: pages could be added to it.
    const young = prepare(device, stage.image('evil'));
    const { secs } = vault.built.file;
    const page = slice.gpa;
    const secinfo = { gpa: page + 512, bytes: text64(secinfoBytes(SECINFO_R | (PT_REG << 8))) };
    const pageinfo = (of: number, linear: number) => ({
      gpa: page,
      bytes: text64(
        PAGEINFO.encode({
          LINADDR: BigInt(linear),
          SRCPGE: BigInt(page + PAGE),
          SECINFO: BigInt(page + 512),
          SECS: BigInt(of),
        }),
      ),
    });
    const range = (of: number, frame: number) => ({
      gpa: page + 1024,
      bytes: text64(
        ADD_RANGE.encode({
          SECS: BigInt(of),
          LINADDR: BigInt(young.file.base),
          SRC: BigInt(page + PAGE),
          LENGTH: BigInt(PAGE),
          SECINFO: BigInt(page + 512),
          EPC: BigInt(frame),
          FLAGS: 1n,
        }),
      ),
    });
    const list = new Uint8Array(16);
    new DataView(list.buffer).setUint16(0, 1, true);
    new DataView(list.buffer).setBigUint64(8, BigInt(vault.gpa), true);
    const leaf = (
      what: string,
      call: number,
      rcx: number,
      rdx = 0,
      r8 = 0,
      pieces: { gpa: number; bytes: string }[] = [],
    ) => ({
      what,
      call: { protocol: SGX, call, rcx, rdx, r8 } as RawCall,
      pieces,
    });
    const requests = [
      leaf('EREMOVE of a page', ENCLS.EREMOVE, 0, vault.gpa),
      leaf('EREMOVE of the SECS', ENCLS.EREMOVE, 0, secs),
      leaf('REMOVE_RANGE', SGX_CALL.REMOVE_RANGE, vault.gpa, 1),
      leaf('EADD to the enclave', ENCLS.EADD, page, epc.first, 0, [
        pageinfo(young.file.secs, young.file.base),
        secinfo,
      ]),
      leaf('EADD over a page of the enclave', ENCLS.EADD, page, vault.gpa, 0, [
        pageinfo(young.file.secs, young.file.base),
        secinfo,
      ]),
      leaf('ADD_RANGE to the enclave', SGX_CALL.ADD_RANGE, page + 1024, 0, 0, [
        range(young.file.secs, epc.first),
        secinfo,
      ]),
      leaf('ECREATE over a page of the enclave', ENCLS.ECREATE, page, vault.gpa, 0, [
        pageinfo(0, 0),
        secinfo,
      ]),
      leaf('EEXTEND', ENCLS.EEXTEND, young.file.secs, vault.gpa),
      leaf('EINIT', ENCLS.EINIT, page + PAGE, young.file.secs, page + 2 * PAGE, [
        { gpa: page + PAGE, bytes: text64(stage.image('evil').sigstruct) },
      ]),
      leaf('EDBGRD', ENCLS.EDBGRD, page, vault.gpa),
      leaf('EBLOCK', ENCLS.EBLOCK, 0, vault.gpa),
      leaf('EWB', ENCLS.EWB, page, vault.gpa, epc.first),
      leaf('EMODPR', ENCLS.EMODPR, page + 512, vault.gpa, 0, [secinfo]),
      leaf('EMODT', ENCLS.EMODT, page + 512, vault.gpa, 0, [secinfo]),
      leaf('BIND_GATES', SGX_CALL.BIND_GATES, young.file.secs, page, 1),
      leaf('KICK', SGX_CALL.KICK, secs, 0),
      leaf('ENCLAVE_STATUS', SGX_CALL.ENCLAVE_STATUS, secs),
      leaf('AUTHORIZE_PROVISION', SGX_CALL.AUTHORIZE_PROVISION, young.file.secs),
      {
        what: 'WITHDRAW_MEM',
        call: { protocol: SVSM_PROTOCOL.CORE, call: SVSM_CORE.WITHDRAW_MEM, rcx: page },
        pieces: [{ gpa: page, bytes: text64(list) }],
      },
    ];
    const codes = new Tally();
    const broken: string[] = [];
    try {
      const [own] = await adversary.act('calls', { calls: [{ protocol: SGX, call: SGX_CALL.QUERY }] });
      if (own!.rax !== 0) broken.push('the attacker is not served at all, so this shows nothing');
      for (const { what, call, pieces } of requests) {
        const [answer] = await adversary.act('calls', { pieces, calls: [call] });
        const code = leafCode(answer!.rax, answer!.rcx);
        codes.add(code);
        if (!answer!.answered) broken.push(`${what} was not answered`);
        if (code === 'success') broken.push(`${what} succeeded`);
      }
      young.file.init(stage.image('evil').sigstruct);
    } catch (error) {
      broken.push(`the young enclave could no longer be initialised: ${(error as Error).message}`);
    } finally {
      young.give();
    }
    if (!vault.intact()) broken.push('the secret was changed');
    return [
      finding(
        `${stage.cast.guest.label}, attached as a second guest`,
        `${requests.length} requests: ${codes}; both enclaves are as before`,
        broken,
      ),
    ];
  },
});
