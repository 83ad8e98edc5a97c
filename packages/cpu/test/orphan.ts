// Run as a process of its own by the test of a monitor's death: starts an enclave, prints the runner's number and waits.
import { assemble, enclu } from './assemble.js';
import { BenchMachine } from './bench-machine.js';

if (process.argv[2] === 'run') {
  const machine = new BenchMachine({ spare: false }, 55);
  const enclave = machine.start({ code: assemble(`1: jmp 1b\n${enclu(4)}`) });
  process.stdout.write(`${enclave.running.pid}\n`);
  setInterval(() => {}, 1000);
}
