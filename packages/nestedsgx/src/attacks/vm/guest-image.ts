/** An enclave image as a program of a guest reads it that has no parser for images: a head, pages, nothing else. */
import { SECS } from '@nestedsgx/arch';
import type { MicroImage } from '../stage/micro.js';

const PAGE = 4096;
const MAGIC = 0x3147_4d49_5847_534en;
const HEAD = 40;
const SIGSTRUCT_ROOM = 2048;
const PAGE_HEAD = 32;

/** The file that `nsgx-victim` loads. */
export function guestImage(micro: MicroImage): Uint8Array {
  const { image } = micro;
  const pages = [...image.pages()].flatMap((run) =>
    Array.from({ length: Math.ceil(run.data.length / PAGE) }, (_, i) => ({
      offset: run.offset + i * PAGE,
      flags: run.secinfoFlags,
      measured: run.measured,
      bytes: run.data.subarray(i * PAGE, (i + 1) * PAGE),
    })),
  );
  const head = HEAD + PAGE + SIGSTRUCT_ROOM;
  const file = new Uint8Array(head + pages.length * (PAGE_HEAD + PAGE));
  const view = new DataView(file.buffer);
  [MAGIC, BigInt(image.size), BigInt(pages.length), BigInt(micro.tcs(0)), BigInt(micro.data)].forEach(
    (value, i) => {
      view.setBigUint64(i * 8, value, true);
    },
  );
  const secs = SECS.encode({
    SIZE: BigInt(image.size),
    SSAFRAMESIZE: image.ssaFrameSize,
    MISCSELECT: image.miscselect,
    ATTRIBUTES: image.attributes,
  });
  file.set(secs, HEAD);
  file.set(micro.sigstruct, HEAD + PAGE);
  pages.forEach((page, i) => {
    const at = head + i * (PAGE_HEAD + PAGE);
    view.setBigUint64(at, BigInt(page.offset), true);
    view.setBigUint64(at + 8, BigInt(page.flags), true);
    view.setBigUint64(at + 16, page.measured ? 1n : 0n, true);
    file.set(page.bytes, at + PAGE_HEAD);
  });
  return file;
}
