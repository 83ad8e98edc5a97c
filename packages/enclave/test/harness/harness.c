/* Runs an enclave's pages in an ordinary process, for tests: EENTER, ERESUME, EEXIT, AEX, EREPORT and EGETKEY are
 * emulated in a signal handler. It protects nothing.
 *
 * harness PAGES SIZE SIGNER: PAGES holds records {u64 offset, u64 SECINFO flags, u64 length, data}; SIGNER stands for
 * MRSIGNER. Commands on stdin, one a line, answers on stdout; see main(). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <ucontext.h>
#include <unistd.h>

#include "bearssl.h"

#define BASE 0x200000000000ull
#define MAX_TCS 256
#define GPR (4096 - 184)
#define EXINFO (GPR - 16)
#define FRAME_FP EXINFO
#define POISON 0xbadc0ffee0ddf00dull

static uint64_t size, host_fs, host_gs;
static uint64_t tcs_at[MAX_TCS];
static int tcs_count;
static uint32_t cssa[MAX_TCS];
static int current = -1;
static uint8_t signer[32], mrenclave[32];
uint64_t host_stack_seen;
/* RSP of the next entry where it is not the harness's own stack. */
uint64_t arena_stack;

/* What happened at the latest leaving of the enclave. */
static struct {
    int aex; /* 0: EEXIT */
    uint64_t rdi, rsi;
    uint32_t vector;
    uint64_t rip;
    uint64_t dirty; /* registers that EEXIT left non-zero, or wrong RSP/RBP */
    uint64_t rsp;
} event;

extern uint8_t enter_trap[], enter_back[];

