/* CPUID of the program where the processor makes it fault. The values are the host's: they choose code paths, nothing
 * else rests on them. Leaf 0xD is cut to what the enclave may use by the processor itself (XGETBV). */
#include "libos.h"

struct entry {
    uint32_t leaf, subleaf, value[4];
};
#define MAX_ENTRIES 64

static struct entry entries[MAX_ENTRIES];
static uint32_t entry_count;

void libos_cpuid_start(const uint8_t *table, uint32_t count) {
    entry_count = count > MAX_ENTRIES ? MAX_ENTRIES : count;
    memcpy(entries, table, entry_count * sizeof *entries);
}

void libos_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
    for (int i = 0; i < 4; i++) out[i] = 0;
    for (uint32_t i = 0; i < entry_count; i++)
        if (entries[i].leaf == leaf && (entries[i].subleaf == subleaf || entries[i].subleaf == UINT32_MAX)) {
            for (int k = 0; k < 4; k++) out[k] = entries[i].value[k];
            return;
        }
}
