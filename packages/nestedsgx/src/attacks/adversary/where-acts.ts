/** What an attached adversary knows about itself. */
import { caaGpa, ghcbGpa } from '@nestedsgx/machine';
import { shareOf, type World } from './world.js';

export const whereActs = {
  /** The share, and the pages of its virtual CPU. */
  whereami(world: World) {
    const share = shareOf(world);
    return { ...share, ghcb: ghcbGpa(share.vcpu), caa: caaGpa(share.vcpu) };
  },
};
