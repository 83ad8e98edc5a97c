/* Exercises every part of the trusted runtime. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nsgx_interface.h"

void nsgx_aes128_cmac(const uint8_t key[16], const void *data, size_t blocks, uint8_t mac[16]);

static nsgx_bytes none(void) { return (nsgx_bytes){(const uint8_t *)"", 0}; }

nsgx_bytes gcm_encrypt(nsgx_bytes key, nsgx_bytes iv, nsgx_bytes aad, nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(data.length + 16);
    if (out == NULL || iv.length != 12) return none();
    memcpy(out, data.data, data.length);
    if (!nsgx_gcm_encrypt(key.data, key.length, iv.data, aad.data, aad.length, out, data.length, out + data.length)) {
        nsgx_fail(1);
        return none();
    }
    return (nsgx_bytes){out, data.length + 16};
}

nsgx_bytes gcm_decrypt(nsgx_bytes key, nsgx_bytes iv, nsgx_bytes aad, nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(data.length);
    if (out == NULL || iv.length != 12 || data.length < 16) return none();
    size_t length = data.length - 16;
    memcpy(out, data.data, length);
    if (!nsgx_gcm_decrypt(key.data, key.length, iv.data, aad.data, aad.length, out, length, data.data + length)) {
        for (size_t i = 0; i < length; i++)
            if (out[i] != 0) nsgx_abort();
        nsgx_fail(2);
        return none();
    }
    return (nsgx_bytes){out, length};
}

nsgx_bytes sha256(nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(32);
    nsgx_sha256(data.data, data.length, out);
    return (nsgx_bytes){out, 32};
}

nsgx_bytes hmac(nsgx_bytes key, nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(32);
    nsgx_hmac_sha256(key.data, key.length, data.data, data.length, out);
    return (nsgx_bytes){out, 32};
}

nsgx_bytes hkdf(nsgx_bytes secret, nsgx_bytes salt, nsgx_bytes info, uint32_t length) {
    uint8_t *out = nsgx_call_alloc(length);
    nsgx_hkdf_sha256(secret.data, secret.length, salt.data, salt.length, info.data, info.length, out, length);
    return (nsgx_bytes){out, length};
}

nsgx_bytes cmac(nsgx_bytes key, nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(16);
    nsgx_aes128_cmac(key.data, data.data, data.length / 16, out);
    return (nsgx_bytes){out, 16};
}

nsgx_bytes random_bytes(uint32_t length) {
    uint8_t *out = nsgx_call_alloc(length);
    if (out != NULL) nsgx_random(out, length);
    return (nsgx_bytes){out, length};
}

nsgx_string formats(void) {
    char *out = nsgx_call_alloc(256);
    int length = snprintf(out, 256, "%d|%5d|%-5d|%05d|%u|%x|%X|%08lx|%s|%.2s|%c|%%|%p|%zu|%ld", -42, 7, 7, -7, 4000000000u,
                          0xbeefu, 0xbeefu, 0x1234ul, "text", "text", 'z', (void *)0x10, (size_t)99, -5000000000l);
    char small[4];
    int wanted = snprintf(small, sizeof small, "%s", "longer");
    snprintf(out + length, 256 - (size_t)length, "|%s|%d", small, wanted);
    return nsgx_text(out);
}

uint64_t heap_stress(uint64_t seed, uint64_t rounds) {
    enum { SLOTS = 32 };
    static uint8_t *slots[SLOTS];
    static size_t sizes[SLOTS];
    size_t before = nsgx_heap_used();
    for (uint64_t round = 0; round < rounds; round++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        unsigned slot = (unsigned)(seed >> 33) % SLOTS;
        size_t size = (size_t)(seed >> 40) % 3000;
        if (slots[slot] != NULL)
            for (size_t i = 0; i < sizes[slot]; i++)
                if (slots[slot][i] != (uint8_t)(slot + 1)) nsgx_abort();
        if (slots[slot] == NULL) {
            slots[slot] = seed >> 63 ? calloc(1, size) : malloc(size);
            if (seed >> 63)
                for (size_t i = 0; i < size; i++)
                    if (slots[slot][i] != 0) nsgx_abort();
        } else if (seed >> 62 & 1) {
            uint8_t *moved = realloc(slots[slot], size);
            if (moved == NULL) continue;
            slots[slot] = moved;
        } else {
            free(slots[slot]);
            slots[slot] = NULL;
            continue;
        }
        if (slots[slot] == NULL || ((uintptr_t)slots[slot] & 15) != 0) continue;
        sizes[slot] = size;
        memset(slots[slot], (int)slot + 1, size);
    }
    for (int slot = 0; slot < SLOTS; slot++) {
        free(slots[slot]);
        slots[slot] = NULL;
    }
    void *all = malloc(nsgx_heap_size() / 2);
    if (all == NULL) nsgx_abort();
    free(all);
    if (malloc(nsgx_heap_size()) != NULL || malloc(SIZE_MAX) != NULL || calloc(SIZE_MAX / 2, 3) != NULL) nsgx_abort();
    return nsgx_heap_used() - before;
}

void double_free(void) {
    void *block = malloc(32), *other = malloc(32);
    free(block);
    free(block);
    free(other);
}

void heap_overflow(void) {
    uint8_t *block = malloc(32), *next = malloc(32);
    memset(block, 0x41, 48);
    free(next);
    free(block);
}

void stack_smash(uint32_t length) {
    char room[16];
    volatile char *at = room;
    for (uint32_t i = 0; i < length; i++) at[i] = 'A';
}

uint64_t stack_overflow(uint64_t depth) {
    volatile uint8_t room[1024];
    room[depth % sizeof room] = 1;
    if (depth == 0) return room[0];
    return stack_overflow(depth - 1) + room[1];
}

uint32_t recurse(uint32_t depth) {
    uint32_t below = 0;
    if (depth == 0) return 1;
    nsgx_status status = again(depth - 1, &below);
    if (status != NSGX_OK) nsgx_fail(status);
    return below + 1;
}

static _Thread_local uint64_t counter = 7;
static _Thread_local uint8_t zeros[5000];

uint64_t tls_counter(void) {
    if (zeros[4999] != counter - 7) nsgx_abort();
    zeros[4999]++;
    return counter++;
}

static const char *const table[] = {"zero", "one", "two"};

nsgx_string table_entry(uint32_t index) { return nsgx_text(index < 3 ? table[index] : "none"); }

nsgx_bytes bytes_of(uint32_t length) {
    uint8_t *out = nsgx_call_alloc(length);
    if (out == NULL) return none();
    for (uint32_t i = 0; i < length; i++) out[i] = (uint8_t)(i * 7);
    return (nsgx_bytes){out, length};
}

nsgx_string all_types(int32_t a, uint32_t b, int64_t c, uint64_t d, double e, bool f, nsgx_string g, nsgx_bytes h) {
    char *out = nsgx_call_alloc(512);
    snprintf(out, 512, "%d %u %ld %lu %ld %d %.*s %zu", a, b, c, d, (long)(e * 1000), f, (int)g.length, g.data, h.length);
    return nsgx_text(out);
}

static _Thread_local bool expecting;
static _Thread_local nsgx_exception seen;

static nsgx_handled handler(nsgx_exception *exception) {
    if (exception->vector == NSGX_VECTOR_BP) {
        __asm__ volatile("pxor %%xmm7, %%xmm7" ::: "xmm7");
        return NSGX_CONTINUE;
    }
    if (!expecting || exception->vector != NSGX_VECTOR_PF) return NSGX_PASS;
    expecting = false;
    memcpy(&seen, exception, sizeof seen);
    exception->registers.rip += 3; /* the load below */
    return NSGX_CONTINUE;
}

