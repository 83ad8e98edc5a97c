/* Calls into an enclave with the protocol of Intel's SDK in a loop without JavaScript, as an untrusted runtime in C makes them. */
#include <stdint.h>
#include <x86intrin.h>

#define EXPORT __attribute__((visibility("default")))

/* Offsets in the gate page, and kinds of exits: packages/cpu/src/layout/gate.ts. */
enum { RESPONSE_RDI = 72, RESPONSE_RSI = 80, EENTER = 2, EXIT_KIND_EEXIT = 1 };
/* RDI of EENTER after an OCALL, and of the EEXIT that ends a call. Source: Intel SGX SDK, rts_cmd.h (ECMD_ORET, OCMD_ERET). */
#define ECMD_ORET ((uint64_t)-2)
#define OCMD_ERET ((uint64_t)-1)

typedef uint32_t (*enter_fn)(uint64_t gate, uint32_t function, uint64_t rdi, uint64_t rsi);

static uint32_t ocall_left(uint32_t kind, const volatile uint64_t *rdi) {
  return kind == EXIT_KIND_EEXIT && *rdi != OCMD_ERET;
}

/*
 * Makes `count` calls of one ECALL; every OCALL is answered with success at once. Writes the cycles of each call; gives
 * how many ended with SGX_SUCCESS before one did not.
 */
EXPORT uint32_t nsgx_calls_time(uint64_t enter, uint64_t gate, uint64_t page, int64_t index, uint64_t operand,
                                uint32_t count, uint64_t *cycles) {
  enter_fn go = (enter_fn)enter;
  volatile uint64_t *rdi = (volatile uint64_t *)(page + RESPONSE_RDI), *rsi = (volatile uint64_t *)(page + RESPONSE_RSI);
  for (uint32_t i = 0; i < count; i++) {
    uint64_t start = __rdtsc();
    uint32_t kind = go(gate, EENTER, (uint64_t)index, operand);
    while (ocall_left(kind, rdi)) kind = go(gate, EENTER, ECMD_ORET, 0);
    cycles[i] = __rdtsc() - start;
    if (kind != EXIT_KIND_EEXIT || *rsi != 0) return i;
  }
  return count;
}

/*
 * Makes one call of an ECALL that makes OCALLs, and writes the cycles of each from one OCALL to the next, `count` of them
 * at most. Gives how many there were, or 0 when the call failed.
 */
EXPORT uint32_t nsgx_calls_ocalls(uint64_t enter, uint64_t gate, uint64_t page, int64_t index, uint64_t operand,
                                  uint32_t count, uint64_t *cycles) {
  enter_fn go = (enter_fn)enter;
  volatile uint64_t *rdi = (volatile uint64_t *)(page + RESPONSE_RDI), *rsi = (volatile uint64_t *)(page + RESPONSE_RSI);
  uint32_t found = 0, kind = go(gate, EENTER, (uint64_t)index, operand);
  while (ocall_left(kind, rdi)) {
    uint64_t start = __rdtsc();
    kind = go(gate, EENTER, ECMD_ORET, 0);
    if (found < count && ocall_left(kind, rdi)) cycles[found++] = __rdtsc() - start;
  }
  return kind == EXIT_KIND_EEXIT && *rsi == 0 ? found : 0;
}

/* A system call `count` times: number, six arguments, then its result and the cycles of all, as in probe.S. */
EXPORT void nsgx_calls_kernel(uint64_t call, uint32_t count) {
  uint64_t *c = (uint64_t *)call;
  register uint64_t r10 __asm__("r10") = c[4], r8 __asm__("r8") = c[5], r9 __asm__("r9") = c[6];
  uint64_t result = 0, start = __rdtsc();
  for (uint32_t i = 0; i < count; i++)
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(c[0]), "D"(c[1]), "S"(c[2]), "d"(c[3]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
  c[8] = __rdtsc() - start;
  c[7] = result;
}
