/** Error codes of the command line, each with its meaning in one line. */
export const CLI_ERRORS = Object.freeze({
  FILE_UNREADABLE: 'A file or folder given to a command cannot be read.',
  FILE_TOO_LARGE: 'A file given to a command is larger than what is read there.',
  VALUE_NOT_HEX: 'An argument is not the hexadecimal digits that it must be.',
  IMAGE_NOT_FOUND: 'There is no enclave image at the path given, or several.',
  SIGN_CONFIGURATION: 'A signing configuration is no JSON, or has an unknown or ill-typed field.',
  PASSPHRASE_UNAVAILABLE: 'A key is encrypted and there is no terminal to ask for its passphrase.',
  PROGRAM_NOT_RUNNING: 'No program in an enclave has the number given.',
  TRACE_RECORD: 'A traced machine sent a record that cannot be read.',
  TRACE_REFUSED: 'A machine does not let itself be traced, for the reason it gives.',
  TRACE_COMMAND: 'The command whose machines are to be traced cannot be started.',
  STATS_UNREADABLE: 'A machine gave figures that cannot be read.',
  ATTACK_UNKNOWN: 'There is no attack of the name given.',
  ATTACK_SETUP: 'An adversary could not be started as whom it should be.',
} as const);

/** Codes of {@link CLI_ERRORS}. */
export type CliErrorCode = keyof typeof CLI_ERRORS;
