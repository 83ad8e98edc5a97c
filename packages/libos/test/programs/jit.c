/* Executes what it has written, where it may. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

int main(void) {
    const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42,%eax; ret */
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    int result = mprotect(page, 4096, PROT_READ | PROT_EXEC);
    printf("mprotect %d %d\n", result, result == 0 ? 0 : errno);
    if (result != 0) return 1;
    int (*function)(void);
    memcpy(&function, &page, sizeof function);
    printf("%d\n", function());
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    page[1] = 43;
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    printf("%d\n", function());
    return 0;
}
