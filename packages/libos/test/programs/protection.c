/* Protections of memory as programs rely on them: what faults, how, and who goes on. */
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/wait.h>

#define PAGE 4096l
#define RW (PROT_READ | PROT_WRITE)

static sigjmp_buf back;
static char *area;
static volatile int faults;

static void tell(int signal, siginfo_t *info, void *context) {
    char *at = info->si_addr;
    printf("  signal %d code %d at %ld\n", signal, info->si_code, at >= area && at < area + 256 * PAGE ? (long)(at - area) : -1);
    siglongjmp(back, 1);
}

/* The write barrier of a collector: the page is noted, and may be written from then on. */
static void barrier(int signal, siginfo_t *info, void *context) {
    faults++;
    if (info->si_code != SEGV_ACCERR || mprotect((void *)((uintptr_t)info->si_addr & -PAGE), PAGE, RW) != 0) _exit(70);
}

static void on(void (*handler)(int, siginfo_t *, void *)) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, NULL);
}

#define TRY(does)                      \
    do {                               \
        puts(#does);                   \
        if (sigsetjmp(back, 1) == 0) { \
            does;                      \
            puts("  done");            \
        }                              \
    } while (0)

static __attribute__((noinline)) void put(char *at, int value) { *(volatile char *)at = (char)value; }
static __attribute__((noinline)) int get(char *at) { return *(volatile char *)at; }
static __attribute__((noinline)) void call(char *at) { ((void (*)(void))at)(); }

static char *fresh(long pages, int protection) {
    char *at = mmap(NULL, (size_t)(pages * PAGE), protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) exit(71);
    return at;
}

static void *on_stack(void *argument) {
    char *low;
    size_t size;
    pthread_attr_t attributes;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, (void **)&low, &size);
    area = low - PAGE;
    TRY(put(low, 1));
    TRY(put(low - 8, 1));
    return NULL;
}

static void threads(void) {
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        pthread_create(&thread, NULL, on_stack, NULL);
        pthread_join(thread, NULL);
    }
    /* In memory that was in use before. */
    long pages = 64;
    area = fresh(pages, RW);
    memset(area, 7, (size_t)(pages * PAGE));
    munmap(area, (size_t)(pages * PAGE));
    char *again = fresh(pages, PROT_NONE);
    SHOW(mprotect(again + PAGE, (size_t)((pages - 1) * PAGE), RW));
    area = again;
    TRY(put(again + PAGE, 1));
    TRY(put(again + PAGE - 8, 1));
    SHOW(get(again + 2 * PAGE));
}

static void collector(void) {
    long pages = 40;
    char *heap = fresh(pages, RW);
    for (long i = 0; i < pages; i++) put(heap + i * PAGE, (int)i);
    on(barrier);
    for (int round = 0; round < 3; round++) {
        faults = 0;
        SHOW(mprotect(heap, (size_t)(pages * PAGE), PROT_READ));
        int sum = 0;
        for (long i = 0; i < pages; i++) sum += get(heap + i * PAGE);
        for (long i = round; i < pages; i += 4) put(heap + i * PAGE + 8, 1), put(heap + i * PAGE + 9, 1);
        SHOW(sum);
        SHOW(faults);
    }
    on(tell);
    munmap(heap, (size_t)(pages * PAGE));
}

#define HEAP 24l
static char *common;
static volatile int over;
static void *mutator(void *argument) {
    long lost = 0, writes = 0;
    for (unsigned i = (unsigned)(uintptr_t)argument; !over || writes < 100; i = i * 1103515245 + 12345, writes++) {
        char *at = common + (i >> 8) % HEAP * PAGE + 64 * (uintptr_t)argument;
        long before = *(volatile long *)at;
        *(volatile long *)at = before + 1;
        lost += *(volatile long *)at != before + 1;
    }
    return (void *)lost;
}

/* Several threads write while one takes the heap's pages again and again. */
static void collectors(void) {
    pthread_t threads[3];
    common = fresh(HEAP, RW);
    on(barrier);
    for (uintptr_t i = 0; i < 3; i++) pthread_create(&threads[i], NULL, mutator, (void *)(i + 1));
    for (int round = 0; round < 60; round++)
        if (mprotect(common + round % 5 * PAGE, (HEAP - 5) * PAGE, PROT_READ) != 0) puts("not protected");
    over = 1;
    long lost = 0;
    for (int i = 0; i < 3; i++) {
        void *result;
        pthread_join(threads[i], &result);
        lost += (long)result;
    }
    SHOW(lost);
    on(tell);
    munmap(common, HEAP * PAGE);
}

