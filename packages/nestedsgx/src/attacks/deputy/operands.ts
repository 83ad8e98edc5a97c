/** Every address that a guest passes to the monitor, call by call: the table that the attacks of this folder walk. */
import {
  AUG_RANGE,
  ENCLS,
  EVICT_ENTRY,
  LOAD_ENTRY,
  PT_REG,
  PT_TRIM,
  PT_VA,
  SECINFO_R,
  SECINFO_W,
  SVSM_CORE,
} from '@nestedsgx/arch';
import { SGX_CALL, type SgxDevice } from '@nestedsgx/guest';
import type { HostileKernel } from '../stage/kernel.js';
import { Micro, type MicroImage } from '../stage/micro.js';
import { type Evicted, Pager } from '../stage/pager.js';
import { type Prepared, prepare } from '../stage/stepwise.js';

const PAGE = 4096;
const READ_WRITE = SECINFO_R | SECINFO_W | (PT_REG << 8);

/** One operand of one call. */
export interface Operand {
  readonly call: string;
  readonly operand: string;
  /** `memory`: the monitor reads or writes there for the guest; `frame`: it must be an EPC frame of the guest's. */
  readonly kind: 'memory' | 'frame';
  /** Makes the call with this operand at `target`, all others honest; the answer's code. */
  readonly act: (target: number) => string;
}

/** Honest surroundings: an enclave under construction, a running one with a page out and a page ready to go out. */
export class Surroundings {
  readonly young: Prepared;
  readonly micro: Micro;
  readonly pager: Pager;
  readonly va: number;
  readonly free: number;
  readonly out: Evicted;

  constructor(
    readonly kernel: HostileKernel,
    device: SgxDevice,
    readonly layout: MicroImage,
  ) {
    this.young = prepare(device, layout);
    this.micro = Micro.load(device, layout);
    this.pager = new Pager(kernel);
    this.va = this.pager.versionArray();
    this.free = kernel.frame();
    this.out = this.pager.evict(this.micro, layout.data, this.va);
    this.ready();
  }

  /** gPA of the frame that is blocked and tracked. */
  get going(): number {
    return this.micro.frameOf(this.layout.data + PAGE);
  }

  /** Blocks and tracks the page that EWB takes. */
  ready(): void {
    this.pager.block(this.going);
    this.pager.track(this.micro.secs);
  }

  async close(): Promise<void> {
    this.young.give();
    await this.micro.close();
  }
}

