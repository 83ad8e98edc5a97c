import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { reportLines } from '../src/cli/commands/doctor.js';
import { Terminal } from '../src/cli/terminal.js';
import type { Probes } from '../src/doctor/probes.js';
import { examine, type Report } from '../src/doctor/report.js';
import type { Row } from '../src/doctor/row.js';

const NSGX = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'bin', 'nsgx.mjs');

/** A machine that has everything. */
const GOOD: Probes = {
  platform: 'linux',
  arch: 'x64',
  nodeVersion: '22.18.0',
  uid: 1000,
  stateDir: '/home/ada/.local/state/nestedsgx',
  kernelRelease: () => '6.8.0-45-generic',
  hwcap2: () => 2,
  text: (path) =>
    ({
      '/proc/cpuinfo':
        'vendor_id\t: GenuineIntel\nmodel name\t: Example\nflags\t\t: fpu aes pclmulqdq xsave avx avx512f\n',
      '/proc/sys/kernel/seccomp/actions_avail': 'kill_process kill_thread trap errno allow\n',
      '/proc/sys/vm/memfd_noexec': '0\n',
      '/proc/sys/vm/max_map_count': '65530\n',
      '/sys/fs/cgroup/memory.max': 'max\n',
    })[path],
  exists: () => false,
  path: () => ({ uid: 1000, mode: 0o700, directory: true }),
  canMake: () => true,
  totalMemory: () => 16 * 2 ** 30,
  usableCpus: () => [0, 1, 2, 3],
  userfaultfd: () => ({ supported: true }),
  executableMemoryFile: () => undefined,
  pidfd: () => undefined,
  openFiles: () => ({ soft: 1024, hard: 524_288 }),
  runner: () => ({
    xcr0: 7n,
    xsaveBytes: 832,
    threadLookup: true,
    selector: 99,
    patchedEnclu: 0,
    notDumpableFromStart: true,
    userfault: true,
  }),
  toolchain: async () => 'gcc 14.2.0; GNU ld 2.43',
  command: () => true,
  guests: async () => ({ found: 'QEMU 9.2, kernel 6.12.1-cloud-amd64 with headers', missing: [] }),
  launch: async () => ({
    launchMs: 240.4,
    loadMs: 3.6,
    isolation: 'same-user',
    launchDigest: '00',
    refused: [],
  }),
};

const fails = (code: string, message: string, advice?: string) => (): never => {
  throw Object.assign(new Error(message), { code, advice });
};

function row(report: Report, id: string): Row {
  const found = report.rows.find((candidate) => candidate.id === id);
  assert.ok(found, `there is a row ${id}`);
  return found;
}

test('a machine that has everything lacks nothing', async () => {
  const report = await examine(GOOD);
  assert.equal(report.canRun, true);
  assert.deepEqual(
    report.rows.filter(({ status }) => status === 'missing'),
    [],
  );
  assert.match(row(report, 'launch').found, /launched in 240 ms.*attested and verified/);
  assert.match(row(report, 'isolation').found, /^same-user/);
});

