// Cycles of changes to a running enclave's mappings, and of starting one.
//   node packages/cpu/bench/mappings.mjs
import { rdtsc } from '@nestedsgx/os';
import { assemble, enclu } from '../dist/test/assemble.js';
import { BenchMachine } from '../dist/test/bench-machine.js';

const PAGE = 4096;
const ROUNDS = 400;
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const code = assemble(`nop\nnop\n${enclu(4)}`);

const machine = new BenchMachine();
const size = 64 << 20;
const enclave = machine.start({ code, size });
const { running, memory } = enclave;
const first = 0x100000;

/** Median cycles for one page of `run`, after `before`, over pages that lie `stride` pages apart. */
function measure(name, pages, before, run, stride = 1) {
  const cycles = [];
  const rounds = Math.max(20, Math.floor(ROUNDS / Math.sqrt(pages)));
  for (let i = 0; i < rounds; i++) {
    const at = first + ((i * pages * stride) % 8192) * PAGE;
    before?.(at, pages * PAGE);
    const start = rdtsc();
    run(at, pages * PAGE);
    cycles.push((rdtsc() - start) / pages);
  }
  console.log(`${name.padEnd(58)} ${String(Math.round(median(cycles))).padStart(7)} cycles a page`);
}

const rw = { r: true, w: true, x: false };
const rx = { r: true, w: false, x: true };
const filled = (length) => new Uint8Array(length).fill(0x90);
const gone = (at, length) => {
  memory.discard(at, length);
  running.unmap(at, length, true);
};
const there = (at, length) => {
  gone(at, length);
  memory.write(at, filled(length));
};
const mapped = (rights) => (at, length) => {
  there(at, length);
  running.map({ offset: at, length, ...rights });
};
for (const pages of [1, 16, 256]) {
  const of = `${pages} page${pages > 1 ? 's at once' : ''}`;
  measure(`map RW, ${of}`, pages, there, (offset, length) => running.map({ offset, length, ...rw }));
  measure(`map RW of a hole, ${of}`, pages, gone, (offset, length) => running.map({ offset, length, ...rw }));
  measure(`take W, ${of}`, pages, mapped(rw), (at, length) => running.writeProtect(at, length, true));
  measure(`unmap with contents, ${of}`, pages, mapped(rw), (at, length) => running.unmap(at, length));
  measure(`evict (take W, read, discard, unmap), ${of}`, pages, mapped(rw), (at, length) => {
    running.writeProtect(at, length, true);
    memory.read(at, length);
    memory.discard(at, length);
    running.unmap(at, length, true);
  });
  measure(`load (write, map RW), ${of}`, pages, gone, (offset, length) => {
    memory.write(offset, filled(length));
    running.map({ offset, length, ...rw });
  });
  measure(`RW to RX by the agent, ${of}`, pages, mapped(rw), (offset, length) =>
    running.protect({ offset, length, ...rx }),
  );
  measure(`load of code again (write, map RX), ${of}`, pages, mapped(rx), (offset, length) => {
    memory.write(offset, filled(length));
    running.map({ offset, length, ...rx });
  });
}
enclave.close();

for (const spareGates of [0, 7, 31, 254]) {
  const ms = [];
  for (let i = 0; i < 20; i++) {
    await new Promise((resolve) => setTimeout(resolve, 30));
    const start = performance.now();
    const one = machine.start({ code, spareGates });
    ms.push(performance.now() - start);
    one.close();
  }
  console.log(
    `start with 1 TCS and ${String(spareGates).padStart(3)} spare gates: ${median(ms).toFixed(2)} ms`,
  );
}
machine.close();
