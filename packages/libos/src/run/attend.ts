/**
 * Calling a program's attention: signals of the host, timers, and interrupts of threads that compute. All of it are hints;
 * the library OS knows itself what is due and whether a signal is welcome.
 */
import { constants } from 'node:os';

const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** An interrupt that finds a thread at the end of a call is lost: it is repeated after so many milliseconds, unless one was taken. */
const REPEATS_MS = [2, 20];
/** A program that has not begun is asked again. */
const NOT_YET = -2n;
const NOT_YET_MS = 5;
/** Calls of `attend` under way and waiting; signals beyond are lost as those of a process are that are pending already. */
const MOST_WAITING = 64;

/** What it needs of an enclave. */
export interface Attended {
  attend(signal: number, value: number): Promise<bigint>;
  interrupt(): void;
  /** Interrupts that were taken, in all. */
  taken(): number;
}

/** The attention of one program. */
export class Attention {
  readonly #enclave: Attended;
  readonly #failed: (error: unknown) => void;
  #calls: Promise<void> = Promise.resolve();
  #waiting = 0;
  #alarm: NodeJS.Timeout | undefined;
  #due = Number.POSITIVE_INFINITY;
  #repeats: NodeJS.Timeout[] = [];
  #over = false;

  constructor(enclave: Attended, failed: (error: unknown) => void) {
    this.#enclave = enclave;
    this.#failed = failed;
  }

  /** The OCALL handlers (interface.ts). */
  handlers() {
    return {
      interrupt: (): void => this.#interrupt(),
      alarm: (microseconds: number): void => this.#schedule(microseconds / 1000),
    };
  }

  /** Sends a signal to the program, as if by a process of number 0. False when there are too many already. */
  signal(signal: number | NodeJS.Signals, value = 0): boolean {
    const number = typeof signal === 'number' ? signal : constants.signals[signal];
    if (
      this.#over ||
      this.#waiting >= MOST_WAITING ||
      !(Number.isInteger(number) && number > 0 && number <= 64)
    )
      return false;
    this.#attend(number, value);
    return true;
  }

  /** The program is over. */
  stop(): void {
    this.#over = true;
    clearTimeout(this.#alarm);
    for (const timer of this.#repeats) clearTimeout(timer);
  }

  #attend(signal: number, value: number): void {
    this.#waiting++;
    this.#calls = this.#calls.then(async () => {
      try {
        if (this.#over) return;
        let next = await this.#enclave.attend(signal, value);
        while (next === NOT_YET && !this.#over) {
          await new Promise((resolve) => setTimeout(resolve, NOT_YET_MS));
          next = await this.#enclave.attend(signal, value);
        }
        if (next >= 0n) this.#schedule(Number(next) / 1e6);
      } catch (error) {
        if (!this.#over) this.#failed(error);
      } finally {
        this.#waiting--;
      }
    });
  }

  /** The earliest time counts; whoever asked for a later one asks again. */
  #schedule(ms: number): void {
    const due = performance.now() + ms;
    if (this.#over || due >= this.#due) return;
    clearTimeout(this.#alarm);
    this.#due = due;
    this.#alarm = setTimeout(
      () => {
        this.#due = Number.POSITIVE_INFINITY;
        this.#attend(0, 0);
      },
      Math.min(Math.ceil(ms), LONGEST_TIMER_MS),
    );
  }

  #interrupt(): void {
    if (this.#over) return;
    for (const timer of this.#repeats) clearTimeout(timer);
    const before = this.#enclave.taken();
    this.#enclave.interrupt();
    this.#repeats = REPEATS_MS.map((ms) =>
      setTimeout(() => {
        if (this.#enclave.taken() === before) this.#enclave.interrupt();
      }, ms),
    );
  }
}
