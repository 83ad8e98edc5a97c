/* The page that a floor measurement shares with its partner process. Every cache line has one writer. */
#ifndef NSGX_FLOOR_H
#define NSGX_FLOOR_H

#include <stdint.h>

#define FLOOR_END 0xffffffffu

struct floor_page {
  _Alignas(64) uint32_t request;  /* host; FLOOR_END ends the partner */
  uint32_t spin_cycles;           /* host: how long the partner stays awake; 0: it sleeps at once */
  _Alignas(64) uint32_t response; /* partner */
  uint32_t asleep;                /* partner: 1 while it may sleep */
  _Alignas(64) uint64_t cycles;   /* partner, for traps: cycles of one round */
};

#endif
