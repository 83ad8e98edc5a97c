/** System calls that are refused: in verbose mode each is named once. */
import { note } from './request';

/** Every start of a C library asks for it, and does without. */
const RSEQ: u32 = 334;
let verbose: bool = false;
const told = new StaticArray<bool>(512);
const line: usize = memory.data(128);

export function setVerbose(on: bool): void {
  verbose = on;
}

/** The errno with which a call is refused; tells its name first. */
export function refuse(number: u32, name: string, errno: i64): i64 {
  if (!verbose || number >= 512 || number === RSEQ || told[number]) return errno;
  told[number] = true;
  const text = `system call ${name} is not supported`;
  for (let i = 0; i < text.length && i < 128; i++) store<u8>(line + i, <u8>text.charCodeAt(i));
  return note(line, text.length);
}
