/** Offers the SDK's own interface files where no SDK is installed. */
import type { EdlResolver } from '../parse/imports.js';
import { STANDARD_EDL } from './standard-files.js';

/** What stands before the name of a file that came from here, in messages. */
export const STANDARD_FOLDER = '(standard)/';

/**
 * A resolver that gives the standard files of Intel's SDK (`sgx_tstdc.edl` and others) where `resolve` finds none, so that
 * a file of the user's search path, of whatever version, comes first. Imports of paths (`../inc/sgx_tstdc.edl`) count by
 * their last part.
 */
export function withStandardEdl(resolve: EdlResolver = () => undefined): EdlResolver {
  return (path, from) => {
    // A standard file imports standard files: those of another version beside the caller's would not go with it.
    if (!from.startsWith(STANDARD_FOLDER)) {
      const found = resolve(path, from);
      if (found !== undefined) return found;
    }
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (!Object.hasOwn(STANDARD_EDL, name)) return undefined;
    return { file: STANDARD_FOLDER + name, text: STANDARD_EDL[name] };
  };
}
