/* System calls in forms that can be rewritten and in forms that cannot; results are the same. */
#include "check.h"

__attribute__((noinline)) static long plain(void) {
    long result;
    __asm__ volatile("mov $110, %%eax\n\tsyscall" : "=a"(result) : : "rcx", "r11", "memory");
    return result > 0;
}

/* Nothing before it gives way, and something jumps right behind it. */
__attribute__((noinline)) static long trapped(int number) {
    long result;
    __asm__ volatile("test %%eax, %%eax\n\tjs 1f\n\tsyscall\n1:\tnop\n\tnop\n\tnop\n\tnop"
                     : "=a"(result)
                     : "a"((long)number)
                     : "rcx", "r11", "memory");
    return result;
}

/* A jump to the SYSCALL of a site that was rewritten. */
__attribute__((noinline)) static long around(long number) {
    long result;
    __asm__ volatile("jmp 1f\n\tmov $39, %%eax\n1:\tsyscall" : "=a"(result) : "a"(number) : "rcx", "r11", "memory");
    return result;
}

/* The red zone of a leaf function is its own. */
__attribute__((noinline)) static long red_zone(void) {
    long result;
    __asm__ volatile("movq $77, -64(%%rsp)\n\tmov $110, %%eax\n\tsyscall\n\tmov -64(%%rsp), %0"
                     : "=r"(result)
                     :
                     : "rax", "rcx", "r11", "memory");
    return result;
}

int main(void) {
    char buffer[4] = "ok\n";
    SHOW(plain());
    SHOW(trapped(107));
    SHOW(trapped(-5));
    SHOW(around(104));
    SHOW(red_zone());
    register const char *text __asm__("rsi") = buffer;
    long written;
    fflush(stdout);
    __asm__ volatile("syscall" : "=a"(written) : "a"(1l), "D"(1l), "S"(text), "d"(3l) : "rcx", "r11", "memory");
    SHOW(written);
    return 0;
}
