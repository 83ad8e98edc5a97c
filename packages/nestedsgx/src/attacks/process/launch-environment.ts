import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endProcess, launchCvm } from '@nestedsgx/sdk';
import { type Attack, finding } from '../attack.js';
import { launchOptions } from '../stage/machine.js';
import type { Stage } from '../stage/stage.js';

/** Variables through which code or settings could get into the machine; `FOLDER` stands for a folder with hostile files. */
const VARIABLES: Readonly<Record<string, string>> = {
  NODE_OPTIONS: '--require FOLDER/inject.cjs --inspect=127.0.0.1:0',
  NODE_PATH: 'FOLDER',
  NODE_EXTRA_CA_CERTS: 'FOLDER/inject.cjs',
  NODE_V8_COVERAGE: 'FOLDER/coverage',
  LD_PRELOAD: 'FOLDER/inject.so',
  LD_LIBRARY_PATH: 'FOLDER',
  LD_AUDIT: 'FOLDER/inject.so',
  OPENSSL_CONF: 'FOLDER/openssl.cnf',
  KOFFI_PATH: 'FOLDER',
};

export const launchEnvironmentAttack: Attack = Object.freeze({
  name: 'launch-environment',
  group: 'process',
  by: 'app',
  control: 'the variables are set in the process that launches, and the measured components are compared',
  title: 'bring code into the machine by its environment',
  tries:
    'NODE_OPTIONS, NODE_PATH, LD_PRELOAD, LD_AUDIT, OPENSSL_CONF and others set when a machine is launched',
  run: async (stage: Stage) => {
    const folder = mkdtempSync(join(tmpdir(), 'nsgx-attack-'));
    const marker = join(folder, 'marker');
    const script = `require('node:fs').writeFileSync(${JSON.stringify(marker)}, String(process.pid));\n`;
    writeFileSync(join(folder, 'inject.cjs'), script);
    writeFileSync(join(folder, 'openssl.cnf'), 'openssl_conf = broken\n[broken]\nproviders = none\n');
    writeFileSync(join(folder, 'inject.so'), 'not a library');
    const before = { ...process.env };
    const broken: (string | false)[] = [];
    try {
      for (const [name, value] of Object.entries(VARIABLES))
        process.env[name] = value.replaceAll('FOLDER', folder);
      const launched = await launchCvm(launchOptions(stage.cast, stage.options));
      launched.control.close();
      await endProcess(launched.pid, launched.pidfd, 1000);
      const { cvm } = await stage.machine();
      const { components } = await cvm.info();
      const measured = JSON.stringify((launched.ready as { components?: unknown }).components);
      broken.push(
        measured !== JSON.stringify(components) && 'the machine measured something else than without them',
      );
    } finally {
      for (const name of Object.keys(VARIABLES)) {
        if (before[name] === undefined) delete process.env[name];
        else process.env[name] = before[name];
      }
      broken.push(existsSync(marker) && 'code of the attacker ran in the machine');
      broken.push(existsSync(join(folder, 'coverage')) && 'the machine wrote its coverage for the attacker');
      rmSync(folder, { recursive: true, force: true });
    }
    return [
      finding(
        'whoever sets the environment of the host',
        `${Object.keys(VARIABLES).length} variables set at launch: no code ran, and the machine measured the same components`,
        broken,
      ),
    ];
  },
});
