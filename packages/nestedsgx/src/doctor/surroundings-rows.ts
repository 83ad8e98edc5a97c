/** Rows about what stands around: tools, account, container, confidential hardware; and the launch test. */
import type { Probes } from './probes.js';
import { cureOf } from './processor-rows.js';
import { fatal, info, missing, ok, type Row } from './row.js';

export async function toolchainRow(probes: Probes): Promise<Row> {
  const cost = 'nsgx build and the build of the clone do not work; enclaves that are built run';
  let found: string;
  try {
    found = await probes.toolchain();
  } catch (error) {
    return missing('toolchain', (error as Error).message, cost, cureOf(error) ?? 'apt install gcc');
  }
  return probes.command('make')
    ? ok('toolchain', found)
    : missing(
        'toolchain',
        `${found}; no make`,
        'the native parts of the clone cannot be built',
        'apt install make',
      );
}

/** Linux guests under QEMU: nothing else needs what they need. */
export async function guestsRow(probes: Probes): Promise<Row> {
  const { found, missing: lacking } = await probes.guests();
  if (lacking.length === 0) return ok('guests', found);
  return missing(
    'guests',
    [...lacking.map(({ what }) => what), ...(found === '' ? [] : [`there is ${found}`])].join('; '),
    'nsgx vm boots no Linux guest; everything else works',
    lacking.map(({ cure }) => cure).join('; '),
  );
}

export function accountRow(probes: Probes): Row {
  return probes.uid === 0
    ? info('account', 'root: everything works, but attackers with your rights see everything; prefer a user')
    : info('account', `user ${probes.uid}`);
}

export function containerRow(probes: Probes): Row {
  if (probes.exists('/.dockerenv')) return info('container', 'Docker');
  if (probes.exists('/run/.containerenv')) return info('container', 'Podman');
  const kind = /(?:^|\0)container=([\w-]+)/.exec(probes.text('/proc/1/environ') ?? '')?.[1];
  return info('container', kind ?? 'none seen');
}

/** Real confidential hardware, where there is any. This release uses none of it. */
export function hardwareRow(probes: Probes): Row {
  const devices = [
    ['/dev/sgx_enclave', 'SGX'],
    ['/dev/sev-guest', 'SEV-SNP guest'],
    ['/dev/tdx_guest', 'TDX guest'],
    ['/sys/kernel/config/tsm/report', 'configfs-tsm'],
  ] as const;
  const found = devices.filter(([path]) => probes.exists(path)).map(([path, name]) => `${name} (${path})`);
  return info(
    'hardware',
    found.length === 0 ? 'no SGX, SEV-SNP or TDX device: none is needed' : found.join(', '),
  );
}

/** The launch test and, when it ran, the deployment it ran in. */
export async function launchRows(probes: Probes): Promise<Row[]> {
  let test: Awaited<ReturnType<Probes['launch']>>;
  try {
    test = await probes.launch();
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? ` [${String(error.code)}]` : '';
    const advice = cureOf(error);
    const cure = advice === undefined || advice.includes('nsgx doctor') ? 'see the rows above' : advice;
    return [fatal('launch', `${(error as Error).message}${code}`, cure)];
  }
  const times = `launched in ${Math.round(test.launchMs)} ms, sample loaded and called in ${Math.round(test.loadMs)} ms`;
  if (test.refused.length > 0)
    return [
      fatal('launch', `${times}, but its evidence was refused: ${test.refused.join(', ')}`, 'npm run build'),
    ];
  return [
    ok('launch', `${times}, attested and verified`),
    info(
      'isolation',
      test.isolation === 'same-user'
        ? 'same-user: not against whoever may debug your processes; see nsgx cvm start --service'
        : test.isolation,
    ),
  ];
}
