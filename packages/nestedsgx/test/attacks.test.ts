/** The suite itself: planted weaknesses must show, names must be right, nothing may be left behind. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { ENCLS, SGX_CALL, SVSM_CORE } from '@nestedsgx/arch';
import { Adversary } from '../src/attacks/adversary/process.js';
import { childrenOf } from '../src/attacks/adversary/process-acts.js';
import { type Attack, finding } from '../src/attacks/attack.js';
import { NO_ADDRESS, operandTable, Surroundings } from '../src/attacks/deputy/operands.js';
import {
  ATTACK_GROUPS,
  attacksNamed,
  attackTable,
  castFor,
  longAttacks,
  runAttacks,
  tourAttacks,
} from '../src/attacks/index.js';
import { inspectorSigns } from '../src/attacks/process/inspector.js';
import { probeProcess } from '../src/attacks/process/process-memory.js';
import { asKernel } from '../src/attacks/stage/kernel.js';
import { microImage } from '../src/attacks/stage/micro.js';
import { Stage } from '../src/attacks/stage/stage.js';
import { leaks } from '../src/attacks/stage/vault.js';
import { carryOut } from '../src/attacks/suite.js';

/** A process that keeps a secret at an address it tells, and protects nothing. */
const CARELESS = `
import { mmap } from '@nestedsgx/os';
const memory = mmap({ length: 4096, prot: 'rw' });
memory.bytes.set(Buffer.from(process.env.SECRET, 'hex'));
if (process.getuid() === 0) (await import('@nestedsgx/os')).becomeUser(+process.env.ID, +process.env.ID);
(await import('@nestedsgx/os')).setDumpable(true);
console.log(memory.address);
setInterval(() => {}, 1000);
`;

/** Starts the careless process as the machine's own user and gives its pid and the address of its secret. */
async function careless(secret: Uint8Array, uid: number) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', CARELESS], {
    cwd: import.meta.dirname,
    env: { SECRET: Buffer.from(secret).toString('hex'), ID: String(uid) },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return { child, pid: child.pid!, address: Number(String(line).trim()) };
}

