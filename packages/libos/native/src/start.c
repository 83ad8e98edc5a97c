/* The ECALL that runs the program, and its first stack (System V ABI, x86-64 supplement, "Process Initialization"). */
#include "libos.h"
#include "nsgx_crypto.h"
#include "nsgx_interface.h"
#include "policy.h"
#include "task.h"
#include "transport.h"

enum {
    AT_NULL, AT_PHDR = 3, AT_PHENT, AT_PHNUM, AT_PAGESZ, AT_BASE, AT_FLAGS, AT_ENTRY, AT_UID = 11, AT_EUID, AT_GID, AT_EGID,
    AT_PLATFORM, AT_HWCAP, AT_CLKTCK, AT_SECURE = 23, AT_RANDOM = 25, AT_HWCAP2, AT_EXECFN = 31
};
#define HWCAP2_FSGSBASE 2
#define MAX_STRINGS 4096
#define EXIT_NOT_STARTED 126

bool libos_clock_start(uint64_t ticks_per_second);

struct stack {
    uint64_t low, at;
};

static uint64_t push(struct stack *stack, const void *data, size_t length) {
    if (stack->at - stack->low < length + 4096) libos_die("arguments and environment do not fit the stack", length);
    stack->at -= length;
    memcpy((void *)stack->at, data, length);
    return stack->at;
}

/* Strings that end in a zero byte each; returns their number and where each lies. */
static size_t push_strings(struct stack *stack, nsgx_bytes strings, uint64_t *where, size_t limit) {
    size_t count = 0;
    if (strings.length == 0) return 0;
    if (strings.data[strings.length - 1] != 0) libos_die("strings without an end", strings.length);
    uint64_t at = push(stack, strings.data, strings.length);
    for (size_t i = 0; i < strings.length; count++) {
        if (count == limit) libos_die("too many arguments or variables", count);
        where[count] = at + i;
        while (strings.data[i] != 0) i++;
        i++;
    }
    return count;
}

int64_t libos_start_program(nsgx_bytes argv, nsgx_bytes envp) {
    static uint64_t words[2 * MAX_STRINGS + 64];
    const struct libos_boot *boot = libos_boot();
    uint64_t base = (uint64_t)__image_base;
    struct stack stack = {base + boot->stack_start, base + libos_places()->stack_end};
    /* Pages that are there from the start are not measured; the others come when they are used, up to the limit. */
    if (!libos_want_zero(stack.low, boot->stack_size)) libos_die("a stack without pages", boot->stack_size);

    uint8_t random[16];
    nsgx_random(random, sizeof random);
    stack.at -= 8;
    uint64_t random_at = push(&stack, random, sizeof random);
    uint64_t platform = push(&stack, "x86_64", 7);
    size_t n = 1;
    size_t argc = push_strings(&stack, argv, words + n, MAX_STRINGS);
    if (argc == 0) libos_die("no arguments", 0);
    words[0] = argc;
    uint64_t name = words[1];
    n += argc;
    words[n++] = 0;
    n += push_strings(&stack, envp, words + n, MAX_STRINGS);
    words[n++] = 0;
    const uint64_t vector[][2] = {
        {AT_PHDR, base + boot->headers}, {AT_PHENT, 56}, {AT_PHNUM, boot->header_count}, {AT_PAGESZ, 4096},
        {AT_BASE, boot->interpreter == 0 ? 0 : base + boot->interpreter}, {AT_FLAGS, 0},
        {AT_ENTRY, base + boot->program_entry}, {AT_UID, 0}, {AT_EUID, 0}, {AT_GID, 0}, {AT_EGID, 0}, {AT_SECURE, 0},
        {AT_PLATFORM, platform}, {AT_HWCAP2, HWCAP2_FSGSBASE}, {AT_CLKTCK, 100}, {AT_RANDOM, random_at},
        {AT_EXECFN, name}, {AT_NULL, 0},
    };
    for (size_t i = 0; i < sizeof vector / sizeof *vector; i++) {
        words[n++] = vector[i][0];
        words[n++] = vector[i][1];
    }
    stack.at = (stack.at & ~15ull) - (n & 1) * 8;
    push(&stack, words, n * 8);
    return libos_enter_user(base + boot->entry, stack.at);
}

int32_t run(nsgx_bytes argv, nsgx_bytes envp, nsgx_bytes host) {
    static volatile uint32_t used;
    struct libos_host facts;
    if (__atomic_exchange_n(&used, 1, __ATOMIC_ACQ_REL) != 0 || libos_boot()->magic != LIBOS_BOOT_MAGIC ||
        host.length < sizeof facts) {
        nsgx_fail(EXIT_NOT_STARTED);
        return EXIT_NOT_STARTED;
    }
    memcpy(&facts, host.data, sizeof facts);
    if (facts.cpuid_count > (host.length - sizeof facts) / 24 || !libos_clock_start(facts.ticks_per_second)) {
        nsgx_fail(EXIT_NOT_STARTED);
        return EXIT_NOT_STARTED;
    }
    if (!libos_transport_start()) {
        nsgx_fail(EXIT_NOT_STARTED);
        return EXIT_NOT_STARTED;
    }
    if (!libos_policy_apply(argv, &envp)) {
        nsgx_fail(EXIT_NOT_STARTED);
        return EXIT_NOT_STARTED;
    }
    libos_cpuid_start(host.data + sizeof facts, facts.cpuid_count);
    libos_exceptions_start();
    libos_kernel_start(&facts);
    if (!libos_kernel_mount()) {
        nsgx_fail(EXIT_NOT_STARTED);
        return EXIT_NOT_STARTED;
    }
    return (int32_t)libos_start_program(argv, envp);
}

int32_t thread(uint32_t slot) {
    if (!libos_run_thread(slot)) nsgx_fail(EXIT_NOT_STARTED);
    return 0;
}
