/* Signals for threads that only compute, and signals and timers that only the host can call attention to. Whatever the host
 * does here makes the enclave look: what is to be done, and whether, it knows itself. */
#include "core.h"
#include "libos.h"
#include "nsgx_interface.h"
#include "task.h"

/* The slot of whoever looks after timers and the host's signals; no thread of the program has it (core/task/thread.ts). */
#define ATTENDANT (LIBOS_THREADS - 1)

extern w2c_core *libos_core(void);
void libos_user_interrupt_resumed(void);
void libos_signals(nsgx_registers *registers, uint32_t number);

/* core/task/outbox.ts */
struct outbox {
    uint64_t interrupts, alarm, stopped;
};
static volatile struct outbox *outbox;
static uint64_t told = UINT64_MAX; /* when the host was asked to call; under the lock */

void libos_attend_start(uint8_t *memory) { outbox = (volatile struct outbox *)(memory + w2c_core_outboxAt(libos_core())); }

struct libos_orders libos_take_orders(void) {
    struct libos_orders orders = {0};
    if (outbox == NULL) return orders;
    orders.interrupts = outbox->interrupts;
    if (orders.interrupts != 0) outbox->interrupts = 0;
    orders.stopped = outbox->stopped != 0;
    if (orders.stopped) outbox->stopped = 0;
    if (outbox->alarm != told) {
        told = outbox->alarm;
        if (told != UINT64_MAX) orders.alarm = told;
    }
    return orders;
}

/* The host offers an interrupt of this thread, at CSSA 1. A signal is taken where the program itself runs; in the library OS
 * only a note is left, as signals are looked for at the end of each call. The host, which is asked to interrupt again after a
 * while, makes up for a note that comes too late. */
nsgx_exception *nsgx_interrupt_divert(const nsgx_registers *interrupted, uint64_t *resume) {
    uint64_t top;
    if (outbox == NULL || libos_slot() >= ATTENDANT || !libos_thread_is_known(libos_slot()) || !libos_signal_waits()) return NULL;
    if (!libos_in_user(interrupted->rip, 1)) {
        __asm__ volatile("movl $1, %%gs:1040" : : : "memory");
        return NULL;
    }
    __asm__("movq %%gs:1032, %0" : "=r"(top));
    *resume = (uint64_t)libos_user_interrupt_resumed;
    return (nsgx_exception *)((top - sizeof(nsgx_exception)) & ~63ull);
}

/* Phase two: the registers of the record become those that the program goes on with; its vectors are in place. */
void libos_user_interrupt(nsgx_exception *exception);
void libos_user_interrupt(nsgx_exception *exception) {
    libos_signals(&exception->registers, 0);
}

/* ECALL: a signal of the host's (0: none), with a value for it; and timers. Says in how many nanoseconds it wants to be called
 * again, -1 for never, -2 when the
 * program has not begun or somebody else attends: nothing was done. */
int64_t attend(uint32_t signal, uint32_t value) {
    static uint32_t busy;
    if (outbox == NULL || __atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE) != 0) return -2;
    libos_set_slot(ATTENDANT);
    libos_lock();
    int64_t next = (int64_t)w2c_core_attend(libos_core(), signal, value);
    told = outbox->alarm;
    libos_unlock();
    __atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
    return next;
}