/* RAX = leaf, RBX = TCS, RCX = AEP, RDI, RSI: traps, and comes back at enter_back after EEXIT or AEX. */
__attribute__((noinline)) static void enter(uint64_t leaf, uint64_t tcs, uint64_t rdi, uint64_t rsi) {
    __asm__ volatile(
        "push %%rbp\n push %%rbx\n push %%r12\n push %%r13\n push %%r14\n push %%r15\n"
        "mov %0, %%rax\n mov %1, %%rbx\n mov %2, %%rdi\n mov %3, %%rsi\n"
        "mov %%rsp, host_stack_seen(%%rip)\n"
        "lea enter_back(%%rip), %%rcx\n"
        "cmpq $0, arena_stack(%%rip)\n je 1f\n mov arena_stack(%%rip), %%rsp\n 1:\n"
        ".globl enter_trap\nenter_trap:\n ud2\n"
        ".globl enter_back\nenter_back:\n cld\n"
        "mov host_stack_seen(%%rip), %%rsp\n"
        "pop %%r15\n pop %%r14\n pop %%r13\n pop %%r12\n pop %%rbx\n pop %%rbp\n"
        :
        : "r"(leaf), "r"(tcs), "r"(rdi), "r"(rsi)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1", "xmm2", "xmm3",
          "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
}

static const int GPR_ORDER[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                  REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};

static uint8_t *tcs_page(int i) { return (uint8_t *)(BASE + tcs_at[i]); }
static uint64_t field(int i, int at) { return *(uint64_t *)(tcs_page(i) + at); }
static uint8_t *frame(int i, uint32_t n) { return (uint8_t *)(BASE + field(i, 16) + n * 4096ull); }

static void cmac(const uint8_t key[16], const uint8_t *data, size_t blocks, uint8_t mac[16]) {
    br_aes_ct64_ctr_keys keys;
    br_aes_ct64_ctr_init(&keys, key, 16);
    uint8_t sub[16] = {0}, state[16] = {0}, out[16];
    br_aes_ct64_ctr_run(&keys, state, 0, sub, 16);
    uint8_t carry = sub[0] >> 7 ? 0x87 : 0;
    for (int i = 0; i < 15; i++) sub[i] = (uint8_t)(sub[i] << 1 | sub[i + 1] >> 7);
    sub[15] = (uint8_t)(sub[15] << 1) ^ carry;
    for (size_t b = 0; b < blocks; b++) {
        for (int i = 0; i < 16; i++) state[i] ^= data[b * 16 + i] ^ (b + 1 == blocks ? sub[i] : 0);
        memset(out, 0, 16);
        uint32_t counter = (uint32_t)state[12] << 24 | (uint32_t)state[13] << 16 | (uint32_t)state[14] << 8 | state[15];
        br_aes_ct64_ctr_run(&keys, state, counter, out, 16);
        memcpy(state, out, 16);
    }
    memcpy(mac, state, 16);
}

/* A key that depends on what the real leaf's depends on (not the manual's derivation). */
static void derive(const uint8_t *request, const uint8_t *identity, uint8_t key[16]) {
    static const uint8_t chip[16] = "harness chip key";
    uint8_t input[160] = {0};
    memcpy(input, request, 76);
    memcpy(input + 80, identity, 32);
    cmac(chip, input, 10, key);
}

static int emulate_egetkey(greg_t *g) {
    uint8_t *request = (uint8_t *)g[REG_RBX], *out = (uint8_t *)g[REG_RCX];
    uint16_t name, policy, svn;
    memcpy(&name, request, 2);
    memcpy(&policy, request + 2, 2);
    memcpy(&svn, request + 4, 2);
    if ((uintptr_t)request % 512 != 0 || (uintptr_t)out % 16 != 0) return 13;
    uint64_t code = name != 3 && name != 4 ? 256 : svn > 1 ? 64 : 0;
    if (code == 0) derive(request, name == 4 && (policy & 1) == 0 ? signer : mrenclave, out);
    g[REG_RAX] = (greg_t)code;
    g[REG_EFL] = code == 0 ? g[REG_EFL] & ~0x40 : g[REG_EFL] | 0x40;
    return -1;
}

static int emulate_ereport(greg_t *g) {
    uint8_t *target = (uint8_t *)g[REG_RBX], *data = (uint8_t *)g[REG_RCX], *out = (uint8_t *)g[REG_RDX];
    if ((uintptr_t)target % 512 != 0 || (uintptr_t)data % 128 != 0 || (uintptr_t)out % 512 != 0) return 13;
    uint8_t report[432] = {0}, request[512] = {0}, key[16];
    memset(report, 0x11, 16);
    uint64_t attributes[2] = {5, 7};
    memcpy(report + 48, attributes, 16);
    memcpy(report + 64, mrenclave, 32);
    memcpy(report + 128, signer, 32);
    report[258] = 1;
    memcpy(report + 320, data, 64);
    memset(report + 384, 0x22, 32);
    request[0] = 3;
    memcpy(request + 40, report + 384, 32);
    derive(request, mrenclave, key);
    cmac(key, report, 24, report + 416);
    memcpy(out, report, 432);
    return -1;
}

static void eenter(ucontext_t *uc) {
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t leaf = (uint64_t)g[REG_RAX];
    int i = 0;
    while (i < tcs_count && (uint64_t)g[REG_RBX] != BASE + tcs_at[i]) i++;
    if (i == tcs_count) _exit(91);
    if (leaf == 3) { /* ERESUME */
        if (cssa[i] == 0) _exit(92);
        uint8_t *ssa = frame(i, --cssa[i]);
        uint64_t *gpr = (uint64_t *)(ssa + GPR);
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
        uint32_t fp_size;
        memcpy(&fp_size, fp + 480, 4);
        if (fp_size > FRAME_FP) fp_size = FRAME_FP;
        memcpy(fp, ssa, 464);
        memcpy(fp + 512, ssa + 512, fp_size - 512);
        for (int r = 0; r < 16; r++) g[GPR_ORDER[r]] = (greg_t)gpr[r];
        g[REG_EFL] = (greg_t)gpr[16];
        g[REG_RIP] = (greg_t)gpr[17];
    } else {
        uint32_t nssa;
        memcpy(&nssa, tcs_page(i) + 28, 4);
        if (cssa[i] >= nssa) _exit(93);
        uint64_t *gpr = (uint64_t *)(frame(i, cssa[i]) + GPR);
        gpr[18] = (uint64_t)g[REG_RSP];
        gpr[19] = (uint64_t)g[REG_RBP];
        /* Everything that a hostile host may choose. */
        for (int r = 8; r < 16; r++) g[GPR_ORDER[r]] = (greg_t)POISON;
        g[REG_RDX] = (greg_t)POISON;
        g[REG_EFL] |= 0x400 | 0x40000 | 0xcd5; /* DF, AC, arithmetic */
        uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
        memset(fp + 160, 0xa5, 256); /* XMM */
        uint32_t mxcsr = 0x1f80 | 0x6000 | 0x8000;
        memcpy(fp + 24, &mxcsr, 4);
        uint16_t fcw = 0x0e7f;
        memcpy(fp, &fcw, 2);
        uint64_t bv;
        memcpy(&bv, fp + 512, 8);
        bv |= 3;
        memcpy(fp + 512, &bv, 8);
        g[REG_RCX] = g[REG_RCX];
        g[REG_RAX] = cssa[i];
        g[REG_RIP] = (greg_t)(BASE + field(i, 32));
    }
    current = i;
    host_gs = _readgsbase_u64();
    _writegsbase_u64(BASE + field(i, 56));
    _writefsbase_u64(BASE + field(i, 48));
}

static void leave(ucontext_t *uc, uint64_t rip) {
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)rip;
    uc->uc_mcontext.gregs[REG_EFL] &= ~0x40400;
    uint32_t mxcsr = 0x1f80;
    memcpy((uint8_t *)uc->uc_mcontext.fpregs + 24, &mxcsr, 4);
    _writegsbase_u64(host_gs);
    current = -1;
}

