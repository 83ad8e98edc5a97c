/* What the native driver of a thread answers itself, against a thread whose exits are written down (native-host/drive.c). */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE, EEXIT, AEX, ENTRY_FAILED, LOST };
#define EENTER 2u
#define ERESUME 3u
#define EXCEPT ((uint64_t)-3)
#define RETURNED ((uint64_t)-1)
#define PF(code) (14ull | (uint64_t)(code) << 32)
#define WRITE_ABSENT PF(6)

struct drive {
    uint64_t context, enter, gate, page, function, rdi, rsi, untouched, offering, offered;
};

struct exit {
    uint32_t kind;
    uint64_t rdi, rsi;
};

int64_t nsgx_lh_drive(uint64_t argument);

static uint8_t page[4096] __attribute__((aligned(4096)));
static const struct exit *exits;
static struct {
    uint32_t function;
    uint64_t rdi, rsi;
} entries[16];
static unsigned entered;

static uint32_t enter(uint64_t gate, uint32_t function, uint64_t rdi, uint64_t rsi) {
    (void)gate;
    entries[entered].function = function;
    entries[entered].rdi = rdi;
    entries[entered].rsi = rsi;
    struct exit now = exits[entered++];
    memcpy(page + 72, &now.rdi, 8);
    memcpy(page + 80, &now.rsi, 8);
    return now.kind;
}

static struct host host;
static struct {
    struct host *host;
    uint64_t call;
} context = {&host, 11};
static uint32_t untouched = 1;
static struct drive d;

static int64_t run(const struct exit *script, uint64_t function, uint64_t offering) {
    exits = script;
    entered = 0;
    d = (struct drive){(uint64_t)&context, (uint64_t)enter, 1, (uint64_t)page, function, 7, 8, (uint64_t)&untouched, offering, 0};
    return nsgx_lh_drive((uint64_t)&d);
}

#define CHECK(what)                                                  \
    do {                                                             \
        if (!(what)) {                                               \
            printf("line %d: %s\n", __LINE__, #what);                \
            exit(1);                                                 \
        }                                                            \
    } while (0)

int main(void) {
    /* Offered, taken, and the thread goes on; the next page as well. */
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x5008}, {EEXIT, RETURNED, 0}, {AEX, WRITE_ABSENT, 0x6010},
                              {EEXIT, RETURNED, 0}, {LOST, 0, 0}}, EENTER, 0) == LOST);
    CHECK(entered == 5 && d.offered == 2 && d.offering == 0);
    CHECK(entries[1].function == EENTER && entries[1].rdi == EXCEPT && entries[2].function == ERESUME);
    CHECK(d.function == ERESUME);

    /* Not taken: the access faults again, and then it is Node's. */
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x5000}, {EEXIT, RETURNED, 13}, {AEX, WRITE_ABSENT, 0x5ff8}}, EENTER, 0) == AEX);
    CHECK(entered == 3 && d.offering == 0 && d.function == ERESUME);

    /* What the driver may have to bring, or the enclave has to be asked about: reads, rights, other exceptions, interrupts. */
    const uint64_t others[] = {PF(4), PF(7), PF(0x8006), 6, 32, 13 | 2ull << 32};
    for (unsigned i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(run((struct exit[]){{AEX, others[i], 0x5000}}, EENTER, 0) == AEX);
        CHECK(entered == 1 && d.offered == 0 && d.function == EENTER && d.rdi == 7 && d.rsi == 8);
    }
    untouched = 0;
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x5000}}, EENTER, 0) == AEX && entered == 1);
    untouched = 1;

    /* An exit in between is Node's, and the offer goes on when the thread is resumed. */
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x5000}, {AEX, 32, 0}}, EENTER, 0) == AEX && d.offering == 1);
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x9000}}, ERESUME, 1) == AEX && d.offering == 1 && entered == 1);
    CHECK(run((struct exit[]){{EEXIT, RETURNED, 0}, {EEXIT, RETURNED, 5}}, ERESUME, 1) == EEXIT && d.offering == 0);
    CHECK(entered == 2 && entries[1].function == ERESUME);
    CHECK(run((struct exit[]){{EEXIT, 11, 0}}, ERESUME, 1) == EEXIT && entered == 1);

    /* An entry that is refused is told as it was. */
    CHECK(run((struct exit[]){{AEX, WRITE_ABSENT, 0x5000}, {ENTRY_FAILED, PF(4), 0}}, EENTER, 0) == ENTRY_FAILED);
    CHECK(d.function == EENTER && d.rdi == EXCEPT && d.offering == 1);

    /* A return without an offer is a return. */
    CHECK(run((struct exit[]){{EEXIT, RETURNED, 0}}, EENTER, 0) == EEXIT && entered == 1);
    puts("passed");
    return 0;
}
