#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { runQuickly } from '../dist/src/cli/quick-bundle.js';

// A reader that has seen enough (nsgx … | head) is no error.
process.stdout.on('error', (error) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

const argv = process.argv.slice(2);
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const status = await runQuickly(path('../dist/bundle'), path('../..'), argv);
process.exitCode = status ?? (await (await import('../dist/src/cli/main.js')).run(argv));
