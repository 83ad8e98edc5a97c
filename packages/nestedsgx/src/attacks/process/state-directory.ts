import { chownSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endProcess, launchCvm } from '@nestedsgx/sdk';
import { type Attack, finding, Tally } from '../attack.js';
import { launchOptions } from '../stage/machine.js';
import type { Stage } from '../stage/stage.js';

export const stateDirectory: Attack = Object.freeze({
  name: 'state-directory',
  group: 'process',
  by: 'local user',
  title: "read the machine's keys from its state directory",
  tries:
    'launches a machine with a state directory of its own, then lists, opens, links and changes everything in it as the user of the guest',
  control: 'the files are there, and the account of the machine can read them',
  run: async (stage: Stage) => {
    const { cast } = stage;
    const stateDir = mkdtempSync(join(tmpdir(), 'nsgx-attack-'));
    chownSync(stateDir, cast.own.uid, cast.own.gid);
    const broken: (string | false)[] = [];
    try {
      const launched = await launchCvm({ ...launchOptions(cast, stage.options), stateDir });
      launched.control.close();
      await endProcess(launched.pid, launched.pidfd, 1000);
      const files = (readdirSync(stateDir, { recursive: true }) as string[]).map((name) =>
        join(stateDir, name),
      );
      const loose = [stateDir, ...files].filter((path) => (lstatSync(path).mode & 0o077) !== 0);
      broken.push(files.length === 0 && 'there is no state, so this shows nothing');
      broken.push(loose.length > 0 && `others may use ${loose[0]}`);
      const adversary = await stage.adversary(cast.guest);
      const mine = await (await stage.adversary(cast.own)).act('readTree', { folder: stateDir, files });
      broken.push(!mine.some(({ got }) => got) && 'even the account of the machine cannot read it');
      const outcomes = await adversary.act('readTree', { folder: stateDir, files });
      const refused = new Tally();
      const same = cast.guest.uid === cast.own.uid;
      for (const { what, got, why } of outcomes)
        if (!got) refused.add(why);
        else broken.push(!same && `${what} was granted`);
      return [
        finding(
          cast.guest.label,
          same
            ? `${files.length} files, for the machine's own user only; this is that user, from whom a same-user machine hides nothing (docs/SECURITY.md)`
            : `${outcomes.length} attempts on ${files.length} files: ${refused}`,
          broken,
        ),
      ];
    } finally {
      rmSync(stateDir, { recursive: true, force: true });
    }
  },
});
