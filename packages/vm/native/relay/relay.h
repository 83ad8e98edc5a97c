/* The relay page of a window, as the guest's module and the monitor's side see it. Mirrored in src/relay.ts. */
#ifndef NSGX_RELAY_H
#define NSGX_RELAY_H
#include <stdint.h>

#define RELAY_BITMAP 0    /* u64[256]: one bit for each page of the window */
#define RELAY_SUMMARY 2048 /* u64[4]: one bit for each word of the bitmap */
#define RELAY_ASLEEP 2112 /* u32: the relay sleeps; a kick by the port is wanted */
#define RELAY_IRQ 3072    /* u32: counts what the guest is to look at */
#define RELAY_WORDS 256
#define PAGE_BYTES 4096ull
#endif
