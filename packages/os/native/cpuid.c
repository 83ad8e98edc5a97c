/* CPUID. */
#include "nsgx_os.h"
#include <cpuid.h>

/* Writes EAX, EBX, ECX and EDX. Leaves that the processor does not have give what it gives for them. */
EXPORT int64_t nsgx_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t *out) {
  __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
  return 0;
}
