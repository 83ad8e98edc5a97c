/** What running an image needs to know of it, read from what is measured. */
import { malformed } from './app-format.js';
import type { AppImage } from './app-read.js';
import { readBoot } from './boot.js';
import { decodePolicy, type ProgramPolicy } from './policy.js';

const PAGE = 4096;

/** Policy and place of things of an open image. */
export interface AppFacts {
  readonly boot: NonNullable<ReturnType<typeof readBoot>>;
  readonly policy: ProgramPolicy;
}

/** What any image lets its host say when it says nothing of it. */
const ANY: ProgramPolicy = { arguments: { policy: 'any', values: [] }, environment: 'any' };

/** The facts of an open image. @throws APP_IMAGE_MALFORMED */
export function appFacts({ path, image }: AppImage): AppFacts {
  const boot = readBoot(image.read(image.size - PAGE, PAGE));
  if (boot === undefined) throw malformed(path, 'has no boot page');
  for (const size of [boot.policySize, boot.manifestSize])
    if (size > image.size) throw malformed(path, 'has an impossible boot page');
  const policy = boot.policySize === 0 ? ANY : decodePolicy(image.read(boot.policyStart, boot.policySize));
  return { boot, policy };
}
