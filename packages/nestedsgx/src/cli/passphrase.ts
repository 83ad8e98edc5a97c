import { spawnSync } from 'node:child_process';
import { closeSync, openSync, writeSync } from 'node:fs';
import { NsgxError } from '@nestedsgx/arch';

/** Reads a line without echo; the terminal is as before afterwards, also when the user interrupts. */
const READ_LINE = `
settings=$(stty -g) || exit 1
trap 'stty "$settings"' EXIT
trap 'exit 130' INT TERM HUP
stty -echo || exit 1
IFS= read -r line || exit 130
printf %s "$line"`;

/**
 * The passphrase of an encrypted key: from NSGX_KEY_PASSPHRASE, else asked for on the terminal without echo.
 * @throws NsgxError PASSPHRASE_UNAVAILABLE when there is no terminal to ask on, or nothing was typed
 */
export function askPassphrase(): string | Uint8Array {
  const given = process.env.NSGX_KEY_PASSPHRASE;
  if (given !== undefined) return given;
  let terminal: number;
  try {
    terminal = openSync('/dev/tty', 'r+');
  } catch (cause) {
    throw unavailable('there is no terminal to ask for its passphrase', cause);
  }
  try {
    writeSync(terminal, 'Passphrase of the key: ');
    const { status, stdout, error } = spawnSync('sh', ['-c', READ_LINE], {
      stdio: [terminal, 'pipe', 'ignore'],
    });
    if (status !== 0) throw unavailable('no passphrase was typed on the terminal', error);
    return stdout;
  } finally {
    writeSync(terminal, '\n');
    closeSync(terminal);
  }
}

function unavailable(message: string, cause: unknown): NsgxError {
  return new NsgxError('PASSPHRASE_UNAVAILABLE', `the key is encrypted and ${message}`, {
    cause,
    advice: 'Set NSGX_KEY_PASSPHRASE.',
  });
}
