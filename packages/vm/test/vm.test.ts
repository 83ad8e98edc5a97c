/** A real kernel under QEMU. Skipped, with the reason, where what that takes is not installed. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { VM_INFO, VM_INFO_MAGIC } from '@nestedsgx/cpu/host';
import { futexWake } from '@nestedsgx/os';
import { buildModule, fetchFiles, guestKernels, Vm, WINDOW } from '../src/index.js';
import { RELAY_AT, RELAY_PAGE } from '../src/info-page.js';
import { type ModuleSources, PACKAGE } from '../src/module-build.js';
import { code, noGuests, scratch } from './support.js';

const skip = noGuests();
const LIMIT = 60_000;
const RELAY_GPA = WINDOW.gpa + RELAY_AT;
/** Emulation everywhere, so that results do not hang on the machine. */
const PLAIN = { accel: 'tcg', machine: false, module: false, startMs: 45_000 } as const;

/** Compiles a program for guests; its path. */
function compile(folder: string, name: string): string {
  const path = join(folder, name);
  const source = join(PACKAGE, 'test/guest', `${name}.c`);
  const { status, stderr } = spawnSync('gcc', ['-O2', '-o', path, source], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return path;
}

describe('a guest', { skip, timeout: LIMIT * 2 }, () => {
  let vm: Vm;
  const folder = scratch();
  before(
    async () => {
      const tree = join(folder.path, 'brought');
      mkdirSync(join(tree, 'sub'), { recursive: true });
      writeFileSync(join(tree, 'sub/text'), 'from the host\n');
      const kick = compile(folder.path, 'kick');
      vm = await Vm.start({
        ...PLAIN,
        copies: [
          { from: kick, to: '/root/kick' },
          { from: tree, to: '/opt/brought' },
          { from: process.execPath, to: '/usr/bin/node' },
        ],
        memoryBytes: 768 * 2 ** 20,
      });
    },
    { timeout: LIMIT },
  );
  after(async () => {
    await vm?.close();
    folder[Symbol.dispose]();
  });
  const sh = async (script: string) => {
    const { stdout, stderr, code: status } = await vm.capture(['sh', '-c', script]);
    assert.equal(status, 0, `${script}: ${stderr}`);
    return stdout.toString();
  };

  test('runs the kernel that it says, and was ready in time', async () => {
    assert.equal((await sh('uname -r')).trim(), vm.kernel.version);
    assert.ok(vm.times.uptime < 20_000, `${vm.times.uptime} ms`);
  });

  test('gives exit codes, signals and both streams apart', async () => {
    const end = await vm.capture(['sh', '-c', 'echo out; echo err >&2; exit 7']);
    assert.deepEqual([end.code, end.signal, `${end.stdout}`, `${end.stderr}`], [7, null, 'out\n', 'err\n']);
    const killed = await vm.capture(['sh', '-c', 'kill -9 $$']);
    assert.deepEqual([killed.code, killed.signal], [null, 9]);
    await assert.rejects(vm.capture(['/no/such/program']), code('VM_COMMAND'));
    await assert.rejects(vm.capture(['true'], { cwd: '/no/such/folder' }), code('VM_COMMAND'));
  });

  test('passes input on at the pace of who reads it', async () => {
    const input = Buffer.alloc(3_000_000, 'nestedsgx ');
    const { stdout } = await vm.capture(['cat'], { input });
    assert.ok(stdout.equals(input));
    assert.equal((await vm.capture(['true'], { input })).code, 0);
    await assert.rejects(vm.capture(['cat', '/dev/zero'], { limit: 100_000 }), code('VM_COMMAND'));
  });

  test('runs commands side by side, and kills them', async () => {
    const sleeper = vm.run(['sleep', '1000']);
    const texts = await Promise.all([1, 2, 3].map((n) => sh(`echo ${n}`)));
    assert.deepEqual(texts, ['1\n', '2\n', '3\n']);
    sleeper.kill(15);
    assert.deepEqual(await sleeper.ended, { code: null, signal: 15 });
  });

  test('gives a command a terminal', async () => {
    const command = vm.run(['sh', '-c', 'tty; stty size; read line; echo "got $line"'], {
      terminal: { rows: 33, columns: 99 },
    });
    let text = '';
    command.stdout.on('data', (chunk) => {
      text += chunk;
    });
    command.stdin.write('typed\n');
    assert.equal((await command.ended).code, 0);
    assert.match(text, /\/dev\/pts\/\d+\r\n33 99\r\n[\s\S]*got typed\r\n/);
  });

  test('has the files that were brought, and gives files back', async () => {
    assert.equal(await sh('cat /opt/brought/sub/text'), 'from the host\n');
    assert.equal((await sh('node --version')).trim(), process.version);
    await sh(
      'mkdir -p /root/result/deep; printf abc > /root/result/deep/file; ln -s /etc/passwd /root/result/link',
    );
    const to = join(folder.path, 'result');
    assert.equal(await fetchFiles(vm, 'result', to), 1);
    assert.equal(readFileSync(join(to, 'deep/file'), 'utf8'), 'abc');
    assert.ok(!existsSync(join(to, 'link')));
    await assert.rejects(fetchFiles(vm, '/no/such', to), code('VM_FILE'));
  });

  test('keeps its kernel out of the window, and shares it both ways', async () => {
    const start = WINDOW.gpa.toString(16).padStart(8, '0');
    assert.match(await sh('cat /proc/iomem'), new RegExp(`^${start}-0bffffff : Reserved$`, 'm'));
    const at = WINDOW.gpa + WINDOW.bytes - 4096;
    const memory = Buffer.from(vm.memory(at, 8).buffer, vm.memory(at, 8).byteOffset, 8);
    memory.writeUInt32LE(0x6e736778, 0);
    assert.equal((await sh(`devmem 0x${at.toString(16)} 32`)).trim(), '0x6E736778');
    await sh(`devmem 0x${(at + 4).toString(16)} 32 0x12345678`);
    assert.equal(memory.readUInt32LE(4), 0x12345678);
  });

  test('kicks, and is interrupted', async () => {
    const before_ = vm.relay;
    await sh(`/root/kick ${RELAY_GPA} 9999`);
    for (let n = 0; n < 100 && vm.relay.wakes === before_.wakes; n++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    const now = vm.relay;
    assert.deepEqual([now.kicks - before_.kicks, now.wakes - before_.wakes], [1, 1]);
    const reader = vm.run(['sh', '-c', 'stty -F /dev/ttyS0 raw; echo ready; head -c 1 /dev/ttyS0']);
    let text = '';
    reader.stdout.on('data', (chunk) => {
      text += chunk;
    });
    while (!text.includes('ready')) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 300));
    const page = Buffer.from(vm.memory(RELAY_GPA, 4096).buffer, vm.memory(RELAY_GPA, 4096).byteOffset, 4096);
    page.writeUInt32LE(page.readUInt32LE(RELAY_PAGE.irq) + 1, RELAY_PAGE.irq);
    futexWake(vm.ramAddress + RELAY_GPA + RELAY_PAGE.irq);
    assert.equal((await reader.ended).code, 0);
    assert.equal(text, 'ready\n!');
  });

  test('costs nothing while it is idle', async () => {
    const ticks = () => {
      const fields = readFileSync(`/proc/${vm.pid}/stat`, 'latin1')
        .replace(/^.*\) /, '')
        .split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    const first = ticks();
    await new Promise((resolve) => setTimeout(resolve, 1000));
    assert.ok(ticks() - first < 25, `${ticks() - first} ticks of 10 ms in a second`);
  });
});

