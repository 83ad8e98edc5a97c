import type { CommandModule } from '../program.js';

/** The commands in the order `nsgx --help` lists them. */
export const commands: readonly CommandModule[] = [];
