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
import { MONITOR_GPA } from '@nestedsgx/machine';
import type { RawCall } from '../adversary/guest-acts.js';
import { bytes64, text64 } from '../adversary/world.js';
import { leafCode } from '../answers.js';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';
import { prepare } from '../stage/stepwise.js';
import { leaks } from '../stage/vault.js';

const SGX = 0x4e53;
const PAGE = 4096;
const FREE_OFFSET = 0;

interface Deputy {
  what: string;
  call: RawCall;
  pieces?: { gpa: number; bytes: string }[];
}

/** Addresses of the victim's host that the requests name. */
interface Places {
  /** Page of guest RAM for operands, and the one after it. */
  page: number;
  /** An enclave of the attacker's that is not initialised. */
  secs: number;
  base: number;
  /** A free frame of its own. */
  free: number;
}

/** Requests that ask the monitor to read or write `target` on the guest's behalf. */
function deputies(name: string, target: number, { page, secs, base, free }: Places): Deputy[] {
  const secinfo = page + 512;
  const flags = { gpa: secinfo, bytes: text64(secinfoBytes(SECINFO_R | (PT_REG << 8))) };
  const pageinfo = (src: number, info: number) => ({
    gpa: page,
    bytes: text64(
      PAGEINFO.encode({
        LINADDR: BigInt(base + FREE_OFFSET),
        SRCPGE: BigInt(src),
        SECINFO: BigInt(info),
        SECS: BigInt(secs),
      }),
    ),
  });
  const range = (src: number, info: number, length = PAGE) => ({
    gpa: page + 1024,
    bytes: text64(
      ADD_RANGE.encode({
        SECS: BigInt(secs),
        LINADDR: BigInt(base + FREE_OFFSET),
        SRC: BigInt(src),
        LENGTH: BigInt(length),
        SECINFO: BigInt(info),
        EPC: BigInt(free),
        FLAGS: 1n,
      }),
    ),
  });
  const leaf = (
    what: string,
    call: number,
    rcx: number,
    rdx: number,
    r8: number,
    pieces: Deputy['pieces'] = [],
  ) => ({
    what: `${what} ${name}`,
    call: { protocol: SGX, call, rcx, rdx, r8 },
    pieces,
  });
  return [
    leaf('EADD from', ENCLS.EADD, page, free, 0, [pageinfo(target, secinfo), flags]),
    leaf('EADD with PAGEINFO in', ENCLS.EADD, target, free, 0, [flags]),
    leaf('EADD with SECINFO in', ENCLS.EADD, page, free, 0, [pageinfo(page + 2 * PAGE, target), flags]),
    leaf('ADD_RANGE from', SGX_CALL.ADD_RANGE, page + 1024, 0, 0, [range(target, secinfo), flags]),
    leaf('ADD_RANGE with SECINFO in', SGX_CALL.ADD_RANGE, page + 1024, 0, 0, [range(page, target), flags]),
    leaf('ADD_RANGE with its operand in', SGX_CALL.ADD_RANGE, target, 0, 0),
    leaf('ECREATE with SECS from', ENCLS.ECREATE, page, free, 0, [pageinfo(target, secinfo), flags]),
    leaf('EINIT with SIGSTRUCT in', ENCLS.EINIT, target, secs, page),
    leaf('EINIT with EINITTOKEN in', ENCLS.EINIT, page + 2 * PAGE, secs, target),
    leaf('QUOTE of a REPORT in', SGX_CALL.QUOTE, target, page, 65_536),
    leaf('QUOTE into', SGX_CALL.QUOTE, page, target, 65_536),
    leaf('QE_TARGETINFO into', SGX_CALL.QE_TARGETINFO, target, 0, 0),
    leaf('BIND_GATES in', SGX_CALL.BIND_GATES, secs, target, 1),
    {
      what: `a list of DEPOSIT_MEM in ${name}`,
      call: { protocol: SVSM_PROTOCOL.CORE, call: SVSM_CORE.DEPOSIT_MEM, rcx: target },
    },
    {
      what: `a list of PVALIDATE in ${name}`,
      call: { protocol: SVSM_PROTOCOL.CORE, call: SVSM_CORE.PVALIDATE, rcx: target },
    },
  ];
}

export const confusedDeputy: Attack = Object.freeze({
  name: 'confused-deputy',
  group: 'deputy',
  by: 'guest OS',
  control: 'every request succeeds, or gets further, with honest addresses',
  title: 'make the monitor read or write what the guest may not',
  tries:
    "EADD, ECREATE, EINIT, QUOTE and others whose source, operand or output lies in a victim's EPC, in the monitor or " +
    'beyond memory',
  run: async (stage: Stage) => {
    const { connection, device } = await stage.host();
    const vault = await stage.vault();
    const adversary = await stage.adversary(stage.cast.guest);
    const { file, give } = prepare(device, stage.image('evil'));
    const block = connection.memory.alloc(4 * PAGE, { alignment: PAGE, zero: true });
    const { gpa: free } = connection.epc.take(1);
    const places = { page: block.gpa, secs: file.secs, base: file.base, free };
    const targets: [string, number][] = [
      ["a victim's EPC", vault.gpa],
      ['its SECS', file.secs],
      ["the monitor's page", MONITOR_GPA],
      ['nothing (end of RAM)', connection.ramSize],
      ['nothing (2^52)', 2 ** 52],
    ];
    const codes = new Tally();
    const broken: string[] = [];
    try {
      for (const [name, target] of targets)
        for (const { what, call, pieces } of deputies(name, target, places)) {
          for (const piece of pieces ?? []) await adversary.act('poke', piece);
          const answer = await adversary.act('callAs', { vcpu: connection.vcpu.id, ...call });
          const code = leafCode(answer.rax, answer.rcx);
          codes.add(code);
          if (!answer.answered) broken.push(`${what} was not answered`);
          if (code === 'success') broken.push(`${what} succeeded`);
        }
      const memory = bytes64(await adversary.act('peek', { gpa: block.gpa, length: 4 * PAGE }));
      if (leaks(vault.secret, memory)) broken.push('the secret was copied into guest RAM');
      if (!vault.intact()) broken.push('the secret was overwritten');
    } finally {
      give();
      connection.epc.give(free, 1);
      connection.memory.free(block);
    }
    return [
      finding(
        stage.cast.guest.label,
        `${codes.total} requests: ${codes}; the secret is unread and unchanged`,
        broken,
      ),
    ];
  },
});
