/*
 * Entering an enclave's thread from a thread of its own: the call out for a request is answered here, and writes to pages
 * that are not there are offered to the enclave, so that they cost no turn of the event loop; everything else ends the entry
 * and is Node's. Layout of the gate's response line, of the
 * structure of a call out and of its message: packages/cpu, packages/sdk/src/thread.ts, packages/edl.
 */
#include "host.h"

#include <sched.h>
#include <string.h>
#include <x86intrin.h>

#define EXIT_EEXIT 1u
#define EXIT_AEX 2u
#define EENTER 2u
#define ERESUME 3u
#define RETURNED ((uint32_t)-1)
#define ORET ((uint64_t)-2)
#define EXCEPT ((uint64_t)-3)
#define VECTOR_PF 14u
#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_SGX 0x8000u
#define PAGE 4096ull
#define RESPONSE_RDI 72
#define RESPONSE_RSI 80

typedef uint32_t (*enter_function)(uint64_t gate, uint32_t function, uint64_t rdi, uint64_t rsi);

/* struct of packages/sdk/src/gates.ts (NativeDriver). */
struct drive {
    uint64_t context, enter, gate, page, function, rdi, rsi;
    uint64_t untouched; /* address of a word that is not 0 while the driver has none of the pages that are absent; or 0 */
    uint64_t offering;  /* the enclave has been offered an exception and has not said whether it takes it */
    uint64_t offered;   /* how often */
};

/* What is given to the driver as its context. */
struct context {
    struct host *host;
    uint64_t call; /* number of the call out that asks for service */
};

struct call_out {
    uint64_t request, request_length, response, capacity, response_length, status;
};

static cpu_set_t process_cpus;

__attribute__((constructor)) static void remember_cpus(void) {
    if (sched_getaffinity(0, sizeof process_cpus, &process_cpus) != 0) memset(&process_cpus, 0xff, sizeof process_cpus);
}

static bool in_ram(const struct host *h, uint64_t at, uint64_t length) {
    return at % 8 == 0 && at - h->ram <= h->ram_length && length <= h->ram_length - (at - h->ram);
}

/* Keeps the thread where it is for a while, then lets the scheduler have its way for a few calls: a thread that sleeps as
 * often as this one would otherwise be woken on whatever CPU is idle, which costs more than the call. */
#define STAY_CYCLES 50000000u
#define LOOSE_CALLS 32u

struct place {
    uint64_t since;
    uint32_t calls;
};

static void settle(struct place *place) {
    if (place->calls > 0 && --place->calls == 0) {
        cpu_set_t one;
        CPU_ZERO(&one);
        int cpu = sched_getcpu();
        if (cpu >= 0 && cpu < CPU_SETSIZE) CPU_SET((unsigned)cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        place->since = __rdtsc();
    } else if (place->calls == 0 && __rdtsc() - place->since > STAY_CYCLES) {
        sched_setaffinity(0, sizeof process_cpus, &process_cpus);
        place->calls = LOOSE_CALLS;
    }
}

static void next(struct drive *d, uint64_t function, uint64_t rdi, uint64_t rsi) {
    d->function = function;
    d->rdi = rdi;
    d->rsi = rsi;
}

/*
 * A write to a page that is not there: the enclave accepts it, and what the driver has to add for that it is asked for then.
 * Not twice at one page: what the enclave does not take is Node's. False when it is something else.
 */
static bool offer(struct drive *d, uint64_t exit, uint64_t *latest) {
    uint32_t code = (uint32_t)(exit >> 32);
    uint64_t page = *(volatile uint64_t *)(d->page + RESPONSE_RSI) & ~(PAGE - 1);
    if ((exit & 0xffff) != VECTOR_PF || (code & (PF_PRESENT | PF_WRITE | PF_SGX)) != PF_WRITE || page == *latest) return false;
    if (d->untouched == 0 || __atomic_load_n((const uint32_t *)d->untouched, __ATOMIC_ACQUIRE) == 0) return false;
    *latest = page;
    d->offering = 1;
    d->offered++;
    next(d, EENTER, EXCEPT, 0);
    return true;
}

/* Answers the call out that asks for service; false when it is another, or wrong. */
static bool answer(struct drive *d, const struct context *context, uint64_t exit) {
    struct host *h = context->host;
    uint64_t at = *(volatile uint64_t *)(d->page + RESPONSE_RSI);
    if (exit != context->call || !in_ram(h, at, sizeof(struct call_out))) return false;
    volatile struct call_out *call = (volatile struct call_out *)at;
    uint64_t request = call->request;
    if (call->request_length != 8 || !in_ram(h, request, 8)) return false;
    uint64_t slot = *(volatile uint64_t *)request;
    if (slot >= LIBOS_CHANNELS) return false;
    /* The program is over, and its channels may go at any time: Node refuses the call. */
    if (atomic_load(&h->stopping) != 0) return false;
    host_called(h, &h->slots[slot]);
    call->response_length = 0;
    call->status = 0;
    next(d, EENTER, ORET, at);
    return true;
}

EXPORT int64_t nsgx_lh_drive(uint64_t argument) {
    struct drive d = *(const struct drive *)argument;
    const struct context context = *(const struct context *)d.context;
    struct place place = {0, LOOSE_CALLS};
    uint64_t latest = (uint64_t)-1;
    for (;;) {
        settle(&place);
        uint32_t kind = ((enter_function)d.enter)(d.gate, (uint32_t)d.function, d.rdi, d.rsi);
        uint64_t exit = *(volatile uint64_t *)(d.page + RESPONSE_RDI);
        if (d.offering != 0 && kind == EXIT_EEXIT && (uint32_t)exit == RETURNED) {
            /* Whether it takes it or not: an access that is not possible yet faults again. */
            d.offering = 0;
            next(&d, ERESUME, 0, 0);
        } else if (d.offering != 0 || (kind == EXIT_AEX ? !offer(&d, exit, &latest)
                                                        : kind != EXIT_EEXIT || !answer(&d, &context, exit))) {
            *(struct drive *)argument = d;
            return kind;
        }
    }
}

EXPORT uint64_t nsgx_lh_context_bytes(void) { return sizeof(struct context); }
