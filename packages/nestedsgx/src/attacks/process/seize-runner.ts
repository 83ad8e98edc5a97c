import { type Attack, type Finding, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';

export const seizeRunner: Attack = Object.freeze({
  name: 'seize-runner',
  group: 'process',
  by: 'local user',
  title: 'seize a process of the machine by its threads',
  tries:
    'PTRACE_SEIZE, PTRACE_ATTACH and process_vm_readv of every thread of runner and confidential VM, /proc/PID/task/TID/mem, kcmp, ' +
    'process_madvise, perf_event_open, move_pages and a descriptor of its memory opened from the first moment of a new runner',
  control: 'every call succeeds against a process of the attacker that protects nothing',
  run: async (stage: Stage) => {
    const findings: Finding[] = [];
    const vault = await stage.vault();
    const { pid: cvm } = await stage.machine();
    const runner = await stage.runnerOf(vault);
    for (const person of stage.cast.processes) {
      const adversary = await stage.adversary(person);
      const broken: (string | false)[] = [];
      const control = await adversary.act('seize', { pid: null });
      const works = control.filter(({ granted }) => granted).map(({ what }) => what);
      broken.push(works.length < 4 && `only ${works.join(', ')} work at all, so this shows little`);
      const refused = new Tally();
      for (const pid of [runner, cvm])
        for (const { what, granted, why } of await adversary.act('seize', { pid }))
          if (granted)
            broken.push(`${what} of ${pid === runner ? 'the runner' : 'the confidential VM'} was granted`);
          else refused.add(why);
      const { done } = await adversary.begin('catch', { parent: cvm, ms: 600 });
      const late = await stage.anotherVault();
      const caught = await done;
      await late.close();
      broken.push(
        caught.opened.length > 0 && `the memory of a new runner was opened: ${caught.opened.join(', ')}`,
      );
      broken.push(caught.seen === 0 && 'no new runner was seen, so this shows little');
      findings.push(
        finding(
          person.label,
          `${refused.total} ways refused with ${refused} (${works.length} of them work on a process of its own); ${caught.seen} new ` +
            `runner caught at birth, ${caught.tries} times opened: ${caught.why}`,
          broken,
        ),
      );
    }
    return findings;
  },
});
