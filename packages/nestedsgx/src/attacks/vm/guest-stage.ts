/** A guest with a stock Linux kernel, a program in it that owns an enclave with a secret, and its hostile root user. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generateKey, loadSigningKey } from '@nestedsgx/image/node';
import {
  attackModuleSources,
  buildModule,
  defaultCache,
  type GuestCommand,
  kitProgram,
  provideKernel,
  Vm,
  victimProgram,
} from '@nestedsgx/vm';
import { microImage } from '../stage/micro.js';
import { guestImage } from './guest-image.js';
import { GuestVictim } from './guest-victim.js';

/** A guest that has wrecked itself may not even end its programs. */
const END_MS = 5000;
const pause = (ms: number) => new Promise<void>((done) => setTimeout(done, ms));
const KIT = '/root/nsgx-kit';
const VICTIM = '/root/nsgx-victim';
const IMAGE = '/root/victim.image';
const MODULE = '/root/nsgx_attack.ko';

/** What attacks on a guest work with. */
export class GuestStage {
  private constructor(
    readonly vm: Vm,
    readonly seed: number,
    private readonly folder: string,
  ) {}

  /** Boots the guest with everything that attacks need. @throws NsgxError of package vm */
  static async open(seed: number, progress: (text: string) => void = () => undefined): Promise<GuestStage> {
    const folder = mkdtempSync(join(tmpdir(), 'nsgx-attack-'));
    try {
      const signer = await loadSigningKey((await generateKey()).privateKeyPem);
      const image = join(folder, 'victim.image');
      writeFileSync(image, guestImage(microImage(signer)));
      const cache = defaultCache();
      const kernel = await provideKernel(cache, undefined, progress);
      const module = await buildModule(kernel, cache, progress, attackModuleSources());
      const vm = await Vm.start({
        accel: 'tcg',
        vcpus: 2,
        progress,
        launch: { stateDir: null, epcBytes: 64 * 2 ** 20, stderr: 'ignore' },
        copies: [
          { from: kitProgram(), to: KIT },
          { from: victimProgram(), to: VICTIM },
          { from: image, to: IMAGE },
          { from: module, to: MODULE },
        ],
      });
      return new GuestStage(vm, seed, folder);
    } catch (error) {
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Runs `attack` beside a program with an enclave, which is there for nothing else. */
  async withVictim<T>(attack: (victim: GuestVictim) => Promise<T>): Promise<T> {
    const command = this.vm.run([VICTIM, IMAGE]);
    const victim = new GuestVictim(command);
    try {
      await victim.begin();
      return await attack(victim);
    } finally {
      victim.kill();
      await Promise.race([command.ended.catch(() => undefined), pause(END_MS)]);
    }
  }

  /** Starts the kit as the guest's root. */
  startKit(...args: string[]): GuestCommand {
    return this.vm.run([KIT, ...args]);
  }

  /** Runs the kit to its end: its line, and whether it says that something gave way. */
  async kit(...args: string[]): Promise<{ said: string; code: number | null }> {
    const { stdout, stderr, code } = await this.vm.capture([KIT, ...args]);
    return { said: `${stdout}${stderr}`.trim(), code };
  }

  /** Loads the attack module: what it wrote to the kernel's log. */
  async module(...parameters: string[]): Promise<string> {
    await this.vm.capture(['/bin/sh', '-c', `dmesg -c >/dev/null; insmod ${MODULE} ${parameters.join(' ')}`]);
    const { stdout } = await this.vm.capture(['/bin/sh', '-c', 'dmesg | grep nsgx_attack: | tail -n 1']);
    return stdout
      .toString()
      .trim()
      .replace(/^.*nsgx_attack: /, '');
  }

  /** Runs a shell command as root. */
  async shell(script: string): Promise<{ said: string; code: number | null }> {
    const { stdout, stderr, code } = await this.vm.capture(['/bin/sh', '-c', script]);
    return { said: `${stdout}${stderr}`.trim(), code };
  }

  /** True when the monitor serves the guest. */
  async alive(): Promise<boolean> {
    return (await this.kit('query')).code === 0;
  }

  /** True when the machine behind the guest answers, whatever the guest has made of itself. */
  async machineLives(): Promise<boolean> {
    return (await this.vm.cvm?.info()) !== undefined;
  }

  async close(): Promise<void> {
    await this.vm.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
