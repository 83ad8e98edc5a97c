import { readdirSync } from 'node:fs';
import { type Attack, finding } from '../attack.js';
import { latencyFaults, latencyText, workBeside } from '../stage/innocent.js';
import type { Stage } from '../stage/stage.js';

/** Open descriptors of a process, or null when this user may not count them. */
function descriptors(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return null;
  }
}

export const descriptorFlood: Attack = Object.freeze({
  name: 'descriptor-flood',
  group: 'denial',
  by: 'guest OS',
  title: 'stuff the machine with descriptors and half-open connections',
  tries:
    'messages with as many descriptors as a message can hold, on many connections at once, none of which reads its answers; then all are left ' +
    'open, and closed at once',
  control:
    'the same message with descriptors is taken by a socket of its own; those that are sent are counted',
  run: async (stage: Stage) => {
    const adversary = await stage.adversary(stage.cast.guest, 'flood');
    const { socketPath, pid, cvm } = await stage.machine();
    await stage.calc();
    const before = descriptors(pid);
    const work = adversary.act('floodDescriptors', {
      path: socketPath,
      connections: 60,
      messages: 24,
      each: 120,
    });
    const beside = await workBeside(stage, work);
    const { sent, refused, descriptors: passed, answered, possible } = await work;
    await new Promise<void>((resolve) => setTimeout(resolve, 200));
    await cvm.info();
    const after = descriptors(pid);
    const counted =
      before === null || after === null ? 'not countable by this user' : `${before} before, ${after} after`;
    return [
      finding(
        stage.cast.guest.label,
        `${sent} messages with ${passed} descriptors sent, ${refused} with descriptors refused by the kernel; an honest one: ${answered ? 'answered' : 'refused'}; ` +
          `descriptors of the machine: ${counted}; ${latencyText(beside)}`,
        [
          ...latencyFaults(beside),
          !possible && 'descriptors cannot even be sent to a socket of its own, so this shows nothing',
          !answered && 'an honest message was not answered afterwards',
          sent < 50 && 'too few messages came through to show anything',
          before !== null && after !== null && after > before + 4 && 'descriptors were left behind',
        ],
      ),
    ];
  },
});
