/* Reads and writes of a host that answers wrongly: which length gets which answer is said in hostile.test.ts. */
#include "check.h"

int main(void) {
    unsigned char buffer[256];
    for (size_t length = 8; length <= 14; length++) {
        memset(buffer, 0x55, sizeof buffer);
        errno = 0;
        long got = read(0, buffer, length);
        int beyond = 0;
        for (size_t i = length; i < sizeof buffer; i++) beyond |= buffer[i] != 0x55;
        printf("read %zu: %ld %s %d\n", length, got, got < 0 ? strerrorname_np(errno) : "", beyond);
    }
    for (size_t length = 1; length <= 3; length++) {
        errno = 0;
        long put = write(2, "xyz", length);
        printf("write %zu: %ld %s\n", length, put, put < 0 ? strerrorname_np(errno) : "");
    }
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = 0; i < 1000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &after);
        if (after.tv_sec < before.tv_sec || (after.tv_sec == before.tv_sec && after.tv_nsec < before.tv_nsec)) puts("back");
        before = after;
    }
    struct pollfd polled = {0, POLLIN, 0};
    SHOW(poll(&polled, 1, 0));
    return 0;
}
