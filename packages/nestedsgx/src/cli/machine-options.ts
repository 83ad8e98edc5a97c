import { existsSync } from 'node:fs';
import { Cvm, defaultSocketPath } from '@nestedsgx/sdk';
import type { Command } from 'commander';

/** How a command gets its confidential VM. */
export interface MachineOptions {
  socket?: string;
  fresh?: boolean;
}

/** Adds the options that choose a machine. */
export function withMachineOptions(command: Command): Command {
  return command
    .option(
      '--socket <path>',
      'use the confidential VM that listens there (default: the one of nsgx cvm start, if any)',
    )
    .option('--fresh', 'use a new private machine even if one is running');
}

/** The machine of this command: a running one, or a private one that ends with it (always so under a tracer). */
export async function openMachine(options: MachineOptions): Promise<Cvm> {
  if (options.socket !== undefined) return Cvm.connect(options.socket);
  // A tracer sees machines from their launch on; those that run already are traced through their socket.
  const traced = Boolean(process.env.NSGX_TRACE);
  if (!options.fresh && !traced && existsSync(defaultSocketPath())) {
    try {
      const cvm = await Cvm.connect();
      await cvm.guest();
      return cvm;
    } catch {
      // A socket that nobody serves any more: a private machine serves as well.
    }
  }
  return Cvm.launch();
}
