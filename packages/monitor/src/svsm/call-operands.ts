/** What the operands of SVSM calls are, by name of the call; leaves have theirs in the leaf table. */

/** A call's description for those who show it. */
export interface CallRow {
  readonly name: string;
  /** Operands in RCX, RDX, R8. */
  readonly operands: string;
  /** What the RDX of the answer counts, where the call works on many pages. */
  readonly progress?: 'bytes' | 'entries';
  readonly section: string;
}

const OWN = 'ARCHITECTURE, section 3';
const CORE = 'AMD 58019, Core Protocol';

/** Calls of protocol 0x4E53 from 0x100 on, and of the core protocol. */
export const CALL_ROWS: readonly CallRow[] = Object.freeze(
  (
    [
      { name: 'QUERY', operands: '', section: OWN },
      { name: 'ADD_RANGE', operands: 'RCX = ADD_RANGE', progress: 'bytes', section: OWN },
      {
        name: 'BIND_GATES',
        operands: 'RCX = SECS, RDX = gates, R8 = pages, R9 = room for trampolines',
        section: OWN,
      },
      { name: 'QUOTE', operands: 'RCX = REPORT, RDX = output, R8 = capacity', section: OWN },
      { name: 'QE_TARGETINFO', operands: 'RCX = output', section: OWN },
      { name: 'STOP', operands: 'RCX = SECS', section: OWN },
      { name: 'KICK', operands: 'RCX = SECS, RDX = thread', section: OWN },
      { name: 'ENCLAVE_STATUS', operands: 'RCX = SECS', section: OWN },
      { name: 'AUTHORIZE_PROVISION', operands: 'RCX = SECS', section: OWN },
      {
        name: 'REMOVE_RANGE',
        operands: 'RCX = first EPC page, RDX = pages',
        progress: 'bytes',
        section: OWN,
      },
      { name: 'SET_PTE', operands: 'RCX = SECS, RDX = list, R8 = count', progress: 'entries', section: OWN },
      { name: 'EVICT', operands: 'RCX = SECS, RDX = list, R8 = count', progress: 'entries', section: OWN },
      { name: 'LOAD', operands: 'RCX = SECS, RDX = list, R8 = count', progress: 'entries', section: OWN },
      { name: 'RESTRICT', operands: 'RCX = SECS, RDX = list, R8 = count', progress: 'entries', section: OWN },
      { name: 'AUG_RANGE', operands: 'RCX = AUG_RANGE', progress: 'bytes', section: OWN },
      { name: 'REMAP_CA', operands: 'RCX = calling area', section: CORE },
      { name: 'PVALIDATE', operands: 'RCX = list', section: CORE },
      { name: 'CREATE_VCPU', operands: 'RCX = VMSA, RDX = calling area, R8 = APIC id', section: CORE },
      { name: 'DELETE_VCPU', operands: 'RCX = VMSA', section: CORE },
      { name: 'DEPOSIT_MEM', operands: 'RCX = list', section: CORE },
      { name: 'WITHDRAW_MEM', operands: 'RCX = list', section: CORE },
      { name: 'QUERY_PROTOCOL', operands: 'RCX = protocol and version', section: CORE },
      { name: 'CONFIGURE_VTOM', operands: 'RCX = query', section: CORE },
    ] as const
  ).map((row) => Object.freeze(row)),
);
