/* A malicious enclave for the attack suite: it does whatever its caller asks, without any check. */
#include <string.h>

#include "nsgx_interface.h"

uint64_t system_call(uint64_t number, uint64_t a1, uint64_t a2, uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6) {
    register uint64_t r10 __asm__("r10") = a4;
    register uint64_t r8 __asm__("r8") = a5;
    register uint64_t r9 __asm__("r9") = a6;
    uint64_t result = number;
    __asm__ volatile("syscall" : "+a"(result) : "D"(a1), "S"(a2), "d"(a3), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

uint64_t int80(uint64_t number, uint64_t a1, uint64_t a2, uint64_t a3) {
    uint64_t result = number;
    __asm__ volatile("int $0x80" : "+a"(result) : "b"(a1), "c"(a2), "d"(a3) : "memory", "r8", "r9", "r10", "r11");
    return result;
}

uint64_t sysenter_call(uint64_t number) {
    uint64_t result = number;
    __asm__ volatile("sysenter" : "+a"(result) : : "rcx", "rdx", "r11", "memory");
    return result;
}

uint64_t read_word(uint64_t address) { return *(volatile uint64_t *)address; }

nsgx_bytes read_memory(uint64_t address, uint64_t length) {
    uint8_t *copy = nsgx_call_alloc(length);
    if (copy == NULL) return (nsgx_bytes){0, 0};
    memcpy(copy, (const void *)address, length);
    return (nsgx_bytes){copy, length};
}

void write_word(uint64_t address, uint64_t value) { *(volatile uint64_t *)address = value; }

/* Calls `address` with RAX, RBX, RCX, RDX, RSI, RDI, R8 … R15 as given (14 words; missing ones are zero). */
uint64_t jump(uint64_t address, nsgx_bytes registers) {
    struct {
        uint64_t words[14];
        uint64_t target;
    } state = {{0}, address};
    uint64_t result;
    memcpy(state.words, registers.data, registers.length < sizeof state.words ? registers.length : sizeof state.words);
    __asm__ volatile(
        "push %%rbp\n"
        "push %%rbx\n"
        "mov %1, %%rbp\n"
        "mov 0(%%rbp), %%rax\n"
        "mov 8(%%rbp), %%rbx\n"
        "mov 16(%%rbp), %%rcx\n"
        "mov 24(%%rbp), %%rdx\n"
        "mov 32(%%rbp), %%rsi\n"
        "mov 40(%%rbp), %%rdi\n"
        "mov 48(%%rbp), %%r8\n"
        "mov 56(%%rbp), %%r9\n"
        "mov 64(%%rbp), %%r10\n"
        "mov 72(%%rbp), %%r11\n"
        "mov 80(%%rbp), %%r12\n"
        "mov 88(%%rbp), %%r13\n"
        "mov 96(%%rbp), %%r14\n"
        "mov 104(%%rbp), %%r15\n"
        "call *112(%%rbp)\n"
        "pop %%rbx\n"
        "pop %%rbp\n"
        : "=&a"(result)
        : "r"(&state)
        : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return result;
}

uint64_t own_base(void) {
    extern uint8_t __image_base[];
    return (uint64_t)__image_base;
}

/* Any ENCLU leaf with any operands; RAX of it. */
uint64_t leaf(uint64_t number, uint64_t rbx, uint64_t rcx, uint64_t rdx) {
    uint64_t result = number;
    __asm__ volatile("enclu" : "+a"(result), "+b"(rbx), "+c"(rcx), "+d"(rdx) : : "memory", "cc");
    return result;
}

/* A far jump, for example into 32-bit code (selector 0x23). */
void far_jump(uint64_t address, uint64_t selector) {
    struct __attribute__((packed)) {
        uint64_t offset;
        uint16_t selector;
    } target = {address, (uint16_t)selector};
    __asm__ volatile("rex.w ljmp *%0" : : "m"(target) : "memory");
}

/* The base of GS, by RDGSBASE. */
uint64_t segment_bases(void) {
    uint64_t base;
    __asm__ volatile("rdgsbase %0" : "=r"(base));
    return base;
}
