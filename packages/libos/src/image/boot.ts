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
}

const MAGIC = 0x31534f42494c534en;

/** Say which system calls are refused. */
export const BOOT_VERBOSE = 1;

/** The page's bytes. */
export function bootPage(boot: BootPage): Uint8Array {
  const page = new Uint8Array(4096);
  const view = new DataView(page.buffer);
  const words = [
    ...[boot.coreStart, boot.coreSize, boot.coreReady, boot.arenaReady, boot.pagesStart, boot.pagesSize],
    ...[boot.manifestStart, boot.manifestSize, boot.userStart, boot.userSize],
    ...[boot.stackStart, boot.stackSize, boot.arenaStart, boot.arenaSize, boot.entry, boot.programEntry],
    ...[boot.headers, boot.headerCount, boot.interpreter, boot.flags],
  ];
  view.setBigUint64(0, MAGIC, true);
  words.forEach((word, i) => {
    view.setBigUint64(8 * (i + 1), BigInt(word), true);
  });
  return page;
}
