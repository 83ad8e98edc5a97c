/* The native half of the library OS: what lies between a program, the core (core/, TypeScript) and the host. */
#ifndef LIBOS_H
#define LIBOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "copy.h"
#include "nsgx.h"

/* The last page of the ELRANGE: written by the image builder (src/image/boot.ts), measured, read-only. All addresses
 * are offsets from the enclave's base. */
struct libos_boot {
    uint64_t magic;
    uint64_t core_start, core_size;         /* memory of the core */
    uint64_t core_ready, arena_ready;       /* how much of it, and of the arena, has pages from the start */
    uint64_t pages_start, pages_size;       /* pages.h: five times a bit for each page of the ELRANGE */
    uint64_t manifest_start, manifest_size; /* the root's tree and hashes */
    uint64_t user_start, user_size;         /* all that a program may use: its images, stack and arena */
    uint64_t stack_start, stack_size;
    uint64_t arena_start, arena_size;
    uint64_t entry;                         /* of the interpreter, or of the program */
    uint64_t program_entry, headers, header_count, interpreter; /* AT_ENTRY, AT_PHDR, AT_PHNUM, AT_BASE */
    uint64_t flags;
    uint64_t policy_start, policy_size;     /* what the host may say to the program (policy.c) */
    uint64_t arena_slack;                   /* what the arena has behind it, to begin and end elsewhere (places.c) */
    uint64_t stack_ready;                   /* how much of the stack, at its end, has pages from the start */
};
#define LIBOS_BOOT_MAGIC 0x31534f42494c534eull /* "NSLIBOS1" */
#define LIBOS_FLAG_VERBOSE 1u
#define LIBOS_FLAG_FIXED_PLACES 8u

/* What the host says at the start; believed where noted. */
struct libos_host {
    uint32_t kind[3];      /* of stdin, stdout, stderr: 0 closed, 1 terminal, 2 pipe, 3 file */
    uint32_t rows, columns;
    uint32_t cpuid_count; /* entries of 24 bytes behind this structure */
    uint64_t ticks_per_second; /* of the time-stamp counter */
    uint32_t cpus, reserved;
};

const struct libos_boot *libos_boot(void);

/* Where the program's memory lies this time; offsets from the base. The same until the end. */
struct libos_places {
    uint64_t arena_start, arena_size;
    uint64_t stack_end;
};
const struct libos_places *libos_places(void);
extern uint8_t __image_base[];

/* Whether a range lies wholly in what programs may use. */
bool libos_in_user(uint64_t address, uint64_t length);

/* entry.S */
int64_t libos_enter_user(uint64_t rip, uint64_t rsp);
int64_t libos_enter_thread(const void *registers, uint64_t fs, uint32_t mxcsr);
_Noreturn void libos_leave_user(int64_t status);
_Noreturn void libos_resume(const void *registers);
void libos_syscall(void);
bool libos_guarded_copy(void *to, const void *from, size_t length);
bool libos_guarded_fill(void *to, size_t length);
bool libos_guarded_equal(const void *a, const void *b, size_t length); /* false also where it faults */
extern uint8_t libos_guard_start[], libos_guard_end[], libos_guard_fail[];
void libos_user_exception_resumed(void);
void libos_save_vectors(void *area);
void libos_restore_vectors(const void *area);

/* pages.c: makes [address, address + length) of the core's memory or the arena present and zero; false when the host
 * does not give pages. */
bool libos_make_zero(uint64_t address, uint64_t length);

/* entry.S: the leaf, or LIBOS_NO_LEAF from a processor that does not have it. */
uint64_t libos_leaf_eaccept_range(const void *secinfo, const void *page, uint64_t count);
extern const uint8_t libos_leaf_eaccept_range_enclu[];
#define LIBOS_NO_LEAF 0x100ull
/* What a leaf gives that found no page, however often it was tried. */
#define LIBOS_NO_PAGE 0x101ull

