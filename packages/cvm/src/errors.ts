/** Errors the cvm process reports to whoever launched it or talks to its socket. */
export const CVM_ERRORS = Object.freeze({
  CVM_CONFIGURATION_INVALID: 'the configuration handed to the confidential VM is not usable',
  CVM_PART_UNSEALED: 'a part of the monitor arrived in memory that its sender could still change',
  CVM_INSPECTOR_OPEN: 'a debugger is attached to the confidential VM, so it makes no keys',
  CVM_REQUEST_INVALID: 'a message on the control socket is malformed',
  CVM_REQUEST_REFUSED: 'the peer may not ask for this',
  CVM_RESOURCES: 'the confidential VM has no more memory, EPC, vCPUs or connections to give',
  CVM_STATE_UNUSABLE: 'the state directory cannot be used',
} as const);

export type CvmErrorCode = keyof typeof CVM_ERRORS;
