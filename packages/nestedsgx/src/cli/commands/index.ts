import type { CommandModule } from '../program.js';

/** The commands in the order `nsgx --help` lists them. Each is loaded when it is wanted: together they take most of a second. */
const COMMANDS: Readonly<Record<string, () => Promise<CommandModule>>> = {
  demo: async () => (await import('./demo.js')).demoCommand,
  doctor: async () => (await import('./doctor.js')).doctorCommand,
  new: async () => (await import('./new.js')).newCommand,
  build: async () => (await import('./build.js')).buildCommand,
  edl: async () => (await import('./edl.js')).edlCommand,
  sign: async () => (await import('./sign.js')).signCommand,
  inspect: async () => (await import('./inspect.js')).inspectCommand,
  measure: async () => (await import('./measure.js')).measureCommand,
  run: async () => (await import('./run.js')).runCommand,
  exec: async () => (await import('./exec.js')).execCommand,
  image: async () => (await import('./image.js')).imageCommand,
  ps: async () => (await import('./ps.js')).psCommand,
  kill: async () => (await import('./ps.js')).killCommand,
  attest: async () => (await import('./attest.js')).attestCommand,
  verify: async () => (await import('./verify.js')).verifyCommand,
  collateral: async () => (await import('./collateral.js')).collateralCommand,
  keyserver: async () => (await import('./keyserver.js')).keyserverCommand,
  attack: async () => (await import('./attack.js')).attackCommand,
  simulate: async () => (await import('./simulate.js')).simulateCommand,
  conformance: async () => (await import('./conformance.js')).conformanceCommand,
  bench: async () => (await import('./bench.js')).benchCommand,
  trace: async () => (await import('./trace.js')).traceCommand,
  top: async () => (await import('./top.js')).topCommand,
  cvm: async () => (await import('./cvm.js')).cvmCommand,
  vm: async () => (await import('./vm.js')).vmCommand,
};

/** The command that the arguments name, or all of them where they name none. */
export function loadCommands(argv: readonly string[] = []): Promise<CommandModule[]> {
  if (argv[0] === '--version') return Promise.resolve([]);
  const name = argv.find((text) => !text.startsWith('-')) ?? '';
  const wanted = Object.hasOwn(COMMANDS, name) ? [COMMANDS[name]] : Object.values(COMMANDS);
  return Promise.all(wanted.map((load) => load()));
}
