/** The stage of the suite: one machine, its victims, and the adversaries against it, made when first needed. */
import type { GuestConnection, SgxDevice } from '@nestedsgx/guest';
import { type GeneratedKey, generateKey, loadSigningKey, type SigningKey } from '@nestedsgx/image/node';
import { Adversary } from '../adversary/process.js';
import { type Cast, castFor, type Person } from '../people.js';
import { AttackedMachine, type MachineOptions } from './machine.js';
import { Micro, type MicroOptions, microImage } from './micro.js';
import { fill, loadVault, type Vault } from './vault.js';
import { loadVictim, suiteSigner, type Victim, type VictimImage, victimImage } from './victim.js';

const MIB = 2 ** 20;

/** Everything that attacks work with. */
export class Stage {
  #machine: Promise<AttackedMachine> | null = null;
  #vault: Vault | null = null;
  #calc: Victim | null = null;
  #rival: Promise<GeneratedKey> | null = null;
  readonly #adversaries = new Map<string, Promise<Adversary>>();
  readonly #images = new Map<string, VictimImage>();

  private constructor(
    readonly options: MachineOptions,
    readonly seed: number,
    readonly cast: Cast,
    /** Who signs the victims. */
    readonly signer: SigningKey,
  ) {
    // A second signer takes a moment to make: it is there when the attacks that need it begin.
    this.#rival = generateKey();
    this.#rival.catch(() => undefined);
  }

  /** Makes a stage; nothing is launched yet. @throws the errors of key files */
  static async open(options: MachineOptions = {}, seed = 1, cast: Cast = castFor()): Promise<Stage> {
    return new Stage(options, seed, cast, await suiteSigner());
  }

  /** The machine, launched on first use and again after an attack ended it. */
  machine(): Promise<AttackedMachine> {
    this.#machine ??= AttackedMachine.launch(this.cast, this.options);
    return this.#machine;
  }

  /** The suite's own share of the machine: it is the victims' host. */
  async host(): Promise<{ connection: GuestConnection; device: SgxDevice }> {
    return (await this.machine()).cvm.guest();
  }

  /** A sample with one more page, signed by the suite. */
  image(name: 'calc' | 'evil'): VictimImage {
    let image = this.#images.get(name);
    if (image === undefined) {
      image = victimImage(name, this.signer);
      this.#images.set(name, image);
    }
    return image;
  }

  /** The enclave with the secret. */
  async vault(): Promise<Vault> {
    const { device } = await this.host();
    this.#vault ??= loadVault(device, this.image('evil'));
    return this.#vault;
  }

  /** The enclave that works: arithmetic, text, sealing, reports. */
  async calc(): Promise<Victim> {
    const { device } = await this.host();
    this.#calc ??= loadVictim(device, this.image('calc'));
    return this.#calc;
  }

  /** A fresh instance of the sample that does whatever it is told. */
  async evil(): Promise<Victim> {
    const { device } = await this.host();
    return loadVictim(device, this.image('evil'));
  }

  /** A fresh micro enclave, signed by the suite. */
  async micro(options: MicroOptions = {}): Promise<Micro> {
    const { device } = await this.host();
    return Micro.load(device, microImage(this.signer, options));
  }

  /** A fresh vault of its own, for attacks that may end it. */
  async anotherVault(): Promise<Vault> {
    return fill(await this.evil());
  }

  /** The key of another signer. */
  async rivalKey(): Promise<SigningKey> {
    this.#rival ??= generateKey();
    return loadSigningKey((await this.#rival).privateKeyPem);
  }

  /** The runner of a victim. */
  async runnerOf(victim: Victim): Promise<number> {
    const { base } = victim.built.file;
    const { cvm } = await this.machine();
    const mine = Buffer.from(victim.built.mrenclave).toString('hex');
    for (const row of await cvm.ps())
      if (row.base === base && row.mrenclave === mine && typeof row.pid === 'number') return row.pid;
    throw new Error('the machine does not list the runner of the victim');
  }

  /** An adversary as `person` with guest RAM mapped; the same one for the same `role`. */
  async adversary(person: Person, role = ''): Promise<Adversary> {
    const { ram } = await this.machine();
    const name = `${person.uid} ${role}`;
    let adversary = this.#adversaries.get(name);
    if (adversary === undefined) {
      adversary = Adversary.start(person, ram.fd).then(async (started) => {
        await started.act('map', { base: ram.base, size: ram.size });
        return started;
      });
      this.#adversaries.set(name, adversary);
    }
    return adversary;
  }

  /** An adversary that has attached itself as one more guest of the machine. */
  async attachedAdversary(): Promise<Adversary> {
    const known = this.#adversaries.has(`${this.cast.guest.uid} guest`);
    const adversary = await this.adversary(this.cast.guest, 'guest');
    const { socketPath } = await this.machine();
    if (!known) await adversary.act('attach', { path: socketPath, slice: 16 * MIB, epc: 16 * MIB });
    return adversary;
  }

  /** Whether everything that was not attacked still works: null, or what does not. */
  async harm(): Promise<string | null> {
    try {
      const { cvm } = await this.machine();
      await cvm.info();
      const calc = await this.calc();
      if (calc.calls.add!(2, 3) !== 5) return 'an enclave computes 2 + 3 wrongly';
      if (calc.calls.concat!('un', 'harmed') !== 'unharmed') return 'an enclave joins texts wrongly';
      return (await this.vault()).intact() ? null : 'the secret of an enclave was changed';
    } catch (error) {
      return `the machine or an enclave does not work any more: ${(error as Error).message}`;
    }
  }

  /** Ends what is left of a machine that was ended, so that the next attack gets a new one. */
  async renew(): Promise<void> {
    const machine = this.#machine;
    this.#machine = null;
    this.#vault = null;
    this.#calc = null;
    const adversaries = [...this.#adversaries.values()];
    this.#adversaries.clear();
    await Promise.allSettled(adversaries.map(async (adversary) => (await adversary).end()));
    if (machine !== null) await machine.then((launched) => launched.close()).catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.renew();
    await this.#rival?.catch(() => undefined);
  }
}