static void copies(void) {
    int pipes[2];
    char text[64] = "some bytes for the page";
    SHOW(pipe(pipes));
    char *only = fresh(3, RW);
    strcpy(only, "kept");
    area = only;
    SHOW(mprotect(only, PAGE, PROT_READ));
    SHOW(write(pipes[1], text, sizeof text));
    SHOW(read(pipes[0], only, 8));
    SHOW(read(pipes[0], text, 8));
    SHOW(write(pipes[1], only, 4));
    SHOW(strcmp(only, "kept"));
    SHOW(mprotect(only, PAGE, PROT_NONE));
    SHOW(write(pipes[1], only, 4));
    SHOW(syscall(SYS_clock_gettime, CLOCK_REALTIME, only));
    SHOW(stat("/", (struct stat *)(only + PAGE - 8)));
    SHOW(mprotect(only, PAGE, PROT_READ));
    SHOW(strcmp(only, "kept"));
    int fd = open("/proc/self/cmdline", O_RDONLY);
    SHOW(read(fd, only, 4));
    SHOW(mprotect(only, 3 * PAGE, RW));
    SHOW(read(fd, only, 1));
    close(fd);
}

static void files(const char *folder) {
    char path[256], page[2 * PAGE];
    snprintf(path, sizeof path, "%s/protected", folder);
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    memset(page, 'f', sizeof page);
    SHOW(write(fd, page, sizeof page));
    area = mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0);
    SHOW(get(area + PAGE));
    TRY(put(area + PAGE, 1));
    SHOW(pread(fd, area, 8, 0));
    SHOW(mprotect(area, 2 * PAGE, RW));
    TRY(put(area + PAGE, 1));
    SHOW(pread(fd, page, 8, PAGE));
    SHOW(page[0]);
    munmap(area, 2 * PAGE);
    close(fd);
}

static int child_of(void (*does)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        does();
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    return status;
}