static void install(void) {
    static bool installed;
    if (!installed) installed = nsgx_on_exception(handler);
}

nsgx_string read_guarded(uint64_t address) {
    char *out = nsgx_call_alloc(128);
    install();
    expecting = true;
    __asm__ volatile("mov (%0), %%rax" : : "b"(address) : "rax", "memory");
    snprintf(out, 128, "vector %u type %u code %x address %lx", seen.vector, seen.type, seen.error_code, seen.address);
    return nsgx_text(out);
}

/* General and vector registers and flags across an exception and its handler. */
bool registers_survive(uint32_t rounds) {
    install();
    for (uint32_t i = 0; i < rounds; i++) {
        uint64_t bad = 0, mark = 0x1122334455667788u + i;
        __asm__ volatile(
            "movq %1, %%xmm7\n mov %1, %%r8\n mov %1, %%r12\n mov %1, -64(%%rsp)\n"
            "stc\n int3\n"
            "jc 1f\n or $1, %0\n 1:\n"
            "movq %%xmm7, %%rax\n cmp %1, %%rax\n je 2f\n or $2, %0\n 2:\n"
            "cmp %1, %%r8\n je 3f\n or $4, %0\n 3:\n"
            "cmp %1, %%r12\n je 4f\n or $8, %0\n 4:\n"
            "cmp %1, -64(%%rsp)\n je 5f\n or $16, %0\n 5:\n"
            : "+b"(bad)
            : "c"(mark)
            : "rax", "r8", "r12", "xmm7", "memory", "cc");
        if (bad != 0) return false;
    }
    return true;
}

uint32_t report_checks(void) {
    nsgx_report made = *nsgx_self();
    uint32_t result = nsgx_report_valid(&made) ? 1 : 0;
    made.report_data[5] ^= 1;
    result |= nsgx_report_valid(&made) ? 0 : 2;
    return result;
}

bool is_outside(uint64_t address, uint64_t length) { return nsgx_is_outside((const void *)address, length); }

nsgx_bytes seal_with(uint32_t policy, nsgx_bytes data) {
    uint8_t *out = nsgx_call_alloc(data.length + NSGX_SEAL_OVERHEAD);
    nsgx_status status = nsgx_seal((uint16_t)policy, "bound", 5, data.data, data.length, out);
    if (status != NSGX_OK) nsgx_fail(status);
    return (nsgx_bytes){out, data.length + NSGX_SEAL_OVERHEAD};
}

nsgx_bytes unseal_with(nsgx_bytes aad, nsgx_bytes blob) {
    uint8_t *out = nsgx_call_alloc(blob.length + 1);
    size_t length;
    nsgx_status status = nsgx_unseal(aad.data, aad.length, blob.data, blob.length, out, &length);
    if (status != NSGX_OK) nsgx_fail(status);
    return (nsgx_bytes){out, length};
}

nsgx_bytes ask_bytes(nsgx_bytes request) {
    nsgx_bytes answer;
    nsgx_status status = give_bytes(request, &answer);
    if (status != NSGX_OK) nsgx_fail(status);
    return answer;
}

double float_after_ocall(void) {
    volatile double third = 1.0 / 3.0;
    nsgx_bytes answer;
    give_bytes(none(), &answer);
    return third + (double)answer.length;
}

uint64_t address_of_heap(void) { return (uint64_t)nsgx_call_alloc(64); }

uint32_t fail_with(uint32_t code) {
    nsgx_fail(code);
    return 5;
}

/* The author's own policy: no reports over data that begin with 0xff. */
bool nsgx_allow_report(const nsgx_targetinfo *target, const uint8_t data[64]) {
    (void)target;
    return data[0] != 0xff;
}
