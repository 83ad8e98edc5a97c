/** Error codes of key servers, each with its meaning in one line. */
export const KEY_SERVER_ERRORS = Object.freeze({
  KEY_MASTER_INVALID: 'The master secret of a key server is not 32 bytes.',
  KEY_RULES_INVALID: 'The rules of a key server are no JSON, or say what is not understood.',
} as const);

/** Codes of {@link KEY_SERVER_ERRORS}. */
export type KeyServerErrorCode = keyof typeof KEY_SERVER_ERRORS;
