/** Status codes of the SEV firmware (SEV-SNP Firmware ABI, chapter "Status codes"). */
export const PSP_STATUS = Object.freeze({
  SUCCESS: 0,
  INVALID_PLATFORM_STATE: 0x01,
  INVALID_GUEST_STATE: 0x02,
  INVALID_LENGTH: 0x04,
  POLICY_FAILURE: 0x07,
  INVALID_ADDRESS: 0x09,
  BAD_SIGNATURE: 0x0a,
  BAD_MEASUREMENT: 0x0b,
  UNSUPPORTED: 0x13,
  INVALID_PARAM: 0x16,
  INVALID_PAGE_SIZE: 0x19,
  INVALID_PAGE_STATE: 0x1a,
  INVALID_PAGE_OWNER: 0x1c,
  AEAD_OFLOW: 0x1d,
  INVALID_KEY: 0x27,
});

/** Name of a firmware status, or its number. */
export function pspStatusName(status: number): string {
  for (const [name, value] of Object.entries(PSP_STATUS)) if (value === status) return name;
  return `0x${status.toString(16)}`;
}
