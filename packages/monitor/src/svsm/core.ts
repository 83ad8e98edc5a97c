/** The core protocol (0). Source: AMD 58019, "Core Protocol". */
import {
  SEV_FEATURES_SNP_ACTIVE,
  SVSM,
  SVSM_CORE,
  SVSM_PROTOCOL,
  SVSM_PROTOCOL_SGX,
  SVSM_PROTOCOL_SGX_VERSION,
} from '@nestedsgx/arch';
import type { CallAnswer } from '../ports.js';
import { available } from '../state/available.js';
import { GUEST_VMPL, isGuestFault, type MonitorState } from '../state/state.js';
import { type CallContext, type CallHandler, failure, isPage, success } from './context.js';
import { type ListEntry, walkPageList } from './page-list.js';

const PAGE = 4096;
const LARGE = 0x20_0000;
/** RMPADJUST: all permissions for VMPL1. */
const GRANT_GUEST = GUEST_VMPL | 0xf00;
const CODE_SIZEMISMATCH = 6;

/** Version range (both ends) by protocol. */
const PROTOCOLS = new Map<number, number>([
  [SVSM_PROTOCOL.CORE, 1],
  [SVSM_PROTOCOL_SGX, SVSM_PROTOCOL_SGX_VERSION],
]);

/** REMAP_CA: RCX = new calling area. */
function remapCa({ s, vcpu, call }: CallContext): CallAnswer {
  const gpa = call.rcx;
  if (!isPage(gpa)) return failure(SVSM.INVALID_PARAMETER);
  if (gpa === vcpu.caaGpa) return success();
  if (!guestRam(s, gpa, PAGE)) return failure(SVSM.INVALID_ADDRESS);
  s.machine.guest.copyOut(GUEST_VMPL, gpa, new Uint8Array(PAGE));
  vcpu.caaGpa = gpa;
  return success();
}

/** PVALIDATE: RCX = list. A page that becomes valid is zeroed before the guest gets it. */
function pvalidate(c: CallContext): CallAnswer {
  return walkPageList(c, (entry) => pvalidateEntry(c.s, entry));
}

function pvalidateEntry(s: MonitorState, entry: ListEntry): number {
  const bytes = entry.size === 1 ? LARGE : PAGE;
  if (!inRam(s, entry.gpa, bytes) || holdsMonitorPages(s, entry.gpa, bytes)) return SVSM.INVALID_ADDRESS;
  try {
    const { code, carry } = s.machine.pvalidate(entry.gpa, entry.size, entry.action);
    if (code === CODE_SIZEMISMATCH) return SVSM.PVALIDATE_FAIL_SIZEMISMATCH;
    if (code !== 0) return SVSM.PROTOCOL_BASE + code;
    // A page that was in that state before keeps its content and its owner.
    if (carry) return entry.ignoreCarry ? SVSM.SUCCESS : SVSM.PVALIDATE_FAIL_UNCHANGED;
    if (!entry.action) return SVSM.SUCCESS;
    s.machine.memory.zero(entry.gpa / PAGE, bytes / PAGE);
    const granted = s.machine.rmpadjust(0, entry.gpa, entry.size, GRANT_GUEST);
    return granted === 0 ? SVSM.SUCCESS : SVSM.PROTOCOL_BASE + granted;
  } catch (error) {
    if (isGuestFault(error)) return SVSM.INVALID_ADDRESS;
    throw error;
  }
}

/** CREATE_VCPU: RCX = VMSA, RDX = calling area, R8[31:0] = APIC id. */
function createVcpu({ s, call }: CallContext): CallAnswer {
  const { rcx: vmsa, rdx: caa } = call;
  if (!isPage(vmsa) || !isPage(caa) || vmsa === caa) return failure(SVSM.INVALID_ADDRESS);
  if (!guestRam(s, vmsa, PAGE) || !guestRam(s, caa, PAGE)) return failure(SVSM.INVALID_ADDRESS);
  const apicId = Number(call.big('r8') & 0xffff_ffffn);
  const registered = available(() => {
    s.machine.vcpus.registerVmsa(vmsa, apicId, SEV_FEATURES_SNP_ACTIVE);
  });
  if (!registered) return failure(SVSM.INVALID_PARAMETER);
  s.machine.guest.copyOut(GUEST_VMPL, caa, new Uint8Array(8));
  return success();
}

/** DELETE_VCPU: RCX = VMSA. */
function deleteVcpu({ s, call }: CallContext): CallAnswer {
  if (!isPage(call.rcx) || !s.machine.vcpus.unregisterVmsa(call.rcx)) return failure(SVSM.INVALID_PARAMETER);
  return success();
}

