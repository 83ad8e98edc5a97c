import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { before, describe, test } from 'node:test';
import { parseAttestationReport } from '@nestedsgx/arch';
import { HardwarePsp, MachineError, type MachineErrorCode } from '../src/index.js';
import { SevGuestDevice } from '../src/psp/hardware/sev-guest-device.js';
import { TsmReports } from '../src/psp/hardware/tsm-reports.js';
import { FakeConfigfs, FakeDevice, type MakeReport, softwareReports } from './fake-hardware.js';

const patience = { attempts: 4, firstPauseMs: 1 };
const DATA = Uint8Array.from({ length: 64 }, (_, i) => i);
const recorded = (name: string) =>
  new Uint8Array(readFileSync(new URL(`../../../arch/vectors/snp/${name}`, import.meta.url)));
const refuses = (work: () => unknown, code: MachineErrorCode, pattern = /./) =>
  assert.throws(work, (e) => e instanceof MachineError && e.code === code && pattern.test(e.message));

let make: MakeReport;
before(async () => {
  make = await softwareReports();
});

describe('reports through configfs-tsm', () => {
  const tsm = (files: FakeConfigfs) => new TsmReports({ files, patience });

  test('a report carries what was asked for, with the host’s certificates, and leaves nothing behind', () => {
    const files = new FakeConfigfs(make);
    files.auxblob = Uint8Array.of(1, 2, 3);
    const { report, certificateTable } = tsm(files).report(DATA);
    const fields = parseAttestationReport(report);
    assert.deepEqual(fields.REPORT_DATA, DATA);
    assert.equal(fields.VMPL, 0);
    assert.deepEqual(certificateTable, files.auxblob);
    assert.deepEqual(files.log, ['inblob', 'rmdir']);
    assert.equal(files.entries.size, 0);
    // Fewer bytes are padded; without auxblob there are no certificates.
    files.auxblob = null;
    const short = tsm(files).report(Uint8Array.of(9));
    assert.equal(parseAttestationReport(short.report).REPORT_DATA[0], 9);
    assert.equal(short.certificateTable.length, 0);
  });

  test('recorded reports of hardware pass as they are', () => {
    for (const name of ['milan-v2-trustee.bin', 'milan-v3-vlek-trustee.bin', 'genoa-v3-veraison.bin']) {
      const report = recorded(name);
      const { REPORT_DATA } = parseAttestationReport(report);
      assert.deepEqual(tsm(new FakeConfigfs(() => report)).report(REPORT_DATA).report, report);
      // Padding behind a report, as some kernels give it, is cut off.
      const longer = new Uint8Array(4000);
      longer.set(report);
      assert.deepEqual(tsm(new FakeConfigfs(() => longer)).report(REPORT_DATA).report, report);
    }
  });

  test('a VMPL is asked for through privlevel, not above the floor', () => {
    const files = new FakeConfigfs(make);
    assert.equal(parseAttestationReport(tsm(files).report(DATA, 2).report).VMPL, 2);
    assert.deepEqual(files.log, ['privlevel', 'inblob', 'rmdir']);
    files.floor = 2;
    refuses(() => tsm(files).report(DATA, 1), 'HARDWARE_PSP_REFUSED', /VMPL 1 .* 2 to 3/);
    refuses(() => tsm(files).report(DATA, 4), 'HARDWARE_PSP_REFUSED');
    // Without being asked, it is the guest's own.
    assert.equal(parseAttestationReport(tsm(files).report(DATA).report).VMPL, 2);
  });

  test('what passes is waited for, with an end', () => {
    for (const [attribute, code] of [
      ['mkdir', 'EBUSY'],
      ['outblob', 'EBUSY'],
      ['inblob', 'EAGAIN'],
      ['outblob', 'EINTR'],
    ] as const) {
      const files = new FakeConfigfs(make);
      files.failures.set(attribute, [code, code, code]);
      assert.equal(tsm(files).report(DATA).report.length, 1184);
      assert.equal(files.entries.size, 0);
      files.failures.set(attribute, [code, code, code, code]);
      refuses(
        () => tsm(files).report(DATA),
        'HARDWARE_PSP_BUSY',
        new RegExp(`4 attempts: ${attribute === 'mkdir' ? 'the report directory' : attribute}: ${code}`),
      );
      assert.equal(files.entries.size, 0);
    }
  });

  test('a request that another process changes is not taken for this one', () => {
    const files = new FakeConfigfs(make);
    let times = 2;
    files.meanwhile = (entry) => {
      if (times-- > 0) entry.generation++;
    };
    assert.deepEqual(parseAttestationReport(tsm(files).report(DATA).report).REPORT_DATA, DATA);
    files.meanwhile = (entry) => {
      entry.generation++;
    };
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_BUSY', /generation 0 to 2/);
    // Changed so that no generation tells.
    files.meanwhile = (entry) => {
      entry.inblob = new Uint8Array(64);
    };
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_REPORT', /other report data/);
  });

  test('other platforms, refusals and nonsense are typed errors', () => {
    const files = new FakeConfigfs(make);
    files.provider = 'tdx_guest';
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_ABSENT', /'tdx_guest'/);
    files.provider = 'sev_guest';
    files.failures.set('mkdir', ['EACCES', 'ENOENT']);
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_REFUSED');
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_ABSENT');
    files.failures.set('outblob', ['ENXIO', 'EIO', 'EFBIG']);
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_ABSENT');
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_REFUSED', /outblob: EIO/);
    refuses(() => tsm(files).report(DATA), 'HARDWARE_PSP_REFUSED', /outblob: EFBIG/);
    refuses(() => tsm(files).report(new Uint8Array(65)), 'HARDWARE_PSP_REFUSED', /65/);
    const report = recorded('milan-v2-trustee.bin');
    const broken = report.slice();
    broken[0x4c] = 1;
    for (const bytes of [
      new Uint8Array(0),
      report.subarray(1),
      new Uint8Array(1184),
      broken,
      new Uint8Array(1185).fill(1),
    ])
      refuses(() => tsm(new FakeConfigfs(() => bytes)).report(DATA), 'HARDWARE_PSP_REPORT');
    refuses(
      () => tsm(new FakeConfigfs(() => report)).report(DATA),
      'HARDWARE_PSP_REPORT',
      /other report data/,
    );
    assert.equal(files.entries.size, 0);
  });
});

