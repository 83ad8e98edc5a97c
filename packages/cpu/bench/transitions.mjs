// Cycles of a round trip into an enclave and back, from Node, against the floor measured in the same run.
//   node packages/cpu/bench/transitions.mjs            spin, cold, AEX (two CPUs), async
//   taskset -c 0 node packages/cpu/bench/transitions.mjs   one-cpu
import { setTimeout as sleep } from 'node:timers/promises';
import { CallPool, rdtsc, usableCpus } from '@nestedsgx/os';
import { TransitionFloor } from '../dist/src/host/index.js';
import { assemble, enclu } from '../dist/test/assemble.js';
import { AT, BenchMachine } from '../dist/test/bench-machine.js';

const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
const oneCpu = usableCpus().length === 1;

/** Medians of many short batches, interleaved so that all see the same neighbours. */
function interleave(runs, batches, perBatch) {
  const results = runs.map(() => []);
  for (let b = 0; b < batches; b++)
    runs.forEach((run, r) => {
      const start = rdtsc();
      for (let i = 0; i < perBatch; i++) run(i);
      results[r].push((rdtsc() - start) / perBatch);
    });
  return results.map((values) => Math.round(median(values)));
}

function print(name, cycles, floor) {
  const ratio = floor ? `  ${(cycles / floor).toFixed(2)}x floor ${floor}` : '';
  console.log(`${name.padEnd(44)} ${String(cycles).padStart(7)} cycles${ratio}`);
}

const empty = assemble(`nop\nnop\n${enclu(4)}`);
const faulting = (instruction) =>
  assemble(`
    nop
  3: ${instruction}
    jmp 3b`);

const patience = oneCpu ? 4000 : 60_000;
const machine = new BenchMachine();
const patched = machine.start({ code: empty });
const floor = new TransitionFloor(!oneCpu);
const mode = oneCpu ? 'one-cpu' : 'spin';
for (let i = 0; i < 3000; i++) patched.gate.enter(0, 0);
// Each side is measured while the other sleeps: batches long enough to make the switch worth it.
const [call] = interleave([() => patched.gate.enter(0, 0)], oneCpu ? 60 : 400, oneCpu ? 50 : 100);
const [raw] = interleave([() => floor.enter()], oneCpu ? 60 : 400, oneCpu ? 50 : 100);
print(`empty ECALL, ${mode}`, call, raw);
floor.close();
patched.close();

const trapMachine = new BenchMachine({ patch: false }, 60);
const trapped = trapMachine.start({ code: empty, spinCycles: patience });
for (let i = 0; i < 500; i++) trapped.gate.enter(0, 0);
print(`empty ECALL, ${mode}, ENCLU traps`, interleave([() => trapped.gate.enter(0, 0)], 60, 50)[0]);
trapped.close();
trapMachine.close();

for (const [name, instruction] of [
  ['int3', 'int3'],
  ['page fault', `mov _start+${0xe0000 - AT.CODE}(%rip),%al`],
  ['#UD', 'ud2'],
]) {
  const enclave = machine.start({ code: faulting(instruction), spinCycles: patience });
  enclave.gate.enter(0, 0);
  for (let i = 0; i < 500; i++) enclave.gate.resume();
  print(`ERESUME + AEX (${name}), ${mode}`, interleave([() => enclave.gate.resume()], 60, 50)[0]);
  enclave.close();
}

const idle = machine.start({ code: empty });
const cold = [];
for (let i = 0; i < 120; i++) {
  await sleep(3);
  const start = rdtsc();
  idle.gate.enter(0, 0);
  cold.push(rdtsc() - start);
}
print('empty ECALL, cold (3 ms apart)', Math.round(median(cold)));
idle.close();

const threads = 64;
const pool = new CallPool(threads);
const many = machine.start({ code: empty, threads });
const calls = 10_000;
const free = many.gates.slice();
const waiting = [];
const lease = () => free.pop() ?? new Promise((resolve) => waiting.push(resolve));
const release = (gate) => {
  const next = waiting.shift();
  if (next) next(gate);
  else free.push(gate);
};
const asyncCall = async () => {
  const gate = await lease();
  const exit = await gate.enterAsync(pool, 2);
  release(gate);
  return exit.kind;
};
await Promise.all(Array.from({ length: 500 }, asyncCall));
const start = performance.now();
const kinds = await Promise.all(Array.from({ length: calls }, asyncCall));
const us = ((performance.now() - start) * 1000) / calls;
console.log(
  `${calls} asynchronous ECALLs on ${threads} TCS: ${kinds.filter((k) => k === 'EEXIT').length} came back, ${us.toFixed(1)} µs each`,
);
const latencies = [];
for (let i = 0; i < 500; i++) {
  const t = performance.now();
  await asyncCall();
  latencies.push((performance.now() - t) * 1000);
}
console.log(`one asynchronous ECALL at a time: p50 ${median(latencies).toFixed(1)} µs`);
many.close();
await pool.close();
machine.close();
