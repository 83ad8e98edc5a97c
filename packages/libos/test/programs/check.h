/* For programs that run natively and in an enclave: they print what they see, and the outputs are compared. */
#ifndef CHECK_H
#define CHECK_H
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* musl has no names for errors. */
#ifndef __GLIBC__
#define strerrorname_np strerror
#endif

/* The value of an expression, with the name of errno where it is -1. */
#define SHOW(expression)                                                                                      \
    do {                                                                                                      \
        errno = 0;                                                                                            \
        long long value_ = (long long)(expression);                                                           \
        if (value_ == -1) printf("%s = -1 %s\n", #expression, strerrorname_np(errno));                        \
        else printf("%s = %lld\n", #expression, value_);                                                      \
    } while (0)
#endif