/** Descriptors, mappings and children of this process that guests have. */
function traces(): { fds: number; maps: number } {
  const maps = readFileSync('/proc/self/maps', 'latin1')
    .split('\n')
    .filter((line) => line.includes('nsgx-guest'));
  return { fds: readdirSync('/proc/self/fd').length, maps: maps.length };
}

test('a guest that crashes leaves nothing behind', { skip, timeout: LIMIT }, async () => {
  await (await Vm.start(PLAIN)).close(); // what is loaded once is loaded now
  const before_ = traces();
  const files = readdirSync('/dev/shm').length;
  await using vm = await Vm.start(PLAIN);
  const waiting = vm.run(['sleep', '1000']);
  vm.run(['sh', '-c', 'echo c > /proc/sysrq-trigger']);
  await vm.exit;
  await assert.rejects(waiting.ended, code('VM_GUEST_ENDED'));
  await assert.rejects(vm.capture(['true']), code('VM_GUEST_ENDED'));
  assert.match(vm.consoleText, /sysrq triggered crash/i);
  await vm.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(!existsSync(`/proc/${vm.pid}`));
  assert.deepEqual(traces(), before_);
  assert.equal(readdirSync('/dev/shm').length, files);
});

test('a guest ends with the process that started it', { skip, timeout: LIMIT }, async () => {
  const source = `import { Vm } from ${JSON.stringify(new URL('../src/index.js', import.meta.url).href)};
    const vm = await Vm.start(${JSON.stringify(PLAIN)});
    console.log(vm.pid);
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const pid = await new Promise<string>((resolve) =>
    child.stdout.once('data', (data) => resolve(String(data).trim())),
  );
  assert.match(readFileSync(`/proc/${pid}/comm`, 'latin1'), /^qemu/);
  child.kill('SIGKILL');
  const ended = () => {
    const stat = existsSync(`/proc/${pid}`) ? readFileSync(`/proc/${pid}/stat`, 'latin1') : ') X ';
    return /\) [ZX] /.test(stat);
  };
  for (let n = 0; n < 500 && !ended(); n++) await new Promise((resolve) => setTimeout(resolve, 10));
  assert.ok(ended());
});

test('a kernel that does not come up is told with its last words', { skip, timeout: LIMIT }, async () => {
  await assert.rejects(
    Vm.start({ ...PLAIN, append: ['rdinit=/no/such', 'init=/no/such'] }),
    code('VM_START_FAILED'),
  );
  await assert.rejects(Vm.start({ ...PLAIN, kernel: '0.0-none' }), code('VM_KERNEL_MISSING'));
  await assert.rejects(Vm.start({ ...PLAIN, copies: [{ from: '/no/such', to: '/x' }] }), code('VM_FILE'));
});

/** Sources of a module named like ours that does `body` when it is loaded. */
function moduleOf(folder: string, body: string): ModuleSources {
  const sources = join(folder, 'sources');
  mkdirSync(sources, { recursive: true });
  writeFileSync(join(sources, 'Kbuild'), 'obj-m := nsgx.o\nnsgx-y := start.o\n');
  writeFileSync(
    join(sources, 'start.c'),
    `#include <linux/module.h>
    static int __init start(void) { ${body} }
    static void __exit stop(void) {}
    module_init(start);
    module_exit(stop);
    MODULE_LICENSE("GPL");\n`,
  );
  return { name: 'nsgx', folder: sources, layout: join(folder, 'no-layout.h') };
}

test('a module is built once for equal sources, and its refusal is told', {
  skip,
  timeout: LIMIT,
}, async () => {
  using folder = scratch();
  const [kernel] = guestKernels();
  const said: string[] = [];
  const state = join(folder.path, 'state');
  const cache = join(state, 'vm');
  const build = (body: string) =>
    buildModule(kernel!, cache, (text) => said.push(text), moduleOf(folder.path, body));
  const path = await build('pr_info("nsgx: refuses\\n"); return -ENODEV;');
  assert.equal(await build('pr_info("nsgx: refuses\\n"); return -ENODEV;'), path);
  assert.equal(said.length, 1);
  await assert.rejects(
    Vm.start({ ...PLAIN, module: true, modulePath: path }),
    (error) => code('VM_MODULE_REFUSED')(error) && /nsgx\.ko: No such device/.test(String(error)),
  );
  await assert.rejects(
    build('return no_such_function();'),
    (error) =>
      code('VM_MODULE_BUILD')(error) && /no_such_function/.test((error as { output?: string }).output ?? ''),
  );
  assert.deepEqual(
    readdirSync(join(cache, 'modules')).filter((name) => !path.includes(name)),
    [],
    'no half-built copy is left',
  );
  assert.equal(statSync(state).mode & 0o777, 0o700, 'the state directory is made for its owner alone');
});

test('a guest has a machine behind it, and knows where to find it', { skip, timeout: LIMIT }, async () => {
  using folder = scratch();
  const svsm = compile(folder.path, 'svsm');
  await using vm = await Vm.start({
    ...PLAIN,
    machine: true,
    module: true,
    launch: { stateDir: null, epcBytes: 64 * 2 ** 20 },
    copies: [
      { from: svsm, to: '/root/svsm' },
      { from: compile(folder.path, 'cpuid'), to: '/root/cpuid' },
    ],
  });
  // Programs see a processor with SGX; the same bytes elsewhere in their code are left alone.
  const processor = await vm.capture(['/root/cpuid']);
  const epc = ['1:80:4000001:0', '0:0:0:0'];
  const leaves = ['803:1:0:241f', '4b6:0:7:0', ...epc].join(' ');
  const rest = `top 1 sgx 1 ${leaves} fa2b1b1 fa2\n`;
  assert.equal(processor.stdout.toString(), `parent ${rest}child ${rest}`);
  assert.equal((await vm.capture(['rmmod', 'nsgx'])).code, 0);
  const gone = vm.exit.then(() => vm.cvm?.pid);
  const word = async (offset: number) =>
    Number((await vm.capture(['devmem', `0x${(WINDOW.gpa + offset).toString(16)}`, '32'])).stdout.toString());
  assert.equal(await word(VM_INFO.at.signature), Number(VM_INFO_MAGIC & 0xffff_ffffn));
  assert.equal(await word(VM_INFO.at.vcpus), 16);
  assert.equal(await word(VM_INFO.at.relayGpa), RELAY_GPA);
  assert.equal(await word(VM_INFO.at.epcPages), (64 * 2 ** 20) / 4096);
  assert.match((await vm.cvm!.info()).launchDigest, /^[0-9a-f]{96}$/);
  // Root in the guest reaches the monitor without any module, and gets its answers.
  const asked = await vm.capture(['/root/svsm', '20']);
  assert.match(asked.stdout.toString(), /^result 0x0 versions 0x100000001 /);
  const callingArea = vm.memory(WINDOW.gpa + 0x1_1000, 4096);
  callingArea[192] = 1; // the guest sleeps
  const { interrupts } = vm.relay;
  assert.equal((await vm.capture(['/root/svsm', '5'])).code, 0);
  assert.ok(vm.relay.interrupts > interrupts);
  process.kill(vm.cvm!.pid!, 'SIGKILL');
  await assert.rejects(
    vm.capture(['sleep', '1000']),
    (error) => code('VM_GUEST_ENDED')(error) && /confidential VM/.test(String(error)),
  );
  assert.ok(!existsSync(`/proc/${await gone}`), 'no process of the machine is left');
});