/** The table. Needs a layout with three data pages. */
export function operandTable(around: Surroundings): readonly Operand[] {
  const { kernel: k, young, micro, va, free, out, layout } = around;
  const at = young.file.base + layout.free;
  const secs = young.file.secs;
  const rows: Operand[] = [];
  const row = (call: string, operand: string, kind: Operand['kind'], act: (target: number) => string) =>
    rows.push({ call, operand, kind, act });
  const source = k.page(1);
  const eadd = (fields: Parameters<HostileKernel['pageinfo']>[0], frame = free) =>
    k.sgx(
      ENCLS.EADD,
      k.pageinfo({ linaddr: at, source, secinfo: k.secinfo(READ_WRITE), secs, ...fields }),
      frame,
    ).code;
  row('EADD', 'PAGEINFO', 'memory', (t) => k.sgx(ENCLS.EADD, t, free).code);
  row('EADD', 'SRCPGE', 'memory', (t) => eadd({ source: t }));
  row('EADD', 'SECINFO', 'memory', (t) => eadd({ secinfo: t }));
  row('EADD', 'SECS', 'frame', (t) => eadd({ secs: t }));
  row('EADD', 'the page', 'frame', (t) => eadd({}, t));
  const ecreate = (fields: Parameters<HostileKernel['pageinfo']>[0], frame = free) =>
    k.sgx(ENCLS.ECREATE, k.pageinfo({ source, secinfo: k.secinfo(0), ...fields }), frame).code;
  row('ECREATE', 'PAGEINFO', 'memory', (t) => k.sgx(ENCLS.ECREATE, t, free).code);
  row('ECREATE', 'SRCPGE', 'memory', (t) => ecreate({ source: t }));
  row('ECREATE', 'SECINFO', 'memory', (t) => ecreate({ secinfo: t }));
  row('ECREATE', 'the page', 'frame', (t) => ecreate({}, t));
  row('EINIT', 'SIGSTRUCT', 'memory', (t) => k.sgx(ENCLS.EINIT, t, secs, k.page(3)).code);
  row('EINIT', 'EINITTOKEN', 'memory', (t) => k.sgx(ENCLS.EINIT, k.page(3), secs, t).code);
  row('EINIT', 'SECS', 'frame', (t) => k.sgx(ENCLS.EINIT, k.page(3), t, k.page(3)).code);
  for (const name of ['EREMOVE', 'EBLOCK', 'ETRACK', 'ETRACKC'] as const)
    row(name, 'the page', 'frame', (t) => k.sgx(ENCLS[name], 0, t).code);
  row('EPA', 'the page', 'frame', (t) => k.sgx(ENCLS.EPA, PT_VA, t).code);
  row('EEXTEND', 'SECS', 'frame', (t) => k.sgx(ENCLS.EEXTEND, t, free).code);
  row('EEXTEND', 'the chunk', 'frame', (t) => k.sgx(ENCLS.EEXTEND, secs, t).code);
  for (const name of ['EDBGRD', 'EDBGWR'] as const)
    row(name, 'the address', 'frame', (t) => k.sgx(ENCLS[name], 0, t).code);
  for (const name of ['ELDB', 'ELDU', 'ELDBC', 'ELDUC'] as const) {
    const leaf = ENCLS[name];
    const eld = (fields: Parameters<HostileKernel['pageinfo']>[0]) => {
      k.bytes(4).set(out.contents);
      k.bytes(5).set(out.pcmd);
      const honest = { linaddr: out.linaddr, source: k.page(4), secinfo: k.page(5), secs: micro.secs };
      return k.pageinfo({ ...honest, ...fields });
    };
    row(name, 'PAGEINFO', 'memory', (t) => k.sgx(leaf, t, out.frame, out.slot).code);
    row(name, 'SRCPGE', 'memory', (t) => k.sgx(leaf, eld({ source: t }), out.frame, out.slot).code);
    row(name, 'PCMD', 'memory', (t) => k.sgx(leaf, eld({ secinfo: t }), out.frame, out.slot).code);
    row(name, 'SECS', 'frame', (t) => k.sgx(leaf, eld({ secs: t }), out.frame, out.slot).code);
    row(name, 'the page', 'frame', (t) => k.sgx(leaf, eld({}), t, out.slot).code);
    row(name, 'the slot', 'frame', (t) => k.sgx(leaf, eld({}), out.frame, t).code);
  }
  const ewb = (fields: Parameters<HostileKernel['pageinfo']>[0]) =>
    k.pageinfo({ source: k.page(6), secinfo: k.page(7), ...fields });
  const slot = va + 64;
  row('EWB', 'PAGEINFO', 'memory', (t) => k.sgx(ENCLS.EWB, t, around.going, slot).code);
  row('EWB', 'SRCPGE', 'memory', (t) => k.sgx(ENCLS.EWB, ewb({ source: t }), around.going, slot).code);
  row('EWB', 'PCMD', 'memory', (t) => k.sgx(ENCLS.EWB, ewb({ secinfo: t }), around.going, slot).code);
  row('EWB', 'the page', 'frame', (t) => k.sgx(ENCLS.EWB, ewb({}), t, slot).code);
  row('EWB', 'the slot', 'frame', (t) => k.sgx(ENCLS.EWB, ewb({}), around.going, t).code);
  const fresh = { linaddr: micro.base + layout.free, secs: micro.secs };
  row('EAUG', 'PAGEINFO', 'memory', (t) => k.sgx(ENCLS.EAUG, t, free).code);
  row('EAUG', 'SECINFO', 'memory', (t) => k.sgx(ENCLS.EAUG, k.pageinfo({ ...fresh, secinfo: t }), free).code);
  row('EAUG', 'SECS', 'frame', (t) => k.sgx(ENCLS.EAUG, k.pageinfo({ ...fresh, secs: t }), free).code);
  row('EAUG', 'the page', 'frame', (t) => k.sgx(ENCLS.EAUG, k.pageinfo(fresh), t).code);
  const third = micro.frameOf(layout.data + 2 * PAGE);
  row('EMODPR', 'SECINFO', 'memory', (t) => k.sgx(ENCLS.EMODPR, t, third).code);
  row('EMODPR', 'the page', 'frame', (t) => k.sgx(ENCLS.EMODPR, k.secinfo(SECINFO_R), t).code);
  row('EMODT', 'SECINFO', 'memory', (t) => k.sgx(ENCLS.EMODT, t, third).code);
  row('EMODT', 'the page', 'frame', (t) => k.sgx(ENCLS.EMODT, k.secinfo(PT_TRIM << 8), t).code);
  row('ERDINFO', 'RDINFO', 'memory', (t) => k.sgx(ENCLS.ERDINFO, t, third).code);
  row('ERDINFO', 'the page', 'frame', (t) => k.sgx(ENCLS.ERDINFO, k.page(3), t).code);
  const range = (fields: Parameters<HostileKernel['range']>[0]) =>
    k.sgx(
      SGX_CALL.ADD_RANGE,
      k.range({
        SECS: secs,
        LINADDR: at,
        SRC: source,
        LENGTH: PAGE,
        SECINFO: k.secinfo(READ_WRITE),
        EPC: free,
        ...fields,
      }),
    ).code;
  row('ADD_RANGE', 'its operand', 'memory', (t) => k.sgx(SGX_CALL.ADD_RANGE, t).code);
  row('ADD_RANGE', 'SRC', 'memory', (t) => range({ SRC: t }));
  row('ADD_RANGE', 'SECINFO', 'memory', (t) => range({ SECINFO: t }));
  row('ADD_RANGE', 'SECS', 'frame', (t) => range({ SECS: t }));
  row('ADD_RANGE', 'EPC', 'frame', (t) => range({ EPC: t }));
  const aug = (fields: { SECS?: bigint; EPC?: bigint }) =>
    k.sgx(
      SGX_CALL.AUG_RANGE,
      k.put(
        AUG_RANGE.encode({
          SECS: BigInt(micro.secs),
          LINADDR: BigInt(micro.base + layout.free),
          LENGTH: BigInt(PAGE),
          EPC: BigInt(free),
          ...fields,
        }),
      ),
    ).code;
  row('AUG_RANGE', 'its operand', 'memory', (t) => k.sgx(SGX_CALL.AUG_RANGE, t).code);
  row('AUG_RANGE', 'SECS', 'frame', (t) => aug({ SECS: BigInt(t) }));
  row('AUG_RANGE', 'EPC', 'frame', (t) => aug({ EPC: BigInt(t) }));
  const evict = (fields: Partial<Record<keyof typeof EVICT_ENTRY.offsets, bigint>>) => {
    const honest = {
      FRAME: BigInt(around.going),
      VASLOT: BigInt(slot),
      SRCPGE: BigInt(k.page(6)),
      PCMD: BigInt(k.page(7)),
    };
    return k.sgx(SGX_CALL.EVICT, micro.secs, k.put(EVICT_ENTRY.encode({ ...honest, ...fields })), 1).code;
  };
  row('EVICT', 'its list', 'memory', (t) => k.sgx(SGX_CALL.EVICT, micro.secs, t, 1).code);
  row('EVICT', 'SRCPGE', 'memory', (t) => evict({ SRCPGE: BigInt(t) }));
  row('EVICT', 'PCMD', 'memory', (t) => evict({ PCMD: BigInt(t) }));
  row('EVICT', 'the page', 'frame', (t) => evict({ FRAME: BigInt(t) }));
  row('EVICT', 'the slot', 'frame', (t) => evict({ VASLOT: BigInt(t) }));
  const load = (fields: Partial<Record<keyof typeof LOAD_ENTRY.offsets, bigint>>) => {
    k.bytes(4).set(out.contents);
    k.bytes(5).set(out.pcmd);
    const honest = {
      FRAME: BigInt(out.frame),
      VASLOT: BigInt(out.slot),
      SRCPGE: BigInt(k.page(4)),
      PCMD: BigInt(k.page(5)),
      LINADDR: BigInt(out.linaddr),
    };
    return k.sgx(SGX_CALL.LOAD, micro.secs, k.put(LOAD_ENTRY.encode({ ...honest, ...fields })), 1).code;
  };
  row('LOAD', 'its list', 'memory', (t) => k.sgx(SGX_CALL.LOAD, micro.secs, t, 1).code);
  row('LOAD', 'SRCPGE', 'memory', (t) => load({ SRCPGE: BigInt(t) }));
  row('LOAD', 'PCMD', 'memory', (t) => load({ PCMD: BigInt(t) }));
  row('LOAD', 'the page', 'frame', (t) => load({ FRAME: BigInt(t) }));
  row('LOAD', 'the slot', 'frame', (t) => load({ VASLOT: BigInt(t) }));
  row('SET_PTE', 'its list', 'memory', (t) => k.sgx(SGX_CALL.SET_PTE, micro.secs, t, 1).code);
  row('RESTRICT', 'its list', 'memory', (t) => k.sgx(SGX_CALL.RESTRICT, micro.secs, t, 1).code);
  for (const name of ['SET_PTE', 'RESTRICT', 'EVICT', 'LOAD'] as const)
    row(name, 'SECS', 'frame', (t) => k.sgx(SGX_CALL[name], t, k.page(3), 1).code);
  row('BIND_GATES', 'the gates', 'memory', (t) => k.sgx(SGX_CALL.BIND_GATES, secs, t, 1).code);
  row('BIND_GATES', 'SECS', 'frame', (t) => k.sgx(SGX_CALL.BIND_GATES, t, k.page(8), 1).code);
  row('QUOTE', 'REPORT', 'memory', (t) => k.service(SGX_CALL.QUOTE, t, k.page(8), 16_384));
  row('QUOTE', 'the output', 'memory', (t) => k.service(SGX_CALL.QUOTE, k.page(3), t, 16_384));
  row('QE_TARGETINFO', 'the output', 'memory', (t) => k.service(SGX_CALL.QE_TARGETINFO, t));
  for (const name of ['KICK', 'STOP', 'ENCLAVE_STATUS', 'AUTHORIZE_PROVISION'] as const)
    row(name, 'SECS', 'frame', (t) => k.service(SGX_CALL[name], t));
  row('REMOVE_RANGE', 'the first frame', 'frame', (t) => k.sgx(SGX_CALL.REMOVE_RANGE, t, 1).code);
  for (const name of ['PVALIDATE', 'DEPOSIT_MEM', 'WITHDRAW_MEM'] as const)
    row(name, 'its list', 'memory', (t) => k.core(SVSM_CORE[name], t).code);
  row('CREATE_VCPU', 'the save area', 'memory', (t) => k.core(SVSM_CORE.CREATE_VCPU, t, k.page(8), 9).code);
  row(
    'CREATE_VCPU',
    'the calling area',
    'memory',
    (t) => k.core(SVSM_CORE.CREATE_VCPU, k.page(8), t, 9).code,
  );
  row('DELETE_VCPU', 'the save area', 'memory', (t) => k.core(SVSM_CORE.DELETE_VCPU, t).code);
  return rows;
}

/** Calls without an address among their operands. */
export const NO_ADDRESS: readonly string[] = [
  'QUERY',
  'EUPDATESVN',
  'QUERY_PROTOCOL',
  'CONFIGURE_VTOM',
  'REMAP_CA',
];
