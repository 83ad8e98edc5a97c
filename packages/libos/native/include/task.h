/* Threads of the program: a slot each, which is what the core and the host know them by. */
#ifndef LIBOS_TASK_H
#define LIBOS_TASK_H

#include "libos.h"
#include "nsgx_exception.h"

#define LIBOS_THREADS 64 /* core/task/thread.ts */

/* The lock of the core: around every use of it. */
void libos_lock(void);
/* Gives it back, and wakes the threads that the core wants to have woken. */
void libos_unlock(void);

/* Of the thread that runs. */
uint32_t libos_slot(void);
void libos_set_slot(uint32_t slot);

/* Sleeps until libos_wake or until a time on clock 1. A wake-up that comes before is not lost. */
void libos_sleep(uint32_t slot, uint64_t until);

/* Tells kernel.c of a thread that begins. */
void libos_thread_known(uint32_t slot);

/* A system call of which all registers may be needed; its result is in RAX. */
void libos_dispatch_full(nsgx_registers *registers);

/* Ends the process of the calling thread as a signal does. */
_Noreturn void libos_end(uint32_t signal);

/* Whether libos_signals has something to do for the calling thread. */
bool libos_signal_waits(void);
/* The same for another. */
bool libos_signal_waits_for(uint32_t slot);
/* The calling thread's request (core/request.ts). */
const uint64_t *libos_request(void);

/* Registers of a parent whose thread goes on as its child, the latest first. */
void libos_keep_registers(uint32_t slot, const nsgx_registers *registers);
void libos_kept_registers(uint32_t slot, nsgx_registers *to);

/* attend.c: what the core wants to have done outside once the lock is free, beside waking threads. */
struct libos_orders {
    uint64_t interrupts; /* threads that are to look for a signal, a bit for each slot */
    uint64_t alarm;      /* when the host is to call, on clock 1; 0: no change */
    bool stopped;        /* whether the host is to be told that the first process is stopped */
};
struct libos_orders libos_take_orders(void);
void libos_attend_start(uint8_t *memory);

/* Whether the slot's request is known. */
bool libos_thread_is_known(uint32_t slot);

/* Starts a thread with these registers but for RAX, RSP and FS, and with these vector registers if any; false when the host
 * does not. */
bool libos_start_thread(uint32_t slot, const nsgx_registers *registers, uint64_t stack, uint64_t fs, const void *vectors);

/* kernel.c: before a thread runs its program (false: it does not), and before it goes on with it. */
bool libos_begin(uint32_t slot);
void libos_yield_place(uint64_t stack);

/* Calls out from wherever the thread stands: with FS as the runtime has it, and vector registers kept. */
void libos_call_out(void (*call)(uint32_t), uint32_t argument);

/* For waits that libos_unpark ends: false when the thread was woken already. */
bool libos_falls_asleep(uint32_t slot);
void libos_wakes_up(uint32_t slot);

/* The ECALL of a started thread: runs it to its end. False when no thread of this slot was started. */
bool libos_run_thread(uint32_t slot);

#endif
