/** What the model is told about the platform, and where the platform deviates from the manual. */

/** Platform and deviations. Everything that is not the manual's is named here. */
export interface ModelParameters {
  /** Bits of ATTRIBUTES.FLAGS that ECREATE takes, and of XFRM. */
  attributes: number;
  xfrm: number;
  miscselect: number;
  /** SIZE must be below 2^n. */
  sizeBits32: number;
  sizeBits64: number;
  /** Signer that IA32_SGXLEPUBKEYHASH names (0 or 1), or null: it follows every signer (flexible launch). */
  launchSigner: number | null;
  /** Deviation: there is one frame for one linear address; a second EADD or EAUG of it is #GP(0), a second ELD too. */
  oneFramePerAddress: boolean;
  /** Deviation: frames belong to connections, and a foreign frame is refused where "not EPC" is checked. */
  ownership: boolean;
  /** Deviation: a machine has a limit of enclaves and of threads in each. */
  maxEnclaves: number;
  maxThreads: number;
  /** Deviation: the processor holds a copy of a busy TCS, which a debugger cannot write. */
  busyTcsRefused: boolean;
  /**
   * Deviation: a thread whose TCS names an SSA frame that cannot be used, or could not when it entered last, may be
   * refused, even when the frame that it would use is another one. (Entering where the manual refuses is never allowed.)
   */
  wholeSsaNeeded: boolean;
  /**
   * Deviation: pages of SSA frames, and pages where a TCS was, stay mapped whatever the guest's page table says later, so
   * that an asynchronous exit can always save.
   */
  ssaStaysMapped: boolean;
  /** Deviation: PROVISIONKEY needs an authorization before EINIT. */
  provisionNeedsAuthorization: boolean;
}

/** Those of the platform that the monitor offers when nothing else is configured. */
export const DEFAULT_PARAMETERS: Readonly<ModelParameters> = Object.freeze({
  attributes: 0x4b6,
  xfrm: 0x2e7,
  miscselect: 1,
  sizeBits32: 32,
  sizeBits64: 40,
  launchSigner: null,
  oneFramePerAddress: true,
  ownership: true,
  maxEnclaves: 3,
  maxThreads: 3,
  busyTcsRefused: true,
  wholeSsaNeeded: true,
  ssaStaysMapped: true,
  provisionNeedsAuthorization: true,
});
