import { ENCLS, SECINFO_R, SECINFO_X } from '@nestedsgx/arch';
import { SGX_CALL } from '@nestedsgx/guest';
import { type Attack, finding } from '../attack.js';
import { Evil } from '../stage/evil.js';
import { latencyFaults, latencyText, workBeside } from '../stage/innocent.js';
import { asKernel } from '../stage/kernel.js';
import { exitName, OP } from '../stage/micro.js';
import { runnerCode } from '../stage/runner-code.js';
import type { Stage } from '../stage/stage.js';

const THREADS = 4;
const READ = 0;

export const endlessEnclave: Attack = Object.freeze({
  name: 'endless-enclave',
  group: 'denial',
  by: 'enclave',
  title: 'an enclave that never leaves',
  tries:
    'all of its threads compute for ever, while its host interrupts and resumes them; then it is closed with all of them inside',
  control: 'the threads are really inside: an interrupt makes each of them leave, and it is resumed',
  run: async (stage: Stage) => {
    const micro = await stage.micro({ threads: THREADS });
    const broken: (string | false)[] = [];
    const inside = Array.from({ length: THREADS }, (_, i) => micro.begin(OP.SPIN, {}, i));
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
    const beside = await workBeside(stage, new Promise((resolve) => setTimeout(resolve, 500)));
    micro.kick(0);
    const left = exitName(await inside[0]!);
    broken.push(left !== 'interrupt' && `an interrupt gave ${left}, so this shows nothing`);
    inside[0] = micro.beginResume(0);
    const before = performance.now();
    await micro.close();
    const closing = performance.now() - before;
    const ends = await Promise.all(inside.map((exit) => exit.then(exitName, () => 'closed')));
    broken.push(closing > 3000 && `closing it took ${closing.toFixed(0)} ms`);
    const after = await workBeside(stage, Promise.resolve(), 50);
    return [
      finding(
        'a malicious enclave',
        `${THREADS} threads that never leave: ${latencyText(beside)}; closed with all inside in ${closing.toFixed(0)} ms ` +
          `(${[...new Set(ends)].join(', ')})`,
        [...broken, ...latencyFaults(beside), after.wrong > 0 && 'afterwards the innocent enclave fails'],
      ),
    ];
  },
});

export const agentEater: Attack = Object.freeze({
  name: 'agent-eater',
  group: 'denial',
  by: 'enclave',
  title: 'an enclave that eats the orders to its own agent',
  tries:
    "reads its runner's socket through the stub, so that orders of the monitor never reach the agent, and computes for ever; the host then " +
    'interrupts it, trims its pages and closes it',
  control:
    'the read through the stub is really under way: it does not come back at once, nor does it end the enclave',
  run: async (stage: Stage) => {
    const { connection } = await stage.host();
    const evil = new Evil(stage);
    const victim = await evil.victim();
    const runs = [...stage.image('evil').image.pages()];
    const executable = runs.find(({ secinfoFlags }) => (secinfoFlags & SECINFO_X) !== 0)!.offset;
    const extent = victim.built.file.pages.find(executable)!;
    const code = extent.gpa + (executable - extent.offset);
    const read = runnerCode().syscalls.find(({ number }) => number === READ);
    const broken: (string | false)[] = [
      read === undefined && 'the runner has no read, so this shows nothing',
    ];
    // The socket is one of the first descriptors: a read of any other is refused and ends the enclave.
    const calls = victim.enclave.async as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    const registers = new BigUint64Array(14);
    let ended = 'still eating';
    const eating: Promise<unknown>[] = [];
    registers.set([0n, 0n, 0n, 4096n, BigInt(victim.address), 3n]);
    const eat = calls.jump!(BigInt(read?.address ?? 0), new Uint8Array(registers.buffer)).then(
      (value) => {
        ended = `a read returned ${String(value)}`;
      },
      (error: Error) => {
        ended = String((error as { vectorName?: unknown }).vectorName ?? (error as { code?: unknown }).code);
      },
    );
    eating.push(eat);
    await new Promise<void>((resolve) => setTimeout(resolve, 20));
    broken.push(ended !== 'still eating' && `reading its socket ended at once: ${ended}`);
    const before = performance.now();
    const slow = await asKernel(connection, (kernel) => {
      const started = performance.now();
      // Taking X away is the agent's work: it acknowledges, or its enclave is lost.
      const restricted = kernel.sgx(ENCLS.EMODPR, kernel.secinfo(SECINFO_R), code).code;
      const all = performance.now() - started;
      kernel.sgx(SGX_CALL.KICK, victim.built.file.secs, 0);
      return { restricted, all };
    });
    const beside = await workBeside(stage, new Promise((resolve) => setTimeout(resolve, 300)));
    const state = victim.enclave.status().state;
    victim.built.file.close();
    await evil.renew();
    await Promise.race([Promise.all(eating), new Promise((resolve) => setTimeout(resolve, 2000))]);
    const total = performance.now() - before;
    broken.push(slow.all > 1000 && `an order to it held the monitor up for ${slow.all.toFixed(0)} ms`);
    broken.push(total > 6000 && `getting rid of it took ${total.toFixed(0)} ms`);
    return [
      finding(
        'a malicious enclave',
        `reading its socket: ${ended}; taking its right to execute away: ${slow.restricted} after ${slow.all.toFixed(0)} ms, it is ${state}; ${latencyText(beside)}`,
        [...broken, ...latencyFaults(beside)],
      ),
    ];
  },
});
