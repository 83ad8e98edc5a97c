/**
 * Faults of the architecture: what the RMP checks of a memory access raise (AMD APM vol. 2 §15.36.10), as
 * typed errors. Error-code bits above 31 make the code a JS number below 2^38, never a signed integer.
 */
import { MachineError } from './errors.js';

/** Kinds of access that are checked: data read, data write, fetch at CPL 3, fetch at CPL 0, VMRUN of a VMSA. */
export type Access = 'r' | 'w' | 'x' | 'xs' | 'vmsa';

/** Bits of EXITINFO1 of #VMEXIT(NPF). */
export const NPF = Object.freeze({
  PRESENT: 1,
  WRITE: 2,
  USER: 4,
  FETCH: 16,
  RMP: 2 ** 31,
  FINAL_GPA: 2 ** 32,
  ENC: 2 ** 34,
  SIZEM: 2 ** 35,
  VMPL: 2 ** 36,
});

/** The check that failed, named as in the list of APM vol. 2 §15.36.10. */
export type RmpCheck =
  | 'rmp-covered'
  | 'hypervisor-owned'
  | 'guest-owned'
  | 'reverse-map'
  | 'mutable'
  | 'page-size'
  | 'vmpl';

/** #VMEXIT(NPF): the access at `gpa` failed the RMP check `check`; `errorCode` is EXITINFO1. */
export class NestedPageFault extends MachineError {
  readonly gpa: number;
  readonly vmpl: number;
  readonly access: Access;
  readonly check: RmpCheck;
  readonly errorCode: number;

  constructor(gpa: number, vmpl: number, access: Access, check: RmpCheck) {
    super(
      'NESTED_PAGE_FAULT',
      `VMPL${vmpl} may not ${VERB[access]} 0x${gpa.toString(16)}: ${check} check failed`,
    );
    this.gpa = gpa;
    this.vmpl = vmpl;
    this.access = access;
    this.check = check;
    this.errorCode = npfErrorCode(access, check);
  }
}

/** #VC with error code PAGE_NOT_VALIDATED; CR2 is the address. */
export class PageNotValidated extends MachineError {
  static readonly EXIT_CODE = 0x404;
  readonly gpa: number;
  readonly vmpl: number;

  constructor(gpa: number, vmpl: number) {
    super('PAGE_NOT_VALIDATED', `VMPL${vmpl} touched 0x${gpa.toString(16)}, which is not validated`);
    this.gpa = gpa;
    this.vmpl = vmpl;
  }
}

/** #GP(0): an instruction executed at a privilege level that does not have it. */
export class GeneralProtection extends MachineError {
  constructor(what: string) {
    super('GENERAL_PROTECTION', what);
  }
}

const VERB: Record<Access, string> = {
  r: 'read',
  w: 'write',
  x: 'execute (user)',
  xs: 'execute (supervisor)',
  vmsa: 'run the VMSA at',
};

/** EXITINFO1 for a failed check: the RMP bit always, except where no nested mapping exists at all. */
function npfErrorCode(access: Access, check: RmpCheck): number {
  let code = NPF.FINAL_GPA + (check === 'hypervisor-owned' ? 0 : NPF.ENC);
  if (access === 'w') code += NPF.WRITE;
  if (access === 'x' || access === 'xs') code += NPF.FETCH;
  if (access === 'x') code += NPF.USER;
  if (check === 'rmp-covered') return code;
  code += NPF.PRESENT + NPF.RMP;
  if (check === 'page-size') code += NPF.SIZEM;
  if (check === 'vmpl') code += NPF.VMPL;
  return code;
}