describe('the adversary suite against planted weaknesses', () => {
  const { own } = castFor();
  const secret = Uint8Array.from({ length: 64 }, (_, i) => (i * 37 + 11) & 0xff);

  it('shows a process whose memory can be read as broken', async () => {
    const { child, pid, address } = await careless(secret, own.uid);
    const adversary = await Adversary.start(own, null);
    try {
      const found = await probeProcess(adversary, pid, address, secret, 'a careless process');
      assert.equal(found.held, false);
      assert.match(found.observed, /process_vm_readv gave the secret/);
      assert.match(found.observed, /\/proc\/PID\/mem gave the secret/);
    } finally {
      child.kill('SIGKILL');
      await adversary.end();
    }
  });

  it('shows a debugger that SIGUSR1 opens', async () => {
    const adversary = await Adversary.start(own, null);
    const before = (await adversary.act('listeners', undefined)).map(({ port }) => port);
    // A process of Node's that did not take precautions; started as the machine's own user.
    const ids = process.getuid?.() === 0 ? { uid: own.uid, gid: own.gid } : {};
    const child = spawn(process.execPath, ['-e', 'console.log(1); setInterval(() => {}, 1000)'], {
      ...ids,
      cwd: '/',
      env: {},
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    try {
      await once(child.stdout, 'data');
      await adversary.act('forge', {
        pid: child.pid!,
        forgeries: [{ signal: 10, how: 'kill' }],
        times: 1,
        gapMs: 0,
      });
      let signs: string[] = [];
      for (let i = 0; i < 40 && signs.length === 0; i++) {
        await new Promise<void>((resolve) => setTimeout(resolve, 25));
        signs = await inspectorSigns(adversary, before, own.uid);
      }
      assert.ok(
        signs.some((sign) => sign.includes('answers as an inspector')),
        signs.join('; '),
      );
    } finally {
      child.kill('SIGKILL');
      await adversary.end();
    }
  });

  it('shows a secret that lies in guest RAM, and an enclave that was harmed', async () => {
    const stage = await Stage.open();
    try {
      const vault = await stage.vault();
      const { connection } = await stage.host();
      const block = connection.memory.alloc(64);
      block.bytes.set(vault.secret);
      const [leak] = await carryOut(attackTable[0]!, stage);
      assert.equal(leak!.held, false);
      assert.match(leak!.observed, /the secret lies in guest RAM/);
      connection.memory.free(block);
      const vandal: Attack = {
        name: 'vandal',
        group: 'memory',
        by: 'guest OS',
        control: '',
        title: 'changes the secret',
        tries: 'nothing that is judged here',
        run: async () => {
          vault.calls.write_word!(BigInt(vault.address), 1n);
          return [finding('the host itself', 'nothing seen', [])];
        },
      };
      const [harm] = await carryOut(vandal, stage);
      assert.equal(harm!.held, false);
      assert.match(harm!.observed, /the secret of an enclave was changed/);
    } finally {
      await stage.close();
    }
  });

  it('shows an attack that could not be carried out as broken', async () => {
    const stage = await Stage.open();
    try {
      const failing: Attack = {
        name: 'failing',
        group: 'memory',
        by: 'guest OS',
        control: '',
        title: '',
        tries: '',
        run: () => Promise.reject(new Error('no such thing')),
      };
      const [result] = await carryOut(failing, stage);
      assert.equal(result!.held, false);
      assert.match(result!.observed, /could not be carried out: no such thing/);
    } finally {
      await stage.close();
    }
  });
});

describe('the table', () => {
  it('has unique names and says what is tried', () => {
    assert.equal(new Set(attackTable.map(({ name }) => name)).size, attackTable.length);
    assert.ok(attackTable.length >= 50);
    const names = new Set(attackTable.map(({ name }) => name));
    for (const name of [...tourAttacks, ...longAttacks]) assert.ok(names.has(name), name);
    for (const group of ATTACK_GROUPS)
      assert.ok(
        attackTable.some((attack) => attack.group === group),
        group,
      );
    assert.ok(Object.isFrozen(attackTable) && attackTable.every((attack) => Object.isFrozen(attack)));
    for (const { name, title, tries, control } of attackTable) {
      assert.match(name, /^[a-z0-9]+(-[a-z0-9]+)+$/);
      assert.ok(title.length > 5 && tries.length > 20 && control.length > 20, name);
    }
    assert.throws(() => attacksNamed(['no-such']), { code: 'ATTACK_UNKNOWN' });
  });

  it('judges leaks by sixteen bytes of the secret in a row', () => {
    const secret = Uint8Array.from({ length: 64 }, (_, i) => i);
    assert.equal(leaks(secret, secret.subarray(8, 24)), true);
    assert.equal(leaks(secret, secret.subarray(8, 20)), false);
  });

  it('gives a cast without privileges, whoever asks', () => {
    const root = castFor(0, 0);
    assert.equal(root.isolation, 'separate-user');
    assert.notEqual(root.guest.uid, root.cvm?.uid);
    assert.deepEqual(root.processes.map(({ uid }) => uid).sort(), [root.own.uid, root.guest.uid].sort());
    const user = castFor(1234, 1234);
    assert.deepEqual([user.isolation, user.cvm, user.guest.uid], ['same-user', null, 1234]);
  });
});

describe('the suite', () => {
  // NSGX_SOAK=1 adds the longest races and floods.
  const all = process.env.NSGX_SOAK === '1';
  const names = attackTable.map(({ name }) => name).filter((name) => all || !longAttacks.includes(name));

  it('holds against its attacks and leaves no process behind', { timeout: 180_000 }, async () => {
    const before = new Set(childrenOf(process.pid));
    const results = await runAttacks(names, { seed: Number(process.env.NSGX_SEED ?? 1) });
    const broken = results.filter(({ held }) => !held);
    assert.deepEqual(broken, []);
    assert.deepEqual(new Set(results.map(({ name }) => name)), new Set(names));
    assert.deepEqual(
      childrenOf(process.pid).filter((pid) => !before.has(pid)),
      [],
    );
  });
});

describe('the table of operands', () => {
  it('names every leaf of ENCLS and every call, or says that it has no address', async () => {
    const stage = await Stage.open();
    try {
      const { connection, device } = await stage.host();
      await asKernel(connection, async (kernel) => {
        const around = new Surroundings(kernel, device, microImage(stage.signer, { dataPages: 3 }));
        const named = new Set([...operandTable(around).map(({ call }) => call), ...NO_ADDRESS]);
        for (const call of [ENCLS, SGX_CALL, SVSM_CORE].flatMap((table) => Object.keys(table)))
          assert.ok(named.has(call), `${call} is not walked`);
        await around.close();
      });
    } finally {
      await stage.close();
    }
  });
});