static void eexit(ucontext_t *uc) {
    greg_t *g = uc->uc_mcontext.gregs;
    event.aex = 0;
    event.rdi = (uint64_t)g[REG_RDI];
    event.rsi = (uint64_t)g[REG_RSI];
    event.dirty = 0;
    static const int must_be_zero[] = {REG_RDX, REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12,
                                       REG_R13, REG_R14, REG_R15};
    for (unsigned r = 0; r < sizeof must_be_zero / sizeof *must_be_zero; r++)
        if (g[must_be_zero[r]] != 0) event.dirty |= 1u << r;
    if ((uint64_t)g[REG_RBX] != (uint64_t)enter_back) event.dirty |= 1u << 16;
    event.rsp = (uint64_t)g[REG_RSP];
    if (arena_stack == 0 && event.rsp != host_stack_seen) event.dirty |= 1u << 17;
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint64_t bv;
    memcpy(&bv, fp + 512, 8);
    if (bv & 2)
        for (int i = 0; i < 256; i++)
            if (fp[160 + i] != 0) event.dirty |= 1u << 18;
    if (bv & ~(uint64_t)0x203) event.dirty |= 1u << 19;
    leave(uc, (uint64_t)enter_back);
}

static void aex(ucontext_t *uc, uint64_t address) {
    greg_t *g = uc->uc_mcontext.gregs;
    uint32_t vector = (uint32_t)g[REG_TRAPNO];
    uint8_t *ssa = frame(current, cssa[current]);
    uint64_t *gpr = (uint64_t *)(ssa + GPR);
    uint8_t *fp = (uint8_t *)uc->uc_mcontext.fpregs;
    uint32_t fp_size;
    memcpy(&fp_size, fp + 480, 4);
    if (fp_size > FRAME_FP) fp_size = FRAME_FP;
    memcpy(ssa, fp, fp_size);
    memset(ssa + 464, 0, 48);
    for (int r = 0; r < 16; r++) gpr[r] = (uint64_t)g[GPR_ORDER[r]];
    gpr[16] = (uint64_t)g[REG_EFL];
    gpr[17] = (uint64_t)g[REG_RIP];
    uint32_t info = 0x80000000u | vector | (vector == 3 ? 6u : 3u) << 8;
    memcpy(&gpr[20], &info, 4);
    uint32_t code = (uint32_t)g[REG_ERR];
    memcpy(ssa + EXINFO, &address, 8);
    memcpy(ssa + EXINFO + 8, &code, 4);
    event.aex = 1;
    event.vector = vector;
    event.rip = (uint64_t)g[REG_RIP] - BASE;
    cssa[current]++;
    g[REG_RSP] = (greg_t)gpr[18];
    g[REG_RBP] = (greg_t)gpr[19];
    leave(uc, (uint64_t)enter_back);
}

static void on_signal(int number, siginfo_t *info, void *context) {
    _writefsbase_u64(host_fs);
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t rip = (uint64_t)g[REG_RIP];
    if (current < 0) {
        if (rip != (uint64_t)enter_trap) {
            signal(number, SIG_DFL);
            return;
        }
        eenter(uc);
        return;
    }
    if (rip >= BASE && rip < BASE + size - 3 && number != SIGTRAP && g[REG_TRAPNO] != 14 &&
        memcmp((void *)rip, "\x0f\x01\xd7", 3) == 0) {
        int vector = 6;
        switch ((uint32_t)g[REG_RAX]) {
            case 0: vector = emulate_ereport(g); break;
            case 1: vector = emulate_egetkey(g); break;
            case 4: eexit(uc); return;
        }
        if (vector < 0) {
            g[REG_RIP] += 3;
            _writefsbase_u64(BASE + field(current, 48));
            return;
        }
        g[REG_TRAPNO] = vector;
    }
    aex(uc, number == SIGSEGV ? (uint64_t)info->si_addr : 0);
}

