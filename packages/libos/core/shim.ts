/** What the native half offers (native/src/kernel.c). Addresses of programs are u64; those of the core are usize. */

/** Copies from the program's memory; false where it has none there. */
@external('shim', 'copyIn')
export declare function copyIn(to: usize, user: u64, length: u64): bool;

@external('shim', 'copyOut')
export declare function copyOut(user: u64, from: usize, length: u64): bool;

@external('shim', 'zero')
export declare function zero(user: u64, length: u64): bool;

/** The same; pages that were never used come when they are. */
@external('shim', 'zeroLazily')
export declare function zeroLazily(user: u64, length: u64): bool;

/** Pages that were never used are not to come. */
@external('shim', 'unwant')
export declare function unwant(user: u64, length: u64): void;

/** How many pages of a range are there. */
@external('shim', 'made')
export declare function made(user: u64, length: u64): u64;

/** The first page from an address on that is there, or the first that is not; the end if there is none. */
@external('shim', 'madeFrom')
export declare function madeFrom(user: u64, end: u64): u64;

@external('shim', 'madeTo')
export declare function madeTo(user: u64, end: u64): u64;

/** Makes pages that are not there come; the others keep what they have. */
@external('shim', 'bring')
export declare function bring(user: u64, length: u64): bool;

/** The same for memory of the core. */
@external('shim', 'bringCore')
export declare function bringCore(at: usize, length: u64): bool;

/** Down to where a stack has been used, from an address on that is in use. */
@external('shim', 'stackUsed')
export declare function stackUsed(low: u64, from: u64): u64;

/** How many pages have come since the start. */
@external('shim', 'accepted')
export declare function accepted(): u64;

/** Gives pages a protection as far as that needs no host; how many of them have more (memory/protect.ts). */
@external('shim', 'protect')
export declare function protect(user: u64, length: u64, protection: u32): u64;

/** Makes pages of the program's memory executable. */
@external('shim', 'executable')
export declare function executable(user: u64, length: u64): bool;

@external('shim', 'copyUser')
export declare function copyUser(to: u64, from: u64, length: u64): bool;

/** Both ranges get each other's bytes; they do not overlap. */
@external('shim', 'exchange')
export declare function exchange(a: u64, b: u64, length: u64): bool;

/** A piece of the measured description of the root. */
@external('shim', 'manifest')
export declare function manifest(to: usize, offset: u64, length: u32): bool;

/** Nanoseconds of a clock. */
@external('shim', 'now')
export declare function now(clock: i32): u64;

@external('shim', 'random')
export declare function random(user: u64, length: u64): bool;

/** The program's stack pointer at the call under way. */
@external('shim', 'userStack')
export declare function userStack(): u64;

@external('shim', 'setFs')
export declare function setFs(base: u64): void;

@external('shim', 'getFs')
export declare function getFs(): u64;
