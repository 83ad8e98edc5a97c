/* Threads: the lock of the core, sleeping and waking, and how threads begin. Which thread may begin is said in here: the host
 * only lends a TCS for it. */
#include "task.h"

#include "core.h"

#define SPINS 256         /* tries for the lock before others are let run */
#define SPIN_ROUNDS 64u    /* rounds of them without leaving the enclave */
#define YIELDS 8u          /* turns left to others, then a thread sleeps */
#define NAP_NS 200000
#define AWAKE_MOST 16384u /* pauses before a thread sleeps outside */
#define AWAKE_LEAST 8u
/* Two threads that wait for each other both sleep, once one has, since waking takes longer than the other stays awake. So now
 * and then one stays awake for as long as that takes; where it is in vain, as on one CPU, ever more rarely. */
#define AWAKE_TRIAL 4096u
#define TRIAL_MOST 1024u
#define TRIAL_LEAST 16u
#define OVERLOOK 128u      /* pauses before a thread that a signal waits for is interrupted */

enum { RUNNING, AWAKE, ASLEEP, WOKEN };
enum { FREE, STARTED, TAKEN, IDLE };
/* A thread that ended waits so long for another one to be: coming in anew takes the host far longer than being woken. */
#define IDLE_NS 100000000ull

struct start {
    nsgx_registers registers;
    uint64_t fs;
    const void *vectors;
    uint32_t mxcsr, state;
};

static struct start starts[LIBOS_THREADS];
#define KEPT 4 /* core/task/vfork.ts */

static nsgx_registers kept[LIBOS_THREADS][KEPT];
static uint32_t kept_count[LIBOS_THREADS];
static uint32_t sleeping[LIBOS_THREADS];
static uint32_t patience[LIBOS_THREADS];
/* Waits until a thread's next trial, and from that to the one behind it. */
static uint32_t trial_in[LIBOS_THREADS], trial_every[LIBOS_THREADS];
static volatile uint32_t lock_word;

extern w2c_core *libos_core(void);

static void pause_once(void) { __asm__ volatile("pause" : : : "memory"); }

uint32_t libos_slot(void) {
    uint32_t slot;
    __asm__ volatile("movl %%gs:1056, %0" : "=r"(slot));
    return slot;
}

void libos_set_slot(uint32_t slot) { __asm__ volatile("movl %0, %%gs:1056" : : "r"(slot) : "memory"); }

/* Calls out from wherever the thread stands: the runtime wants FS as it has it, and leaving clears the vector registers,
 * which are the program's unless FS is the runtime's already. */
void libos_call_out(void (*call)(uint32_t), uint32_t argument) {
    uint8_t vectors[4096] __attribute__((aligned(64)));
    uint64_t present, own;
    __asm__ volatile("rdfsbase %0" : "=r"(present));
    __asm__ volatile("movq %%gs:0, %0" : "=r"(own));
    if (present == own) return call(argument);
    memset(vectors + 512, 0, 64);
    libos_save_vectors(vectors);
    __asm__ volatile("wrfsbase %0" : : "r"(own));
    call(argument);
    __asm__ volatile("wrfsbase %0" : : "r"(present));
    libos_restore_vectors(vectors);
}

static void yield(uint32_t unused) {
    (void)unused;
    libos_host_yield();
}

/* Whoever has the lock waits for the host, or for a processor: many that ask for it all the time would keep both from it. */
static void nap(uint32_t slot) { libos_host_park(slot, NAP_NS); }

static void wake(uint32_t slot) {
    if (__atomic_exchange_n(&sleeping[slot], WOKEN, __ATOMIC_ACQ_REL) == ASLEEP) libos_call_out(libos_host_unpark, slot);
}

void libos_lock(void) {
    for (uint32_t tries = 0; __atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE) != 0; tries++) {
        for (uint32_t i = 0; i < SPINS && lock_word != 0; i++) pause_once();
        if (tries < SPIN_ROUNDS) continue;
        uint32_t slot = libos_slot();
        if (tries < SPIN_ROUNDS + YIELDS || slot >= LIBOS_THREADS - 1) libos_call_out(yield, 0);
        else libos_call_out(nap, slot);
    }
}

/* Whether some of these may compute. Threads that wait look when they are woken. */
static bool computing(uint64_t slots) {
    slots &= ~(1ull << libos_slot());
    for (; slots != 0; slots &= slots - 1) {
        uint32_t state = __atomic_load_n(&sleeping[__builtin_ctzll(slots)], __ATOMIC_ACQUIRE);
        if (state == RUNNING || state == WOKEN) return true;
    }
    return false;
}

/* Whether some of these still have not seen their signals after a while: a thread at a system call looks by itself, and the
 * host need not be asked. */
static bool overlook(uint64_t slots) {
    for (uint32_t i = 0; i < OVERLOOK; i++) {
        for (uint64_t left = slots; left != 0; left &= left - 1)
            if (!libos_signal_waits_for((uint32_t)__builtin_ctzll(left))) slots &= ~(left & -left);
        if (slots == 0) return false;
        pause_once();
    }
    return true;
}

static void alarm_at(uint64_t time) {
    uint64_t now = libos_clock_now(1), microseconds = time > now ? (time - now) / 1000 : 0;
    libos_call_out(libos_host_alarm, microseconds < UINT32_MAX ? (uint32_t)microseconds : UINT32_MAX);
}

