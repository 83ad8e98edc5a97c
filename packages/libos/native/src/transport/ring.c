/* Posting requests and waiting for their answers. All of a channel is the host's to change at any time. */
#include "transport.h"

#include "gate.h"
#include "later.h"
#include "leave.h"
#include "libos.h"
#include "task.h"

#define EIO 5

enum { RING, OCALL, GATE };

static uint8_t *channels;
static uint64_t transport, patience;
static uint32_t posted[LIBOS_CHANNELS];

_Static_assert(LIBOS_THREADS <= LIBOS_CHANNELS, "a channel for each thread");

static struct libos_channel *channel(void) {
    return (struct libos_channel *)(channels + (uint64_t)libos_slot() * LIBOS_CHANNEL_STRIDE);
}

static uint64_t ticks(void) {
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

bool libos_transport_start(void) {
    uint64_t facts[3];
    if (!libos_leave_for_facts(facts) || facts[0] % 64 != 0 || facts[1] > GATE) return false;
    if (!nsgx_is_outside((const void *)facts[0], (uint64_t)LIBOS_CHANNELS * LIBOS_CHANNEL_STRIDE)) return false;
    channels = (uint8_t *)facts[0];
    transport = facts[1];
    patience = facts[2];
    libos_later_start(transport != GATE);
    return true;
}

uint8_t *libos_io_data(void) { return (uint8_t *)channel() + LIBOS_CHANNEL_DATA; }

uint32_t libos_io_address(uint8_t to[LIBOS_ADDRESS_ROOM]) {
    struct libos_channel *c = channel();
    uint32_t length = *(volatile uint32_t *)&c->address_length;
    if (length > LIBOS_ADDRESS_ROOM) return 0;
    memcpy(to, c->address, length);
    return length;
}

void libos_io_put_address(const uint8_t *from, uint32_t length) {
    memcpy(channel()->address, from, length < LIBOS_ADDRESS_ROOM ? length : LIBOS_ADDRESS_ROOM);
}

static bool done(const struct libos_channel *c, uint32_t number) {
    return __atomic_load_n(&c->done, __ATOMIC_ACQUIRE) == number;
}

static bool left[LIBOS_CHANNELS];

static void leave(uint32_t slot) { left[slot] = libos_leave_for_io(slot); }

int64_t libos_io(uint32_t op, const uint64_t argument[6]) {
    int64_t result;
    if (transport == GATE && libos_gate_io(op, argument, &result)) return result;
    struct libos_channel *c = channel();
    uint32_t number = ++posted[libos_slot()];
    for (int i = 0; i < 6; i++) *(volatile uint64_t *)&c->argument[i] = argument[i];
    *(volatile uint32_t *)&c->op = op;
    __atomic_store_n(&c->posted, number, __ATOMIC_SEQ_CST);
    if (patience > 0 && __atomic_load_n(&c->attentive, __ATOMIC_SEQ_CST) != 0) {
        uint64_t start = ticks();
        while (!done(c, number) && ticks() - start < patience)
            for (int i = 0; i < 8; i++) __asm__ volatile("pause");
    }
    while (!done(c, number)) {
        left[libos_slot()] = true;
        libos_call_out(leave, libos_slot());
        if (!left[libos_slot()]) return -EIO;
    }
    return (int64_t) * (volatile int64_t *)&c->result;
}

int64_t libos_io_waiting(uint32_t op, const uint64_t argument[6]) {
    uint32_t slot = libos_slot();
    int64_t result = libos_falls_asleep(slot) ? libos_io(op, argument) : IO_WOKEN;
    libos_wakes_up(slot);
    return result;
}
