/* Has the kernel take pages out of another process, as it does when memory is scarce: pageout PID ADDRESS LENGTH … */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define MADV_PAGEOUT 21

int main(int argc, char **argv) {
    int pid = (int)syscall(SYS_pidfd_open, atoi(argv[1]), 0);
    for (int i = 2; i + 1 < argc; i += 2) {
        struct iovec part = {(void *)strtoul(argv[i], NULL, 16), strtoul(argv[i + 1], NULL, 10)};
        if (syscall(SYS_process_madvise, pid, &part, 1ul, MADV_PAGEOUT, 0u) < 0) {
            printf("%s: %s\n", argv[i], strerror(errno));
            return 1;
        }
    }
    return 0;
}
