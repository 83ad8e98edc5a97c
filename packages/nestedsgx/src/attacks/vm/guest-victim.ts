/** A program in a guest that owns a micro enclave and does what it is told (native/victim of package vm). */
import { randomBytes } from 'node:crypto';
import { createInterface, type Interface } from 'node:readline';
import { NsgxError } from '@nestedsgx/arch';
import type { GuestCommand } from '@nestedsgx/vm';

const ANSWER_MS = 30_000;
/** The answer of a program that is no more. */
const ENDED = 'the program has ended';

/** The program whose enclave is attacked. Its enclave holds a secret of eight random bytes. */
export class GuestVictim {
  readonly secret = randomBytes(8).toString('hex').replace(/^0+/, '1');
  #base = 0n;
  #pid = 0;
  readonly #command: GuestCommand;
  readonly #lines: Interface;
  readonly #ready: string[] = [];
  #waiting: ((line: string) => void) | null = null;
  #over = false;

  constructor(command: GuestCommand) {
    this.#command = command;
    this.#lines = createInterface({ input: command.stdout });
    this.#lines.on('line', (line) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      if (waiting) waiting(line);
      else this.#ready.push(line);
    });
    this.#lines.on('close', () => {
      this.#over = true;
      this.#waiting?.(ENDED);
      this.#waiting = null;
    });
  }

  /** Linear address of the page with the secret. */
  get address(): string {
    return `0x${(this.#base + 4096n).toString(16)}`;
  }

  get pid(): number {
    return this.#pid;
  }

  /** Waits until the enclave runs, and gives it its secret. */
  async begin(): Promise<void> {
    const first = /^base 0x([0-9a-f]+) pid (\d+)$/.exec(await this.#answer());
    if (first === null) throw new NsgxError('ATTACK_SETUP', 'the enclave in the guest did not start');
    this.#base = BigInt(`0x${first[1]}`);
    this.#pid = Number(first[2]);
    await this.ask(`put ${this.secret}`);
    if (!(await this.intact()))
      throw new NsgxError('ATTACK_SETUP', 'the enclave in the guest does not keep its secret');
  }

  /** Sends a line and waits for the answer. */
  ask(line: string, timeoutMs = ANSWER_MS): Promise<string> {
    this.#command.stdin.write(`${line}\n`);
    return this.#answer(timeoutMs);
  }

  /** Whether the enclave, asked for it by its own program, still has its secret. */
  async intact(): Promise<boolean> {
    return (await this.ask('get')) === `got ${this.secret}`;
  }

  kill(): void {
    this.#command.kill(9);
  }

  #answer(timeoutMs = ANSWER_MS): Promise<string> {
    const ready = this.#ready.shift();
    if (ready !== undefined) return Promise.resolve(ready);
    if (this.#over) return Promise.resolve(ENDED);
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waiting = null;
        resolve('no answer');
      }, timeoutMs);
      this.#waiting = (line) => {
        clearTimeout(timer);
        resolve(line);
      };
    });
  }
}