/* The same for memory of programs, but pages that are not there come when they are used. */
bool libos_want_zero(uint64_t address, uint64_t length);
/* Pages that are not there are not to come. */
void libos_unwant(uint64_t address, uint64_t length);
/* A page was used: true when it is there now, for such a use. */
bool libos_page_wanted(uint64_t address, bool write, bool absent);

/* The first page of a range that is there, or is not; its end when there is none. */
uint64_t libos_next_page(uint64_t address, uint64_t end, bool present);
/* Makes absent pages of a range come; false when the host does not give them. */
bool libos_bring(uint64_t address, uint64_t length);

/* How many pages of a range have been accepted. */
uint64_t libos_count_pages(uint64_t address, uint64_t length);
/* How many have been since the start. */
uint64_t libos_accepted_pages(void);
/* Gives those that lie together in larger runs back to the host; nobody else may use the range meanwhile. */
void libos_return_pages(uint64_t address, uint64_t length);
/* host.c: the host's step of a change of pages at an offset from the base: EMODT to PT_TRIM; EREMOVE; or EMODPR, with the
 * permissions that are left. */
enum { LIBOS_PAGES_TRIM = 0, LIBOS_PAGES_REMOVE = 1, LIBOS_PAGES_RESTRICT = 8 };
bool libos_host_pages(uint32_t operation, uint64_t offset, uint64_t length);

/* protect.c: gives whole pages a protection (PROT_*) as far as that needs no host; how many of them have more. */
uint64_t libos_protect(uint64_t address, uint64_t length, uint32_t protection);
/* Takes from those what they have more, with the host; false when it did not do so. */
bool libos_restrict(uint64_t address, uint64_t length, uint32_t protection);
/* Lets pages that are there be read, or written, whatever their protection. */
void libos_lift_range(uint64_t address, uint64_t length, bool write);
/* Makes pages executable; those that are not there come. */
bool libos_make_executable(uint64_t address, uint64_t length);

/* exception.c */
void libos_exceptions_start(void);

/* host.c: calls out. Results are checked; a host that answers nonsense is a failed call (-EIO). */
int64_t libos_host_write(uint32_t fd, uint64_t user, uint64_t length);
int64_t libos_host_read(uint32_t fd, uint64_t user, uint64_t length);
int64_t libos_host_root(uint64_t offset, uint32_t length, uint8_t *to, const uint8_t digest[32]);
int64_t libos_host_wait(uint32_t fds, int64_t timeout_ms);
void libos_host_park(uint32_t slot, int64_t timeout_ns);
void libos_host_unpark(uint32_t slot);
void libos_host_yield(void);
void libos_host_interrupt(uint32_t unused);
void libos_host_alarm(uint32_t microseconds);
/* The first process is stopped. */
void libos_host_stopped(uint32_t unused);
bool libos_host_thread(uint32_t slot);
_Noreturn void libos_host_exit(int32_t status);
void libos_host_note(const char *text, size_t length);
bool libos_host_clock(uint64_t now[2]);
/* What the core asks of files of the host (core/fs/hostfs.ts). */
int64_t libos_serve_files(const uint64_t a[6], uint8_t *memory, uint64_t size);

/* clock.c */
uint64_t libos_clock_now(uint32_t clock);
/* Answers calls for the time; false when it is not one, or not one for here. */
bool libos_clock_call(uint32_t number, uint64_t first, uint64_t second, int64_t *result);

/* kernel.c */
int64_t libos_dispatch(uint32_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);
void libos_kernel_start(const struct libos_host *host);
/* The store (store.h); false when the program must not be started. */
bool libos_kernel_mount(void);
_Noreturn void libos_die(const char *why, uint64_t number);

/* cpuid.c */
void libos_cpuid_start(const uint8_t *table, uint32_t count);
void libos_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]);

/* start.c */
int64_t libos_start_program(nsgx_bytes argv, nsgx_bytes envp);

#endif
