/** The fixed command line and first script of a confidential VM's process. */

/** Descriptors of the new process. `listener` is present only when it serves a Unix socket, `tracer` when it is traced. */
export const LAUNCH_FDS = Object.freeze({
  control: 3,
  monitor: 4,
  koffi: 5,
  library: 6,
  runner: 7,
  configuration: 8,
  listener: 9,
  tracer: 10,
});

/**
 * Script text given to `node -e`: listens for SIGUSR1 (so that no inspector opens), reads the bundle from its sealed
 * descriptor, evaluates exactly these bytes and calls the exported `main`. Only built-in modules can be required.
 */
export const LOADER = `'use strict';
process.on('SIGUSR1', () => {});
const fs = require('node:fs'), vm = require('node:vm'), { isBuiltin } = require('node:module');
const size = fs.fstatSync(${LAUNCH_FDS.monitor}).size, bytes = Buffer.alloc(size);
for (let at = 0; at < size; ) {
  const got = fs.readSync(${LAUNCH_FDS.monitor}, bytes, at, size - at, at);
  if (got === 0) throw new Error('the bundle ended early');
  at += got;
}
const only = (id) => { if (!isBuiltin(id)) throw new Error('not a built-in module: ' + id); return require(id); };
const module_ = { exports: {} };
const text = '(function (exports, require, module, __filename, __dirname) {' + bytes.toString('utf8') + '\\n})';
new vm.Script(text, { filename: 'nsgx-monitor.cjs' }).runInThisContext()(
  module_.exports, only, module_, 'nsgx-monitor.cjs', '/');
Promise.resolve(module_.exports.main({ fds: ${JSON.stringify(LAUNCH_FDS)} })).catch((error) => {
  console.error(error);
  process.exit(1);
});
`;

/**
 * Arguments of the process: the inspector's address cannot be bound, so that nothing can open it; no configuration of
 * the machine's OpenSSL is read, since it can name modules to load.
 */
export const LAUNCH_ARGV: readonly string[] = Object.freeze([
  'node',
  '--inspect-port=192.0.2.1:9229',
  '--openssl-config=/dev/null',
  '--no-warnings',
  '-e',
  LOADER,
]);

/** Variables that pass into the process; all others (NODE_OPTIONS, LD_PRELOAD, OPENSSL_CONF, …) do not. */
const ALLOWED = ['LANG', 'LC_ALL'];

/** The environment of the process, as `NAME=value` strings. */
export function launchEnvironment(env: NodeJS.ProcessEnv = process.env): string[] {
  return ALLOWED.filter((name) => /^[\w.@-]{1,64}$/.test(env[name] ?? '')).map(
    (name) => `${name}=${env[name]}`,
  );
}
