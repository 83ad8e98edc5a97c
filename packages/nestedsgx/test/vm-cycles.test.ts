/** Enclaves of a guest that come and go: nothing of them stays, in the machine or on this host. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { generateKey, loadSigningKey } from '@nestedsgx/image/node';
import { missingForGuests, Vm, victimProgram } from '@nestedsgx/vm';
import { microImage } from '../src/attacks/stage/micro.js';
import { guestImage } from '../src/attacks/vm/guest-image.js';
import { GuestVictim } from '../src/attacks/vm/guest-victim.js';

const lacking = missingForGuests();
const skip = lacking.length === 0 ? false : lacking.map(({ what }) => what).join('; ');
const soak = process.env.NSGX_SOAK === '1';
const CYCLES = soak ? 10_000 : 100;

/** Processes that some process started, itself included. */
function family(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'latin1');
      parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]));
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = [root];
  for (let i = 0; i < found.length; i++)
    for (const [pid, parent] of parents) if (parent === found[i]) found.push(pid);
  return found;
}

const descriptors = (pid: number) => readdirSync(`/proc/${pid}/fd`).length;
const resident = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))![1]) / 1024;

test(`${CYCLES} enclaves of a guest are made, used and destroyed, and leave nothing behind`, {
  skip,
  timeout: soak ? 900_000 : 90_000,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nsgx-vm-cycles-'));
  try {
    const image = join(folder, 'image');
    writeFileSync(image, guestImage(microImage(await loadSigningKey((await generateKey()).privateKeyPem))));
    await using vm = await Vm.start({
      accel: 'tcg',
      launch: { stateDir: null, epcBytes: 64 * 2 ** 20 },
      copies: [
        { from: victimProgram(), to: '/root/victim' },
        { from: image, to: '/root/image' },
      ],
    });
    const cvm = vm.cvm!.pid!;
    const command = vm.run(['/root/victim', '/root/image']);
    const victim = new GuestVictim(command);
    await victim.begin();
    assert.match(await victim.ask('cycles 14', 60_000), /^p50 /, 'warm');
    const before = { processes: family(cvm).length, files: descriptors(cvm), megabytes: resident(cvm) };
    assert.match(await victim.ask(`cycles ${CYCLES.toString(16)}`, 900_000), /^p50 /);
    const after = { processes: family(cvm).length, files: descriptors(cvm), megabytes: resident(cvm) };
    assert.ok(after.processes <= before.processes + 1, `${after.processes} processes`);
    assert.ok(after.files <= before.files + 8, `${after.files} descriptors instead of ${before.files}`);
    assert.ok(
      after.megabytes < before.megabytes + 64,
      `${after.megabytes} MiB instead of ${before.megabytes}`,
    );
    assert.equal((await vm.cvm!.ps()).length, 1, 'the enclave that is there now');
    victim.kill();
    await command.ended.catch(() => undefined);
    const all = [vm.pid, ...family(cvm)];
    await vm.close();
    for (let i = 0; i < 50 && all.some((pid) => alive(pid)); i++)
      await new Promise((done) => setTimeout(done, 100));
    assert.deepEqual(all.filter(alive), []);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

function alive(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
