/** Where functions begin: the sorted table of .eh_frame_hdr (LSB Core, "Exception Frames"). */
import { fileOffset, type Program } from './program.js';

const VERSION = 1;
/** DW_EH_PE_udata4, and DW_EH_PE_datarel | DW_EH_PE_sdata4: what every linker writes. */
const COUNT_ENCODING = 0x03;
const TABLE_ENCODING = 0x3b;

/** Addresses at which functions begin, ascending; empty when the file has no such table. */
export function functionStarts(program: Program): readonly number[] {
  const { frames, segments, bytes } = program;
  const at = frames === undefined ? undefined : fileOffset(segments, frames);
  if (frames === undefined || at === undefined || at + 12 > bytes.length) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[at] !== VERSION || bytes[at + 2] !== COUNT_ENCODING || bytes[at + 3] !== TABLE_ENCODING)
    return [];
  const count = view.getUint32(at + 8, true);
  if (at + 12 + count * 8 > bytes.length) return [];
  const starts: number[] = [];
  for (let i = 0; i < count; i++) starts.push(frames + view.getInt32(at + 12 + i * 8, true));
  return starts;
}