void libos_unlock(void) {
    uint64_t wakes = w2c_core_wakes(libos_core());
    struct libos_orders orders = libos_take_orders();
    bool interrupt = orders.interrupts != 0 && computing(orders.interrupts);
    __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE);
    while (__builtin_expect(wakes != 0, 0)) {
        wake((uint32_t)__builtin_ctzll(wakes));
        wakes &= wakes - 1;
    }
    if (__builtin_expect(interrupt, 0) && overlook(orders.interrupts)) libos_call_out(libos_host_interrupt, 0);
    if (__builtin_expect(orders.alarm != 0, 0)) alarm_at(orders.alarm);
    if (__builtin_expect(orders.stopped, 0)) libos_call_out(libos_host_stopped, 0);
}

static bool change(uint32_t slot, uint32_t from, uint32_t to) {
    return __atomic_compare_exchange_n(&sleeping[slot], &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

static bool woken_within(uint32_t slot, uint32_t pauses) {
    for (uint32_t i = 0; i < pauses; i++) {
        if (__atomic_load_n(&sleeping[slot], __ATOMIC_ACQUIRE) == WOKEN) return true;
        pause_once();
    }
    return false;
}

/* Whether it was woken while awake. Waiting so pays where the waker runs on another CPU and is quick. */
static bool stay_awake(uint32_t slot) {
    uint32_t limit = patience[slot] < AWAKE_LEAST ? AWAKE_LEAST : patience[slot];
    if (limit < AWAKE_TRIAL && trial_in[slot]-- == 0) {
        bool pays = woken_within(slot, AWAKE_TRIAL);
        uint32_t every = trial_every[slot];
        trial_every[slot] = pays || every < TRIAL_LEAST ? TRIAL_LEAST : every < TRIAL_MOST ? every * 2 : TRIAL_MOST;
        trial_in[slot] = trial_every[slot];
        if (pays) patience[slot] = AWAKE_TRIAL;
        return pays;
    }
    bool woken = woken_within(slot, limit);
    patience[slot] = !woken ? limit / 2 : limit < AWAKE_MOST ? limit * 2 : limit;
    return woken;
}

void libos_sleep(uint32_t slot, uint64_t until) {
    if (change(slot, RUNNING, AWAKE) && !stay_awake(slot) && change(slot, AWAKE, ASLEEP)) {
        uint64_t now = until == UINT64_MAX ? 0 : libos_clock_now(1);
        if (now < until) libos_host_park(slot, until == UINT64_MAX ? -1 : (int64_t)(until - now));
    }
    __atomic_store_n(&sleeping[slot], RUNNING, __ATOMIC_RELEASE);
}

bool libos_falls_asleep(uint32_t slot) { return change(slot, RUNNING, ASLEEP); }

void libos_wakes_up(uint32_t slot) { __atomic_store_n(&sleeping[slot], RUNNING, __ATOMIC_RELEASE); }

bool libos_start_thread(uint32_t slot, const nsgx_registers *registers, uint64_t stack, uint64_t fs,
                        const void *vectors) {
    if (slot >= LIBOS_THREADS) libos_die("a thread that cannot be", slot);
    struct start *start = &starts[slot];
    uint32_t before = __atomic_load_n(&start->state, __ATOMIC_ACQUIRE);
    if (before != FREE && before != IDLE) libos_die("a thread was started twice", slot);
    start->registers = *registers;
    start->registers.rax = 0;
    if (stack != 0) start->registers.rsp = stack;
    start->fs = fs;
    start->vectors = vectors;
    __asm__ volatile("stmxcsr %0" : "=m"(start->mxcsr));
    uint32_t expected = IDLE;
    if (__atomic_compare_exchange_n(&start->state, &expected, STARTED, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        wake(slot);
        return true;
    }
    sleeping[slot] = RUNNING;
    __atomic_store_n(&start->state, STARTED, __ATOMIC_RELEASE);
    if (libos_host_thread(slot)) return true;
    expected = STARTED;
    /* A host that says no and comes in with it all the same has a thread. */
    return !__atomic_compare_exchange_n(&start->state, &expected, FREE, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

void libos_keep_registers(uint32_t slot, const nsgx_registers *registers) {
    if (kept_count[slot] == KEPT) libos_die("children of children without end", slot);
    kept[slot][kept_count[slot]++] = *registers;
}

void libos_kept_registers(uint32_t slot, nsgx_registers *to) {
    if (kept_count[slot] == 0) libos_die("a child without a parent", slot);
    *to = kept[slot][--kept_count[slot]];
}

/* Whether the thread of a slot begins here: of two that come in for it, one. */
static bool begins(struct start *start) {
    uint32_t expected = STARTED;
    return __atomic_compare_exchange_n(&start->state, &expected, TAKEN, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* Waits for another thread to begin in the slot; false when none does. */
static bool another(uint32_t slot, struct start *start) {
    uint64_t until = libos_clock_now(1) + IDLE_NS;
    while (__atomic_load_n(&start->state, __ATOMIC_ACQUIRE) == IDLE) {
        uint32_t expected = IDLE;
        libos_sleep(slot, until);
        if (libos_clock_now(1) >= until &&
            __atomic_compare_exchange_n(&start->state, &expected, FREE, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
            return false;
    }
    return begins(start);
}

bool libos_run_thread(uint32_t slot) {
    if (slot >= LIBOS_THREADS || !begins(&starts[slot])) return false;
    struct start *start = &starts[slot];
    libos_set_slot(slot);
    do {
        libos_thread_known(slot);
        if (libos_begin(slot)) {
            if (start->vectors != NULL) libos_restore_vectors(start->vectors);
            libos_enter_thread(&start->registers, start->fs, start->mxcsr);
        }
        libos_lock();
        w2c_core_gone(libos_core(), slot);
        __atomic_store_n(&start->state, IDLE, __ATOMIC_RELEASE);
        libos_unlock();
    } while (another(slot, start));
    return true;
}
