/** Collateral that is read and verified once and used for many appraisals. */
import { copyBytes } from './bytes.js';
import type { Collateral } from './collateral.js';
import { IntelTrust } from './dcap/trust.js';
import { AttestError } from './errors.js';

/**
 * A private copy of collateral with what was found out about it: parsed certificates, lists and documents, and
 * whose signatures are good. Nothing that depends on the time or on the policy is kept: each appraisal judges
 * dates and statuses anew. Made by {@link prepareCollateral}.
 */
export class PreparedCollateral {
  readonly files: Collateral;
  readonly intel: IntelTrust;

  /** @throws AttestError OPTIONS_INVALID for a file that is no byte array */
  constructor(collateral: Collateral) {
    const files: { -readonly [K in keyof Collateral]: Collateral[K] } = {};
    for (const [name, bytes] of Object.entries(collateral)) {
      if (bytes === undefined) continue;
      if (!(bytes instanceof Uint8Array))
        throw new AttestError('OPTIONS_INVALID', `The collateral '${name}' is no byte array.`);
      files[name as keyof Collateral] = copyBytes(bytes);
    }
    this.files = Object.freeze(files);
    this.intel = new IntelTrust(this.files);
  }
}

/**
 * Prepares collateral for many appraisals: give the result to `verify` in place of the collateral.
 *
 * @example
 * const collateral = prepareCollateral(collateralFromFiles(files));
 * for (const quote of quotes) await verify(quote, { policy, collateral });
 * @throws AttestError OPTIONS_INVALID for a file that is no byte array; an unreadable file fails appraisals
 */
export function prepareCollateral(collateral: Collateral): PreparedCollateral {
  return new PreparedCollateral(collateral);
}