const WITHOUT: readonly [id: string, change: Partial<Probes>, found: RegExp][] = [
  ['kernel', { kernelRelease: () => '6.1.0-30-amd64' }, /6\.1\.0/],
  ['kernel', { kernelRelease: () => '5.10.0-30-amd64' }, /5\.10\.0/],
  ['fsgsbase', { hwcap2: () => 0 }, /not enabled/],
  ['xsave', { text: () => 'flags : fpu sse2\n' }, /no XSAVE/],
  ['aes', { text: () => 'flags : xsave avx aes\n' }, /no pclmulqdq/],
  ['cpus', { usableCpus: () => [0] }, /1 usable/],
  ['memory', { totalMemory: () => 512 * 2 ** 20 }, /512 MiB/],
  ['memory', { text: (path) => (path.endsWith('memory.max') ? '268435456\n' : GOOD.text(path)) }, /cgroup/],
  ['userfaultfd', { userfaultfd: () => ({ supported: false, reason: 'userfaultfd: EPERM' }) }, /EPERM/],
  ['seccomp', { text: () => undefined }, /does not list/],
  ['memory-files', { executableMemoryFile: fails('EACCES', 'memfd_create: EACCES') }, /EACCES.*= 0/],
  ['pidfd', { pidfd: fails('ENOSYS', 'pidfd_open: ENOSYS', 'allow it') }, /ENOSYS/],
  ['max-map-count', { text: (path) => (path.endsWith('max_map_count') ? '4096' : GOOD.text(path)) }, /4096/],
  ['open-files', { openFiles: () => ({ soft: 256, hard: 256 }) }, /256/],
  [
    'runner',
    { runner: fails('RUNNER_REFUSED', 'The runner refuses to start: FSGSBASE is not enabled.') },
    /FSGSBASE/,
  ],
  ['enclu-patching', { runner: () => ({ ...GOOD.runner(), threadLookup: false }) }, /IA32/],
  [
    'runner-memory',
    { uid: 0, path: () => undefined, runner: () => ({ ...GOOD.runner(), notDumpableFromStart: false }) },
    /root/,
  ],
  ['state', { path: () => ({ uid: 1000, mode: 0o755, directory: true }) }, /0755/],
  ['state', { path: () => ({ uid: 0, mode: 0o700, directory: true }) }, /belongs to user 0/],
  ['state', { path: () => undefined, canMake: () => false }, /cannot be made/],
  ['state', { path: () => ({ uid: 1000, mode: 0o600, directory: false }) }, /no directory/],
  ['toolchain', { toolchain: fails('TOOLCHAIN_MISSING', 'there is no gcc', 'apt install gcc') }, /no gcc/],
  [
    'guests',
    {
      guests: async () => ({
        found: '',
        missing: [{ what: 'no QEMU', cure: 'apt install qemu-system-x86' }],
      }),
    },
    /^no QEMU$/,
  ],
  ['toolchain', { command: (name) => name !== 'make' }, /no make/],
  ['launch', { launch: fails('CVM_LAUNCH_FAILED', 'did not start', 'look') }, /\[CVM_LAUNCH_FAILED\]/],
  ['launch', { launch: async () => ({ ...(await GOOD.launch()), refused: ['snp.chain'] }) }, /snp\.chain/],
];

for (const [id, change, found] of WITHOUT) {
  test(`missing: ${id} (${found.source})`, async () => {
    const report = await examine({ ...GOOD, ...change });
    const gap = row(report, id);
    assert.equal(gap.status, 'missing');
    assert.match(gap.found, found);
    assert.ok(gap.cost && gap.cure, 'cost and cure are named');
    // What decides is whether a machine launches and may keep its keys.
    assert.equal(report.canRun, id !== 'launch' && id !== 'state');
    const lines = reportLines(new Terminal({}), report).join('\n');
    assert.ok(lines.includes(`costs: ${gap.cost}`) && lines.includes(`cure:  ${gap.cure}`));
    assert.match(lines, report.canRun ? /enclaves run here, with \d+ of the above/ : /enclaves cannot run/);
  });
}

test('off x86-64 Linux only platform and Node are examined', async () => {
  const report = await examine({ ...GOOD, platform: 'darwin', arch: 'arm64' });
  assert.equal(report.canRun, false);
  assert.deepEqual(
    report.rows.map(({ id }) => id),
    ['platform', 'node'],
  );
  assert.match(row(report, 'platform').cure ?? '', /verify work here/);
});

test('an old Node cannot run enclaves', async () => {
  const report = await examine({ ...GOOD, nodeVersion: '18.20.4' });
  assert.equal(report.canRun, false);
  assert.equal((await examine({ ...GOOD, nodeVersion: '20.19.0' })).canRun, true);
});

test('a probe that throws is a row that says so, and the rest is examined', async () => {
  const report = await examine({ ...GOOD, openFiles: fails('EPERM', 'prlimit: EPERM') });
  assert.match(row(report, 'open-files').found, /cannot be found out: prlimit: EPERM/);
  assert.equal(row(report, 'launch').status, 'ok');
});

test('devices of confidential hardware and containers are told', async () => {
  const there = new Set(['/dev/sgx_enclave', '/run/.containerenv']);
  const report = await examine({ ...GOOD, exists: (path) => there.has(path) });
  assert.match(row(report, 'hardware').found, /SGX \(\/dev\/sgx_enclave\)/);
  assert.equal(row(report, 'container').found, 'Podman');
});

test('nsgx doctor --json on this machine is one document and agrees with its exit code', () => {
  const { status, stdout } = spawnSync(process.execPath, [NSGX, 'doctor', '--json'], { encoding: 'utf8' });
  const report = JSON.parse(stdout) as Report;
  assert.equal(status, report.canRun ? 0 : 1);
  assert.equal(report.canRun, true, JSON.stringify(report.rows.filter((found) => found.needed)));
  for (const id of ['platform', 'kernel', 'cpus', 'userfaultfd', 'runner', 'state', 'launch', 'isolation'])
    assert.ok(report.rows.some((found) => found.id === id));
});
