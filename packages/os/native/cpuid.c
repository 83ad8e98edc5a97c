/* CPUID and XGETBV. */
#include "nsgx_os.h"
#include <cpuid.h>

/* Writes EAX, EBX, ECX and EDX. Leaves that the processor does not have give what it gives for them. */
EXPORT int64_t nsgx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *out) {
  __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
  return 0;
}

/* XCR0. Only where CPUID.1:ECX.OSXSAVE says so: #UD otherwise. */
EXPORT uint32_t nsgx_enabled_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
