/** struct libos_boot of native/include/libos.h: the last page of the ELRANGE. */

/** Its fields in order; offsets from the base and sizes in bytes. */
export interface BootPage {
  readonly coreStart: number;
  readonly coreSize: number;
  readonly coreReady: number;
  readonly arenaReady: number;
  readonly pagesStart: number;
  readonly pagesSize: number;
  readonly manifestStart: number;
  readonly manifestSize: number;
  readonly userStart: number;
  readonly userSize: number;
  readonly stackStart: number;
  readonly stackSize: number;
  readonly arenaStart: number;
  readonly arenaSize: number;
  readonly entry: number;
  readonly programEntry: number;
  readonly headers: number;
  readonly headerCount: number;
  readonly interpreter: number;
  readonly flags: number;
  /** What the host may say to the program (src/image/policy.ts); none without bytes. */
  readonly policyStart: number;
  readonly policySize: number;
  /** What the arena has behind it, so that it can begin and end elsewhere at each start. */
  readonly arenaSlack: number;
  /** How much of the stack, at its end, has pages from the start. */
  readonly stackReady: number;
}

const MAGIC = 0x31534f42494c534en;

/** Say which system calls are refused. */
export const BOOT_VERBOSE = 1;
/** Signals of the host do not reach the program. */
export const BOOT_NO_HOST_SIGNALS = 2;
/** Let the program execute what it writes. */
export const BOOT_JIT = 4;
/** The program's stack and memory begin at the same place in the enclave each time. */
export const BOOT_FIXED_PLACES = 8;

/** The page's bytes. */
export function bootPage(boot: BootPage): Uint8Array {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  const words = [
    ...[boot.coreStart, boot.coreSize, boot.coreReady, boot.arenaReady, boot.pagesStart, boot.pagesSize],
    ...[boot.manifestStart, boot.manifestSize, boot.userStart, boot.userSize],
    ...[boot.stackStart, boot.stackSize, boot.arenaStart, boot.arenaSize, boot.entry, boot.programEntry],
    ...[boot.headers, boot.headerCount, boot.interpreter, boot.flags],
    ...[boot.policyStart, boot.policySize, boot.arenaSlack, boot.stackReady],
  ];
  view.setBigUint64(0, MAGIC, true);
  words.forEach((word, i) => {
    view.setBigUint64(8 * (i + 1), BigInt(word), true);
  });
  return page;
}

/** What a boot page says that images are inspected for; undefined for another page. */
export function readBoot(page: Uint8Array): Pick<BootPage, (typeof READ)[number][0]> | undefined {
  const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
  if (view.getBigUint64(0, true) !== MAGIC) return undefined;
  const fields = READ.map(([name, word]) => [name, Number(view.getBigUint64(8 * word, true))]);
  return Object.fromEntries(fields) as Pick<BootPage, (typeof READ)[number][0]>;
}

/** Fields that are read back, by their word. */
const READ = [
  ['coreSize', 2],
  ['manifestStart', 7],
  ['manifestSize', 8],
  ['stackSize', 12],
  ['arenaSize', 14],
  ['policyStart', 21],
  ['policySize', 22],
] as const;