static void load(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) exit(80);
    uint8_t *at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0), *end = at + st.st_size;
    if (mmap((void *)BASE, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE | MAP_NORESERVE, -1, 0) !=
        (void *)BASE)
        exit(81);
    while (at < end) {
        uint64_t head[3];
        memcpy(head, at, 24);
        uint8_t *page = (uint8_t *)BASE + head[0];
        if (mprotect(page, head[2], PROT_READ | PROT_WRITE) != 0) exit(82);
        memcpy(page, at + 24, head[2]);
        if (head[1] >> 8 == 1) {
            if (tcs_count == MAX_TCS) exit(83);
            tcs_at[tcs_count++] = head[0];
        } else {
            int prot = (head[1] & 1 ? PROT_READ : 0) | (head[1] & 2 ? PROT_WRITE : 0) | (head[1] & 4 ? PROT_EXEC : 0);
            if (mprotect(page, head[2], prot) != 0) exit(84);
        }
        at += 24 + head[2];
    }
}

static uint8_t unhex(char c) { return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10); }

static size_t from_hex(const char *text, uint8_t *to) {
    size_t n = 0;
    if (strcmp(text, "-") == 0) return 0;
    for (; text[0] > ' ' && text[1] > ' '; text += 2) to[n++] = (uint8_t)(unhex(text[0]) << 4 | unhex(text[1]));
    return n;
}

static void print_hex(const uint8_t *data, size_t length) {
    static const char digits[] = "0123456789abcdef";
    if (length == 0) putchar('-');
    for (size_t i = 0; i < length; i++) {
        putchar(digits[data[i] >> 4]);
        putchar(digits[data[i] & 15]);
    }
}

#define LEVELS 16
static struct level {
    uint64_t ms[8];
    uint8_t request[1 << 18], response[1 << 18], ocall[1 << 16];
} levels[LEVELS];
static int level = -1;

/* Memory that the tests share through a file: what a host would have in its own memory. */
#define ARENA 0x100000000000ull

static void map_arena(const char *path, size_t length) {
    int fd = open(path, O_RDWR);
    if (fd < 0 || mmap((void *)ARENA, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0) !=
                      (void *)ARENA)
        exit(85);
    close(fd);
}

/* The same in the terms of a protocol that the harness knows nothing of; RSP is for its host to judge. */
static void left(void) {
    if (event.aex)
        printf("aex %u %llx\n", event.vector, (unsigned long long)event.rip);
    else
        printf("left %lld %llu %llx %llu\n", (long long)event.rdi, (unsigned long long)event.rsi,
               (unsigned long long)(event.dirty & ~(1ull << 17)), (unsigned long long)event.rsp);
    fflush(stdout);
}

