import { SGX_CALL, SVSM_PROTOCOL_SGX } from '@nestedsgx/arch';
import { type Attack, finding, Tally } from '../attack.js';
import type { Stage } from '../stage/stage.js';

export const ramFile: Attack = Object.freeze({
  name: 'ram-file',
  group: 'process',
  by: 'guest OS',
  control: 'requests that were wiped in time are lost, the others are served',
  title: 'pull guest RAM away from under the monitor',
  tries:
    'shrinks, grows and seals the file that is guest RAM, and punches holes into the doorbell and all pages of virtual CPUs ' +
    'while the monitor uses them',
  run: async (stage: Stage) => {
    const { device } = await stage.host();
    const adversary = await stage.adversary(stage.cast.guest);
    const refused = new Tally();
    const broken: string[] = [];
    for (const { what, why } of await adversary.act('breakFile', undefined)) {
      if (why === null) broken.push(`${what} was granted`);
      else refused.add(why);
    }
    const { done } = await adversary.begin('punch', { ms: 400 });
    // A request that is wiped before the monitor sees it is the guest's own loss; the others are answered.
    const guest = await stage.attachedAdversary();
    let served = 0;
    let wiped = 0;
    const started = performance.now();
    while (performance.now() - started < 400) {
      const calls = [{ protocol: SVSM_PROTOCOL_SGX, call: SGX_CALL.QUERY, timeoutMs: 50 }];
      const [answer] = await guest.act('calls', { calls });
      if (answer!.answered && answer!.rax === 0) served++;
      else wiped++;
    }
    const holes = await done;
    device.query();
    if (served === 0) broken.push('no request was served, so this shows little');
    return [
      finding(
        stage.cast.guest.label,
        `${refused.total} changes of the file refused: ${refused}; ${holes} holes punched under ${served + wiped} requests: ` +
          `${served} served, ${wiped} wiped away; the monitor serves`,
        broken,
      ),
    ];
  },
});
