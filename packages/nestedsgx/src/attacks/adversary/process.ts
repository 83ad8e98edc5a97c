/** The suite's end of an adversary process. */
import { fileURLToPath } from 'node:url';
import { NsgxError } from '@nestedsgx/arch';
import { ControlSocket } from '@nestedsgx/guest';
import { close, socketpair, spawn } from '@nestedsgx/os';
import { endProcess } from '@nestedsgx/sdk';
import type { Person } from '../people.js';
import type { ActArguments, ActResult, Acts } from './acts.js';

const PROGRAM = fileURLToPath(new URL('./program.js', import.meta.url));
const START_MS = 10_000;
const ACT_MS = 60_000;
const GRACE_MS = 500;

/** A running adversary. */
export class Adversary {
  private constructor(
    readonly person: Person,
    readonly pid: number,
    private readonly pidfd: number,
    private readonly control: ControlSocket,
  ) {}

  /**
   * Starts one as `person`, with an empty environment, no descriptor but its socket and (if given) guest RAM, no core
   * dumps and no way to gain privileges, and checks that it is who it should be.
   * @throws NsgxError ATTACK_SETUP
   */
  static async start(person: Person, ramFd: number | null): Promise<Adversary> {
    const [ours, theirs] = socketpair();
    const control = new ControlSocket(ours);
    try {
      const { pid, pidfd } = spawn({
        executable: process.execPath,
        argv: ['node', '--no-warnings', PROGRAM, String(person.uid), String(person.gid)],
        env: [],
        cwd: '/',
        fds: [[2, 2], [3, theirs], ...(ramFd === null ? [] : ([[4, ramFd]] as const))],
        deathSignal: 'SIGKILL',
        noNewPrivileges: true,
        noCore: true,
      });
      const adversary = new Adversary(person, pid, pidfd, control);
      try {
        const { uid, capabilities } = await adversary.act('whoami', undefined, START_MS);
        if (uid === person.uid && !capabilities) return adversary;
        throw new NsgxError(
          'ATTACK_SETUP',
          `an adversary runs as user ${uid}${capabilities ? ' with capabilities' : ''}`,
          {
            advice: 'Run the suite as root, or as an ordinary user without capabilities.',
          },
        );
      } catch (error) {
        await adversary.end();
        throw error;
      }
    } finally {
      close(theirs);
    }
  }

  /** Lets it do one thing. @throws GuestError GUEST_REFUSED with the code of what failed there, GUEST_TIMEOUT */
  async act<K extends keyof Acts>(act: K, args: ActArguments<K>, timeoutMs = ACT_MS): Promise<ActResult<K>> {
    const { body } = await this.control.request({ op: act, act, args }, timeoutMs);
    return body.value as ActResult<K>;
  }

  /**
   * Starts an act and returns once it is under way there; the result comes with `done`, which must have come before the
   * next act.
   */
  async begin<K extends keyof Acts>(act: K, args: ActArguments<K>): Promise<{ done: Promise<ActResult<K>> }> {
    await this.control.request({ op: act, act, args, begin: true }, ACT_MS);
    const done = this.control.receive(ACT_MS).then(({ body }) => {
      if (body.ok === true) return body.value as ActResult<K>;
      throw new NsgxError(
        'ATTACK_SETUP',
        `an adversary failed: ${String(body.message)} (${String(body.code)})`,
      );
    });
    done.catch(() => undefined);
    return { done };
  }

  /** Ends the process: it leaves when its socket closes, and is killed if it does not. */
  async end(): Promise<void> {
    this.control.close();
    await endProcess(this.pid, this.pidfd, GRACE_MS);
  }
}
