// Cycles of switchless calls, natively and from JavaScript.
//   node bench/switchless/measure.mjs ENCLAVE.signed.so FILE.edl
// The enclave is the SDK's sample "Switchless" or one with its interface (ecall_repeat_ocalls, ecall_empty_switchless,
// ocall_empty_switchless). Best of several rounds; both sides need a CPU of their own.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadGateLibrary } from '../../packages/cpu/dist/src/host/index.js';
import { loadLibrary } from '../../packages/os/dist/src/index.js';
import { Cvm } from '../../packages/sdk/dist/src/index.js';

const [image, edl] = process.argv.slice(2);
if (edl === undefined) {
  console.error('usage: node bench/switchless/measure.mjs ENCLAVE.signed.so FILE.edl');
  process.exit(2);
}
const ROUNDS = 7;
const CALLS = 50_000;

const here = dirname(fileURLToPath(import.meta.url));
const native = join(here, '../../packages/cpu/native/build');
const folder = mkdtempSync(join(tmpdir(), 'nsgx-switchless-'));
const file = join(folder, 'loop.so');
execFileSync('gcc', [
  ...['-std=gnu11', '-O2', '-Wall', '-Wextra', '-fPIC', '-shared', `-I${native}`, '-o', file],
  ...[join(here, 'loop.c'), join(native, 'libnsgx-gate.so'), `-Wl,-rpath,${native}`],
]);
const gate = loadGateLibrary();
const loops = loadLibrary(file);
rmSync(folder, { recursive: true });
const loopEcalls = loops.func(
  'uint32_t loop_ecalls(uint64_t s, uint64_t function, uint64_t data, void *cycles, uint32_t count)',
);
const loopOcalls = loops.func(
  'uint32_t loop_ocalls(uint64_t s, uint64_t gate, uint32_t leaf, int64_t rdi, int64_t rsi, void *cycles, uint32_t count)',
);

const cycles = new Uint32Array(CALLS);
const part = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
const summary = (count) => {
  const sorted = cycles.slice(0, count).sort();
  return { median: part(sorted, 0.5), p10: part(sorted, 0.1), p90: part(sorted, 0.9), count };
};
/** The best median among rounds in which calls were switchless. */
const best = (results) =>
  results
    .filter(({ count }) => count > 1000)
    .reduce((a, b) => (b.median < a.median ? b : a), {
      median: Number.POSITIVE_INFINITY,
      p10: 0,
      p90: 0,
      count: 0,
    });

const mhz = Number(/cpu MHz\s*:\s*([\d.]+)/.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1] ?? 'NaN');

const cvm = await Cvm.launch();
const enclave = await cvm.load(image, {
  edl,
  debug: true,
  switchless: { trustedWorkers: 1, untrustedWorkers: 1 },
  ocalls: { ocall_empty() {}, ocall_empty_switchless() {} },
});
const { ecall_empty_switchless, ecall_repeat_ocalls } = enclave.ecalls;
const { call, enter } = gate.switchless;

const natively = { ecall: [], ocall: [] };
const fromJavaScript = { ecall: [], ocall: [] };
for (let round = 0; round < ROUNDS; round++) {
  for (let i = 0; i < 1000; i++) ecall_empty_switchless();
  gate.switchless.call = (handle, fn, data, limit) => {
    natively.ecall.push(summary(loopEcalls(handle, fn, data, cycles, CALLS)));
    return call(handle, fn, data, limit);
  };
  ecall_empty_switchless();
  gate.switchless.call = call;

  let start = process.hrtime.bigint();
  for (let i = 0; i < CALLS; i++) ecall_empty_switchless();
  fromJavaScript.ecall.push(Number(process.hrtime.bigint() - start) / CALLS);

  ecall_repeat_ocalls(1000, 1);
  gate.switchless.enter = (handle, thread, leaf, rdi, rsi) => {
    gate.switchless.enter = enter;
    natively.ocall.push(summary(loopOcalls(handle, thread, leaf, rdi, rsi, cycles, CALLS)));
    return 1; // EEXIT: its registers are in the gate page.
  };
  ecall_repeat_ocalls(CALLS, 1);

  start = process.hrtime.bigint();
  ecall_repeat_ocalls(CALLS, 1);
  fromJavaScript.ocall.push(Number(process.hrtime.bigint() - start) / CALLS);
}
for (const kind of ['ecall', 'ocall']) {
  const { median, p10, p90, count } = best(natively[kind]);
  console.log(
    `switchless ${kind}, native: ${median} cycles (p10 ${p10}, p90 ${p90}; ${count} of ${CALLS} calls)`,
  );
  console.log(`  medians of all rounds: ${natively[kind].map((r) => r.median).join(' ')}`);
  const ns = Math.min(...fromJavaScript[kind]);
  console.log(
    `switchless ${kind}, JavaScript: ${ns.toFixed(0)} ns a call (${Math.round((ns * mhz) / 1000)} cycles at ${mhz} MHz)`,
  );
}
console.log(JSON.stringify(enclave.switchlessStats()));
await enclave.close();
await cvm.close();
