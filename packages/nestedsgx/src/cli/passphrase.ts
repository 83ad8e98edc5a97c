import { spawnSync } from 'node:child_process';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { NsgxError } from '@nestedsgx/arch';

/**
 * The passphrase of an encrypted key: from NSGX_KEY_PASSPHRASE, else asked for on the terminal without echo.
 * @throws NsgxError PASSPHRASE_UNAVAILABLE when there is no terminal to ask on
 */
export function askPassphrase(): string {
  const given = process.env.NSGX_KEY_PASSPHRASE;
  if (given !== undefined) return given;
  let terminal: number;
  try {
    terminal = openSync('/dev/tty', 'r+');
  } catch (cause) {
    throw new NsgxError(
      'PASSPHRASE_UNAVAILABLE',
      'the key is encrypted and there is no terminal to ask for its passphrase',
      {
        cause,
        advice: 'Set NSGX_KEY_PASSPHRASE.',
      },
    );
  }
  try {
    writeSync(terminal, 'Passphrase of the key: ');
    spawnSync('stty', ['-echo'], { stdio: [terminal, 'ignore', 'ignore'] });
    const buffer = Buffer.alloc(1024);
    const length = readSync(terminal, buffer, 0, buffer.length, null);
    return buffer
      .subarray(0, length)
      .toString('utf8')
      .replace(/\r?\n$/, '');
  } finally {
    spawnSync('stty', ['echo'], { stdio: [terminal, 'ignore', 'ignore'] });
    writeSync(terminal, '\n');
    closeSync(terminal);
  }
}
