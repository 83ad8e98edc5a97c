import { CAA_ANSWER, caaGpa, DOORBELL_GPA, DOORBELL_WAKE } from '@nestedsgx/machine';
import { type Attack, type Finding, finding } from '../attack.js';
import type { Stage } from '../stage/stage.js';

const MS = 1200;
/** Longest that one sleep of the monitor or the driver may be prolonged, in milliseconds, with a busy machine's share. */
const BOUND_MS = 100;

export const futexRequeueAttack: Attack = Object.freeze({
  name: 'futex-requeue',
  group: 'races',
  by: 'guest OS',
  control: 'sleepers were really moved',
  title: 'move the monitor to a futex that nobody wakes',
  tries: "FUTEX_REQUEUE of everything that sleeps on the doorbell and on a host's answer word, all the time",
  run: async (stage: Stage) => {
    let found = await requeue(stage);
    // A busy machine may be late once; a monitor that sleeps for ever is late every time.
    for (let again = 0; again < 2 && !found.held; again++) found = await requeue(stage);
    return [found];
  },
});

/** One round of requests under requeueing. */
async function requeue(stage: Stage): Promise<Finding> {
  const { connection, device } = await stage.host();
  const adversary = await stage.adversary(stage.cast.guest);
  const trap = connection.memory.alloc(4096, { alignment: 4096, zero: true });
  const words = [DOORBELL_GPA + DOORBELL_WAKE, caaGpa(connection.vcpu.id) + CAA_ANSWER];
  const { done } = await adversary.begin('requeue', { words, to: trap.gpa, ms: MS });
  const waits: number[] = [];
  const started = performance.now();
  while (performance.now() - started < MS) {
    const before = performance.now();
    device.query();
    waits.push(performance.now() - before);
    // Long enough for the monitor to fall asleep again.
    await new Promise<void>((resolve) => setTimeout(resolve, 5));
  }
  const moved = await done;
  connection.memory.free(trap);
  waits.sort((a, b) => a - b);
  const worst = waits[waits.length - 1]!;
  const median = waits[waits.length >> 1]!;
  return finding(
    stage.cast.guest.label,
    `${moved} sleepers moved; ${waits.length} requests all answered, median ${median.toFixed(1)} ms, worst ` +
      `${worst.toFixed(1)} ms (bound ${BOUND_MS} ms)`,
    [
      worst > BOUND_MS && `a request took ${worst.toFixed(0)} ms`,
      moved === 0 && 'nobody slept while it was tried, so this shows nothing',
    ],
  );
}
