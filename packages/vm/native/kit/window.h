/* What root in a guest can do to the window and to the machine's physical addresses, from user space. */
#ifndef NSGX_KIT_WINDOW_H
#define NSGX_KIT_WINDOW_H
#include <stdint.h>

#include "layout.h"

#define WINDOW 0x8000000ul
#define WINDOW_BYTES 0x4000000ul
#define DOORBELL 0x1000
#define RELAY 0x2000
#define VCPUS 0x10000
#define VCPU_STRIDE 0x2000
#define LAST_VCPU 15
#define SGX_PROTOCOL 0x4e53u

struct call {
  uint32_t protocol, number;
  uint64_t rcx, rdx, r8, r9;
  uint64_t rax; /* the answer */
};

extern uint8_t *window;
extern int memory_fd;

/* Exits when there is no /dev/mem or no window. */
void open_window(void);
/* Makes a call on a vCPU. 0: no answer within `ms`. */
int make_call(unsigned vcpu, struct call *call, unsigned ms);
uint64_t next_random(uint64_t *state);

#endif
