/** The terminals of a program: their modes as they were, which its host puts back. */

// asm-generic/ioctls.h
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TCSETSF = 0x5404;
/** struct termios of the kernel. */
const BYTES = 36;
const STREAMS = 3;

/** Does an ioctl on one of the program's first three descriptors; minus an errno, or a length. */
type Control = (fd: number, command: number, argument: bigint, data: Uint8Array) => number;

/** Remembers modes before the first change of each terminal. */
export class Terminals {
  readonly #control: Control;
  readonly #before = new Map<number, Uint8Array>();
  readonly #atExit = () => this.restore();

  constructor(control: Control) {
    this.#control = control;
  }

  /** What a program asks: a result, and the modes if that is what it asks for. */
  serve(
    fd: number,
    command: number,
    argument: bigint,
    data: Uint8Array,
  ): { result: number; modes?: Uint8Array } {
    if (fd >= STREAMS) return { result: -1 };
    if (command === TCGETS) {
      const modes = new Uint8Array(BYTES);
      const result = this.#control(fd, TCGETS, 0n, modes);
      return result < 0 ? { result } : { result: BYTES, modes };
    }
    if (command >= TCSETS && command <= TCSETSF && !this.#before.has(fd)) this.#keep(fd);
    return { result: this.#control(fd, command, argument, data) };
  }

  #keep(fd: number): void {
    const modes = new Uint8Array(BYTES);
    if (this.#control(fd, TCGETS, 0n, modes) < 0) return;
    if (this.#before.size === 0) process.on('exit', this.#atExit);
    this.#before.set(fd, modes);
  }

  /** Puts all modes back. */
  restore(): void {
    process.off('exit', this.#atExit);
    for (const [fd, modes] of this.#before) this.#control(fd, TCSETS, 0n, modes);
    this.#before.clear();
  }
}