/* Prints how the enclave was left. */
static void answer(void) {
    if (event.aex) {
        printf("aex %u %llx\n", event.vector, (unsigned long long)event.rip);
    } else if (event.rdi == (uint64_t)-1) {
        printf("exit %llu %llx", (unsigned long long)event.rsi, (unsigned long long)event.dirty);
        if (level >= 0) {
            printf(" %llu %llu ", (unsigned long long)levels[level].ms[5], (unsigned long long)levels[level].ms[4]);
            uint64_t length = levels[level].ms[5] == 0 ? levels[level].ms[4] : 0;
            if (levels[level].ms[2] != (uint64_t)levels[level].response) length = 0;
            print_hex(levels[level].response, length);
        }
        printf("\n");
    } else {
        uint64_t *ms = (uint64_t *)event.rsi;
        printf("ocall %llu %llx %llu ", (unsigned long long)event.rdi, (unsigned long long)event.dirty,
               (unsigned long long)ms[3]);
        print_hex((uint8_t *)ms[0], ms[1]);
        printf("\n");
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc != 4) return 2;
    size = strtoull(argv[2], NULL, 0);
    memset(signer, atoi(argv[3]), 32);
    memset(mrenclave, 0x77, 32);
    load(argv[1]);
    host_fs = _readfsbase_u64();
    static uint8_t stack[1 << 16];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternate, NULL);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};
    int signals[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(signals[i], &action, NULL);

    static char line[1 << 20], text[1 << 20], word[9][64];
    static uint8_t big[1 << 18];
    printf("ready %d %llx %llx\n", tcs_count, BASE, (unsigned long long)(uintptr_t)levels);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        int thread;
        long long command;
        unsigned long long a, b;
        if (sscanf(line, "call %d %lld %s %llu %llu", &thread, &command, text, &a, &b) == 5) {
            /* ECALL or command with a request; capacities of response and OCALL buffer. */
            struct level *l = &levels[++level];
            size_t length = from_hex(text, l->request);
            uint64_t ms[8] = {(uint64_t)l->request, length, (uint64_t)l->response, a, POISON, POISON, (uint64_t)l->ocall, b};
            memcpy(l->ms, ms, sizeof ms);
            enter(2, BASE + tcs_at[thread], (uint64_t)command, (uint64_t)l->ms);
        } else if (sscanf(line, "ms %d %lld %63s %63s %63s %63s %63s %63s %63s %63s", &thread, &command, word[0], word[1], word[2],
                          word[3], word[4], word[5], word[6], word[7]) == 10) {
            /* The same with every field given; "keep" leaves a sensible value. */
            struct level *l = &levels[++level];
            uint64_t ms[8] = {(uint64_t)l->request, 0, (uint64_t)l->response, sizeof l->response, 0, 0, (uint64_t)l->ocall,
                              sizeof l->ocall};
            for (int i = 0; i < 8; i++)
                if (strcmp(word[i], "keep") != 0) ms[i] = strtoull(word[i], NULL, 0);
            memcpy(l->ms, ms, sizeof ms);
            enter(2, BASE + tcs_at[thread], (uint64_t)command, (uint64_t)l->ms);
        } else if (sscanf(line, "raw %d %lld %llx", &thread, &command, &a) == 3) {
            enter(2, BASE + tcs_at[thread], (uint64_t)command, a);
        } else if (sscanf(line, "init %d %llu %llu", &thread, &a, &b) == 3) {
            uint64_t ms[2] = {a, b};
            enter(2, BASE + tcs_at[thread], (uint64_t)-1, (uint64_t)ms);
        } else if (sscanf(line, "oret %d %llu %s", &thread, &a, text) == 3) {
            /* Answers the OCALL in the buffer given with it; "big" in status 1000 uses other memory. */
            uint64_t *ms = (uint64_t *)levels[level].ocall;
            size_t length = from_hex(text, big);
            if (a == 1000 || length > ms[3]) {
                ms[2] = (uint64_t)big;
                ms[3] = sizeof big;
                a = 0;
            } else {
                memcpy((void *)ms[2], big, length);
            }
            ms[4] = length;
            ms[5] = a;
            enter(2, BASE + tcs_at[thread], (uint64_t)-2, 0);
        } else if (sscanf(line, "oretms %d %llx %llu %llu", &thread, &a, &b, (unsigned long long *)word[0]) == 4) {
            /* A hostile answer: response pointer, length, capacity as given. */
            uint64_t *ms = (uint64_t *)levels[level].ocall;
            ms[2] = a;
            ms[4] = b;
            memcpy(&ms[3], word[0], 8);
            ms[5] = 0;
            enter(2, BASE + tcs_at[thread], (uint64_t)-2, 0);
        } else if (sscanf(line, "arena %s %llu", text, &a) == 2) {
            map_arena(text, a);
            printf("arena %llx\n", ARENA);
            fflush(stdout);
            continue;
        } else if (sscanf(line, "go %d %lld %llx %llx", &thread, &command, &a, &b) == 4) {
            /* Any entry: RDI, RSI, RSP. */
            arena_stack = b;
            enter(2, BASE + tcs_at[thread], (uint64_t)command, a);
            arena_stack = 0;
            left();
            continue;
        } else if (sscanf(line, "back %d", &thread) == 1) {
            enter(3, BASE + tcs_at[thread], 0, 0);
            left();
            continue;
        } else if (sscanf(line, "resume %d", &thread) == 1) {
            enter(3, BASE + tcs_at[thread], 0, 0);
        } else if (strncmp(line, "pop", 3) == 0) {
            level--; /* the caller is done with the latest call */
            printf("popped\n");
            fflush(stdout);
            continue;
        } else {
            return 3;
        }
        answer();
    }
    return 0;
}