/** DEPOSIT_MEM: pages of the list become EPC of the caller. */
function depositMem(c: CallContext): CallAnswer {
  const { s, owner } = c;
  return walkPageList(c, ({ gpa, size }) => {
    const bytes = size === 1 ? LARGE : PAGE;
    if (!inRam(s, gpa, bytes) || holdsMonitorPages(s, gpa, bytes)) return SVSM.INVALID_ADDRESS;
    if (gpa < s.platform.depositBase) return SVSM.INVALID_ADDRESS;
    if (!available(() => s.machine.deposit(gpa, bytes))) return SVSM.INVALID_PARAMETER;
    for (let at = gpa; at < gpa + bytes; at += PAGE) s.frames.deposit(owner.id, at);
    return SVSM.SUCCESS;
  });
}

/** WITHDRAW_MEM: deposited pages of the list that hold nothing are RAM again. */
function withdrawMem(c: CallContext): CallAnswer {
  const { s, owner } = c;
  return walkPageList(c, ({ gpa, size }) => {
    const bytes = size === 1 ? LARGE : PAGE;
    if (!inRam(s, gpa, bytes)) return SVSM.INVALID_ADDRESS;
    for (let at = gpa; at < gpa + bytes; at += PAGE) {
      const frame = s.frames.resolve(owner, at);
      if (frame < s.frames.regular || s.epcm.valid(frame)) return SVSM.INVALID_PARAMETER;
    }
    if (!available(() => s.machine.withdraw(gpa, bytes))) return SVSM.INVALID_PARAMETER;
    for (let at = gpa; at < gpa + bytes; at += PAGE) s.frames.withdraw(s.frames.resolve(owner, at));
    return SVSM.SUCCESS;
  });
}

/** QUERY_PROTOCOL: RCX = protocol << 32 | version; gives RCX = highest << 32 | lowest, or 0. */
function queryProtocol({ call }: CallContext): CallAnswer {
  const asked = call.big('rcx');
  const highest = PROTOCOLS.get(Number(asked >> 32n));
  const version = Number(asked & 0xffff_ffffn);
  if (highest === undefined || version < 1 || version > highest) return success(0);
  return success((BigInt(highest) << 32n) | 1n);
}

/** CONFIGURE_VTOM: bit 0 of RCX asks whether it is supported; it is not. */
function configureVtom({ call }: CallContext): CallAnswer {
  return (call.big('rcx') & 1n) === 1n ? success(0) : failure(SVSM.INVALID_REQUEST);
}

/** Handlers of the core protocol by call number. */
export const CORE_CALLS: ReadonlyMap<number, { name: string; handle: CallHandler }> = new Map([
  [SVSM_CORE.REMAP_CA, { name: 'REMAP_CA', handle: remapCa }],
  [SVSM_CORE.PVALIDATE, { name: 'PVALIDATE', handle: pvalidate }],
  [SVSM_CORE.CREATE_VCPU, { name: 'CREATE_VCPU', handle: createVcpu }],
  [SVSM_CORE.DELETE_VCPU, { name: 'DELETE_VCPU', handle: deleteVcpu }],
  [SVSM_CORE.DEPOSIT_MEM, { name: 'DEPOSIT_MEM', handle: depositMem }],
  [SVSM_CORE.WITHDRAW_MEM, { name: 'WITHDRAW_MEM', handle: withdrawMem }],
  [SVSM_CORE.QUERY_PROTOCOL, { name: 'QUERY_PROTOCOL', handle: queryProtocol }],
  [SVSM_CORE.CONFIGURE_VTOM, { name: 'CONFIGURE_VTOM', handle: configureVtom }],
]);

function inRam(s: MonitorState, gpa: number, bytes: number): boolean {
  return gpa >= PAGE && gpa + bytes <= s.machine.memory.ramBytes;
}

/** Pages of RAM that are VMPL0's for now: deposited, or save areas. */
function holdsMonitorPages(s: MonitorState, gpa: number, bytes: number): boolean {
  for (let at = gpa; at < gpa + bytes; at += PAGE) {
    if (s.frames.isEpc(at) || s.machine.vcpus.vmsa(at) !== undefined) return true;
  }
  return false;
}

/** True when the range is RAM that VMPL1 may read and write. */
export function guestRam(s: MonitorState, gpa: number, bytes: number): boolean {
  if (!inRam(s, gpa, bytes)) return false;
  return available(() => s.machine.rmp.check(GUEST_VMPL, gpa, bytes, 'w'));
}