describe('reports and keys through /dev/sev-guest', () => {
  const device = (calls: FakeDevice) => new SevGuestDevice({ calls, patience });

  test('reports come with the certificates that the host has', () => {
    const calls = new FakeDevice(make);
    assert.equal(device(calls).report(DATA).certificateTable.length, 0);
    calls.certificates = new Uint8Array(5000).fill(7);
    const { report, certificateTable } = device(calls).report(DATA, 1);
    const fields = parseAttestationReport(report);
    assert.deepEqual([fields.VMPL, fields.REPORT_DATA], [1, DATA]);
    assert.equal(certificateTable.length, 8192);
    assert.deepEqual(certificateTable.subarray(0, 5000), calls.certificates);
    assert.equal(calls.requests, 3);
    assert.equal(calls.open_, 0);
  });

  test('a busy host is waited for, refusals are told with their codes', () => {
    const calls = new FakeDevice(make);
    calls.hostErrors.push(2, 2);
    assert.equal(device(calls).report(DATA).report.length, 1184);
    calls.hostErrors.push(2, 2, 2, 2);
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_BUSY');
    calls.hostErrors.push(9);
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_REFUSED', /host error 9/);
    calls.firmwareError = 0x16;
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_REFUSED', /firmware error 0x16/);
    calls.firmwareError = 0;
    calls.status = 0x16;
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_REFUSED', /status 0x16/);
    calls.status = 0;
    calls.certificates = new Uint8Array(0x5000);
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_REFUSED', /20480 bytes for certificates/);
    calls.hostErrors.push(1);
    calls.certificates = new Uint8Array(0);
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_REFUSED', /0 bytes for certificates/);
    calls.present = false;
    refuses(() => device(calls).report(DATA), 'HARDWARE_PSP_ABSENT');
    assert.equal(calls.open_, 0);
  });

  test('derived keys', () => {
    const calls = new FakeDevice(make);
    assert.deepEqual(device(calls).deriveKey(), new Uint8Array(32).fill(9));
    assert.deepEqual(
      device(calls).deriveKey({ root: 'vmrk', fields: ['GUEST_SVN'] }),
      new Uint8Array(32).fill(0x50),
    );
    calls.status = 0x27;
    refuses(() => device(calls).deriveKey(), 'HARDWARE_PSP_REFUSED', /status 0x27/);
  });
});

test('the interface is chosen by what is there', () => {
  const files = new FakeConfigfs(make);
  const calls = new FakeDevice(make);
  const options = { tsm: { files, patience }, device: { calls, patience } };
  assert.equal(HardwarePsp.open(options).interface, 'configfs-tsm');
  const preferred = HardwarePsp.open({ ...options, prefer: 'sev-guest' });
  assert.equal(preferred.interface, 'sev-guest');
  assert.equal(preferred.report(DATA).length, 1184);
  assert.equal(HardwarePsp.open(options).deriveKey().length, 32);
  const absent = { directory: `${tmpdir()}/nsgx-no-such-directory` };
  assert.equal(HardwarePsp.open({ ...options, tsm: absent }).interface, 'sev-guest');
  calls.present = false;
  refuses(() => HardwarePsp.open({ ...options, tsm: absent }), 'HARDWARE_PSP_ABSENT');
  refuses(() => HardwarePsp.open({ ...options, prefer: 'sev-guest' }), 'HARDWARE_PSP_ABSENT', /no sev-guest/);
});

test('a directory that is no configfs is refused with the real calls', () => {
  const psp = new TsmReports({ directory: tmpdir(), patience });
  assert.ok(psp.available);
  refuses(() => psp.report(DATA), 'HARDWARE_PSP_ABSENT', /provider: ENOENT/);
  const nodevice = new SevGuestDevice({ path: '/dev/null', patience });
  refuses(() => nodevice.report(DATA), 'HARDWARE_PSP_REFUSED', /firmware error 0x0, host error 0/);
});
