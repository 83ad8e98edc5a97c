/** The terminal of the program's host, if one of its descriptors is one: which it is, and what programs have asked of it. */

const ICANON: u32 = 2;
const TENTH: u64 = 100_000_000;
/** Offsets in the kernel's struct termios (include/uapi/asm-generic/termbits.h). */
const LOCAL_FLAGS: usize = 12;
const VTIME: usize = 22;
const VMIN: usize = 23;

/** Which of the host's descriptors /dev/tty is; -1 when there is no terminal. */
export let ttyFd: i32 = -1;

export function setTty(fd: i32): void {
  ttyFd = fd;
}

/** The group that has it; 0 for that of the first process. */
export let foreground: i32 = 0;

export function setForeground(group: i32): void {
  foreground = group;
}

/** How long a read waits where it need not bring anything (VMIN is 0), in nanoseconds; -1: until there is something. */
export let readLimit: i64 = -1;

/** Takes what reads have to know from a struct termios that holds from here on. */
export function learnModes(at: usize): void {
  const raw = (load<u32>(at, LOCAL_FLAGS) & ICANON) === 0;
  readLimit = raw && load<u8>(at, VMIN) === 0 ? <i64>(load<u8>(at, VTIME) * TENTH) : -1;
}