static void inherits(void) {
    TRY(put(area, 1));
    TRY(put(area + PAGE, 1));
    TRY(put(area + 2 * PAGE, 1));
    SHOW(mprotect(area + 3 * PAGE, PAGE, RW));
    TRY(put(area + 3 * PAGE, 2));
    SHOW(mprotect(area + 2 * PAGE, PAGE, PROT_READ));
    TRY(put(area + 2 * PAGE, 3));
}
static void dies(void) {
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigaction(SIGSEGV, &action, NULL);
    put(area, 1);
}
static void runs(void) { execl("/proc/self/exe", "protection", "again", NULL); }

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "again") == 0) return 42;
    on(tell);
    area = fresh(64, RW);
    memset(area, 1, (size_t)(64 * PAGE));

    puts("-- less, and more again");
    SHOW(mprotect(area, PAGE, PROT_READ));
    TRY(get(area + 5));
    TRY(put(area + 5, 1));
    SHOW(mprotect(area, 2 * PAGE, PROT_NONE));
    TRY(get(area + 5));
    TRY(put(area + PAGE + 6, 1));
    TRY(put(area + 2 * PAGE, 1));
    SHOW(mprotect(area, 2 * PAGE, PROT_READ));
    TRY(get(area + 5));
    TRY(put(area + 5, 1));
    SHOW(mprotect(area, 2 * PAGE, RW));
    TRY(put(area + 5, 1));
    SHOW(get(area + 6));
    TRY(call(area + 3 * PAGE));
    SHOW(mprotect(area + 8 * PAGE, 8 * PAGE, PROT_READ));
    SHOW(mprotect(area + 10 * PAGE, 2 * PAGE, RW));
    TRY(put(area + 10 * PAGE, 1));
    TRY(put(area + 12 * PAGE, 1));
    SHOW(mprotect(area + 8 * PAGE, 8 * PAGE, PROT_WRITE));
    TRY(put(area + 12 * PAGE, 1));
    SHOW(munmap(area + 20 * PAGE, PAGE));
    TRY(put((char *)16, 1));

    puts("-- never used");
    char *big = fresh(200, PROT_READ);
    area = big;
    TRY(put(big + 100 * PAGE, 1));
    SHOW(get(big + 100 * PAGE));
    TRY(put(big + 100 * PAGE, 1));
    SHOW(mprotect(big, 200 * PAGE, RW));
    TRY(put(big + 100 * PAGE, 1));
    TRY(put(big + 50 * PAGE, 1));
    SHOW(get(big + 100 * PAGE + 1));
    char *none = fresh(200, PROT_NONE);
    area = none;
    TRY(get(none + 10 * PAGE));
    TRY(put(none + 10 * PAGE, 1));
    SHOW(mprotect(none + 10 * PAGE, PAGE, RW));
    TRY(put(none + 10 * PAGE, 1));
    TRY(put(none + 11 * PAGE, 1));
    char *lazy = fresh(200, RW);
    area = lazy;
    put(lazy, 1);
    SHOW(mprotect(lazy, 200 * PAGE, PROT_READ));
    TRY(put(lazy, 2));
    TRY(put(lazy + 40 * PAGE, 2));
    SHOW(get(lazy + 40 * PAGE));
    SHOW(mprotect(lazy, 200 * PAGE, PROT_NONE));
    TRY(get(lazy + 41 * PAGE));
    SHOW(mprotect(lazy, 200 * PAGE, RW));
    TRY(put(lazy + 41 * PAGE, 2));
    SHOW(get(lazy));

    puts("-- given up");
    SHOW(mprotect(lazy, 2 * PAGE, PROT_READ));
    SHOW(madvise(lazy, 2 * PAGE, MADV_DONTNEED));
    SHOW(get(lazy));
    TRY(put(lazy, 1));
    put(lazy + 3 * PAGE, 9);
    SHOW(mprotect(lazy + 3 * PAGE, PAGE, PROT_NONE));
    SHOW(madvise(lazy + 3 * PAGE, PAGE, MADV_DONTNEED));
    TRY(get(lazy + 3 * PAGE));
    SHOW(mprotect(lazy + 3 * PAGE, PAGE, RW));
    SHOW(get(lazy + 3 * PAGE));
    SHOW(mmap(lazy, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == lazy);
    TRY(put(lazy, 1));
    char *moved = fresh(4, RW);
    strcpy(moved, "moves");
    SHOW(mprotect(moved, 4 * PAGE, PROT_READ));
    char *to = mremap(moved, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    area = to;
    SHOW(strcmp(to, "moves"));
    TRY(put(to, 1));

    puts("-- what is not mmap's");
    char *heap = sbrk(4 * PAGE);
    heap += -(uintptr_t)heap & (PAGE - 1);
    area = heap;
    put(heap, 1);
    SHOW(mprotect(heap, PAGE, PROT_READ));
    TRY(put(heap, 2));
    SHOW(mprotect(heap, PAGE, RW));
    TRY(put(heap, 2));
    static char data[3 * PAGE];
    char *own = data + (-(uintptr_t)data & (PAGE - 1));
    area = own;
    put(own, 1);
    SHOW(mprotect(own, PAGE, PROT_READ));
    TRY(put(own, 2));
    SHOW(mprotect(own, PAGE, RW));
    TRY(put(own, 2));
    area = (char *)main;
    TRY(put((char *)main, 1));
    static const char constant[] = "measured";
    area = (char *)constant;
    faults = 0;
    TRY(put((char *)constant, (char)faults));

    puts("-- a collector");
    collector();
    collectors();
    puts("-- copies");
    copies();
    puts("-- threads");
    threads();
    puts("-- files");
    files(argc > 1 ? argv[1] : "/tmp");

    puts("-- processes");
    area = fresh(4, RW);
    memset(area, 5, 4 * PAGE);
    SHOW(mprotect(area, PAGE, PROT_READ));
    SHOW(mprotect(area + PAGE, PAGE, PROT_NONE));
    SHOW(child_of(inherits));
    TRY(put(area + 2 * PAGE, 6));
    TRY(put(area + 3 * PAGE, 6));
    SHOW(get(area));
    SHOW(get(area + 2 * PAGE));
    SHOW(WTERMSIG(child_of(dies)));
    SHOW(WEXITSTATUS(child_of(runs)));
    TRY(put(area, 1));
    SHOW(mprotect(area, 4 * PAGE, RW));
    SHOW(get(area + PAGE));
    return 0;
}
