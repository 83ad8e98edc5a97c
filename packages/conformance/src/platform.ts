/**
 * What the suite needs of a machine with SGX: the interface of Linux's driver and of the kernel's entry function. The
 * cases know nothing else, so the same ones run on this project's machine and on real hardware.
 */

/** Something that not every processor or kernel has. */
export type Feature = 'sgx2' | 'edeccssa' | 'kss' | 'exinfo' | 'paging';

/** Memory outside enclaves that enclaves can read and write. */
export interface UntrustedBlock {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** How an entry ended. */
export type Exit =
  | { readonly kind: 'exit'; readonly rdi: number }
  | {
      readonly kind: 'exception';
      /** EENTER (2) when that leaf faulted, ERESUME (3) when the enclave did. */
      readonly leaf: number;
      readonly vector: number;
      readonly errorCode: number;
      readonly address: number;
    };

/** Pages to add; all with one SECINFO. */
export interface AddedPages {
  readonly offset: number;
  /** n × 4096 bytes. */
  readonly data: Uint8Array;
  /** SECINFO.FLAGS: R W X | type << 8. */
  readonly flags: number;
  readonly measured: boolean;
}

/** One open `/dev/sgx_enclave`. Functions throw SgxIoctlError with the errno of the driver. */
export interface PlatformEnclave {
  /** Where the enclave lies or will lie. */
  readonly base: number;
  /** SGX_IOC_ENCLAVE_CREATE with a SECS of 4096 bytes. */
  create(secs: Uint8Array): void;
  /** SGX_IOC_ENCLAVE_ADD_PAGES. */
  add(pages: AddedPages): void;
  /** SGX_IOC_ENCLAVE_INIT. `threads` is how many TCS may ever be entered. */
  init(sigstruct: Uint8Array, threads: number): void;
  /** SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS; returns the EMODPR result of the last page. */
  restrictPermissions(offset: number, length: number, permissions: number): void;
  /** SGX_IOC_ENCLAVE_MODIFY_TYPES. */
  modifyTypes(offset: number, length: number, type: number): void;
  /** SGX_IOC_ENCLAVE_REMOVE_PAGES. */
  removePages(offset: number, length: number): void;
  /** mprotect of the mapping (PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4). */
  protect(offset: number, length: number, protection: number): void;
  /** `__vdso_sgx_enter_enclave` with EENTER (2) or ERESUME (3) on the TCS at `tcs` (offset), RDI given. */
  enter(tcs: number, leaf: number, rdi: number): Exit;
  close(): void;
}

/** A machine with SGX. */
export interface Platform {
  readonly name: string;
  readonly features: ReadonlySet<Feature>;
  allocate(bytes: number): UntrustedBlock;
  /** Opens the device and reserves a linear range of `size` bytes (a power of two). */
  open(size: number): PlatformEnclave;
  close(): Promise<void>;
}
