/* Processes that come of each other: each has its own memory in the same place, and what is shared stays shared. */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/shm.h>
#include <sys/wait.h>

static int value = 1;
static volatile sig_atomic_t children, alarms, users;
static void on_child(int signal) { children += signal == SIGCHLD; }
static void on_alarm(int signal) { alarms += signal == SIGALRM; }
static void on_user(int signal) { users += signal == SIGUSR1; }

/* Numbers that are none must not come to kill. */
static pid_t process(void) {
    pid_t pid = fork();
    if (pid >= 0) return pid;
    perror("fork");
    exit(1);
}
#define fork process

static int ended(pid_t pid) {
    int status = 0;
    if (waitpid(pid, &status, 0) != pid) return -1;
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void statuses(void) {
    puts("-- statuses");
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i == 1) raise(SIGTERM);
            if (i == 2) *(volatile int *)8 = 1;
            _exit(40 + i);
        }
        printf("ended %d\n", ended(pid));
    }
    SHOW(wait(NULL));
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) _exit(getppid() == parent && getpid() != parent ? 0 : 1);
    printf("numbers %d\n", ended(pid));
}

static void memory(void) {
    puts("-- memory");
    int local = 10, *heap = malloc(sizeof *heap), *large = mmap(NULL, 1 << 21, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int *shared = mmap(NULL, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *heap = 20;
    large[1000] = 30;
    *shared = 0;
    fflush(stdout);
    pid_t pid = fork();
    for (int i = 0; i < 50; i++) {
        value += pid == 0 ? 100 : 1;
        local += pid == 0 ? 100 : 1;
        *heap += pid == 0 ? 100 : 1;
        large[1000] += pid == 0 ? 100 : 1;
        large[300000 + i * 1024] += i;
        __atomic_fetch_add(shared, pid == 0 ? 1000 : 1, __ATOMIC_SEQ_CST);
        usleep(100);
    }
    if (pid == 0) {
        int sum = 0;
        for (int i = 0; i < 50; i++) sum += large[300000 + i * 1024];
        printf("child %d %d %d %d %d\n", value, local, *heap, large[1000], sum);
        munmap(large, 1 << 21);
        brk(sbrk(0) + 100000);
        fflush(stdout);
        _exit(0);
    }
    int result = ended(pid), sum = 0;
    for (int i = 0; i < 50; i++) sum += large[300000 + i * 1024];
    printf("parent %d %d %d %d %d, shared %d, child %d\n", value, local, *heap, large[1000], sum, *shared, result);
    munmap(shared, 4096);
    munmap(large, 1 << 21);
    free(heap);
}

static void later_memory(void) {
    puts("-- memory that came after");
    fflush(stdout);
    char *before = mmap(NULL, 8192, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *closed = mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    strcpy(before, "before");
    int ends[2], back[2];
    pipe(ends);
    pipe(back);
    char byte = 0;
    pid_t pid = fork();
    if (pid == 0) {
        char *own = mmap(before, 4096, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        int empty = own[0] == 0;
        strcpy(own, "child");
        mprotect(closed, 4096, 3);
        empty += closed[0] == 0;
        strcpy(closed, "child's");
        char *more = mmap(NULL, 100000, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memset(more, 7, 100000);
        write(back[1], &byte, 1);
        read(ends[0], &byte, 1);
        _exit(strcmp(own, "child") == 0 && strcmp(closed, "child's") == 0 && more[99999] == 7 ? empty : 10);
    }
    read(back[0], &byte, 1);
    int same = strcmp(before, "before");
    char *more = mmap(NULL, 100000, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 100000; i++) same += more[i];
    mprotect(closed, 8192, 3);
    for (int i = 0; i < 8192; i++) same += closed[i];
    write(ends[1], &byte, 1);
    printf("child %d", ended(pid));
    printf(", parent %d %s\n", same, before);
    close(ends[0]);
    close(ends[1]);
    close(back[0]);
    close(back[1]);
}

static void ping_pong(void) {
    puts("-- there and back");
    fflush(stdout);
    int there[2], back[2], count = 0;
    pipe(there);
    pipe(back);
    pid_t pid = fork();
    if (pid == 0) {
        close(there[1]);
        int number;
        while (read(there[0], &number, sizeof number) == sizeof number) {
            number += ++count;
            write(back[1], &number, sizeof number);
        }
        _exit(count == 500 ? 5 : 6);
    }
    int good = 0;
    for (int i = 0; i < 500; i++) {
        int number = i;
        write(there[1], &number, sizeof number);
        count -= read(back[0], &number, sizeof number) == sizeof number;
        good += number == 2 * i + 1;
    }
    close(there[1]);
    printf("good %d, count %d, child %d\n", good, count, ended(pid));
    close(there[0]);
    close(back[0]);
    close(back[1]);
}

static int nest(int depth) {
    if (depth == 0) return 1;
    pid_t left = fork();
    if (left == 0) _exit(nest(depth - 1));
    pid_t right = fork();
    if (right == 0) _exit(nest(depth - 1));
    return ended(left) + ended(right);
}

static unsigned long compute(int rounds) {
    volatile unsigned long x = 1;
    for (int i = 0; i < rounds * 1000000; i++) x = x * 6364136223846793005ul + 1442695040888963407ul;
    return x;
}

static void at_once(void) {
    puts("-- all compute");
    fflush(stdout);
    unsigned long expected = compute(3);
    pid_t pids[4];
    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            value = i;
            double d = i + 0.5;
            unsigned long x = compute(3);
            _exit(x == expected && value == i && d == i + 0.5 ? i : 50);
        }
    }
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval timer = {{0, 5000}, {0, 5000}}, none = {0};
    setitimer(ITIMER_REAL, &timer, NULL);
    int before = value;
    unsigned long mine = compute(3);
    int sum = 0;
    for (int i = 0; i < 4; i++) sum += ended(pids[i]);
    while (alarms < 3) usleep(1000);
    setitimer(ITIMER_REAL, &none, NULL);
    printf("sum %d, mine %d %d, alarms %d\n", sum, mine == expected, value == before, alarms >= 3);
}

static void signals(void) {
    puts("-- signals");
    fflush(stdout);
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_RESTART};
    sigaction(SIGCHLD, &action, NULL);
    action.sa_handler = on_user;
    sigaction(SIGUSR1, &action, NULL);
    int ends[2];
    pipe(ends);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    raise(SIGUSR1);
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t waits;
        sigpending(&waits);
        int none = !sigismember(&waits, SIGUSR1);
        write(ends[1], "x", 1);
        while (users == 0) sigsuspend(&old);
        kill(getppid(), SIGUSR1);
        _exit(none ? 60 + users : 1);
    }
    sigprocmask(SIG_SETMASK, &old, NULL);
    char byte;
    read(ends[0], &byte, 1);
    kill(pid, SIGUSR1);
    while (users < 2) usleep(500);
    printf("child %d", ended(pid));
    printf(", users here %d, children %d\n", users, children);
    close(ends[0]);
    close(ends[1]);
    pid = fork();
    if (pid == 0)
        for (;;) compute(1);
    kill(pid, SIGKILL);
    printf("killed %d", ended(pid));
    printf(", children %d\n", children);
    pid = fork();
    if (pid == 0) pause();
    usleep(2000);
    SHOW(kill(pid, 0));
    kill(pid, SIGTERM);
    printf("ended %d, then %d\n", ended(pid), kill(pid, 0));
    signal(SIGCHLD, SIG_IGN);
    pid = fork();
    if (pid == 0) _exit(3);
    SHOW(waitpid(pid, NULL, 0));
    signal(SIGCHLD, SIG_DFL);
}

static void orphans(void) {
    puts("-- orphans");
    fflush(stdout);
    int ends[2];
    pipe(ends);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            while (getppid() == parent) usleep(500);
            write(ends[1], "alone", 5);
            _exit(0);
        }
        _exit(4);
    }
    printf("ended %d", ended(pid));
    char text[8] = {0};
    read(ends[0], text, 5);
    printf(", %s\n", text);
    close(ends[0]);
    close(ends[1]);
}

static void shared(void) {
    puts("-- what is shared");
    fflush(stdout);
    struct area {
        sem_t first, second;
        pthread_mutex_t mutex;
        int count;
    } *area = mmap(NULL, sizeof *area, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sem_init(&area->first, 1, 0);
    sem_init(&area->second, 1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&area->mutex, &attributes);
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    int *segment = shmat(id, NULL, 0);
    shmctl(id, IPC_RMID, NULL);
    sem_post(&area->first);
    pid_t pid = fork();
    for (int i = 0; i < 100; i++) {
        sem_wait(pid == 0 ? &area->first : &area->second);
        pthread_mutex_lock(&area->mutex);
        area->count++;
        pthread_mutex_unlock(&area->mutex);
        segment[pid == 0]++;
        sem_post(pid == 0 ? &area->second : &area->first);
    }
    if (pid == 0) _exit(0);
    printf("ended %d", ended(pid));
    printf(", %d %d %d\n", area->count, segment[0], segment[1]);
    struct shmid_ds status;
    shmctl(id, IPC_STAT, &status);
    printf("attached %d\n", (int)status.shm_nattch);
    SHOW(shmdt(segment));
    SHOW(shmdt(segment));
    /* Files that are mapped: memory and calls see the same. */
    int fd = shm_open("/nsgx-fork", O_RDWR | O_CREAT | O_TRUNC, 0600);
    SHOW(ftruncate(fd, 8192));
    int *mapped = mmap(NULL, 8192, 3, MAP_SHARED, fd, 0);
    sem_t *named = sem_open("/nsgx-fork-sem", O_CREAT, 0600, 0);
    mapped[1] = 5;
    int number = 0;
    pread(fd, &number, 4, 4);
    printf("read %d\n", number);
    pid = fork();
    if (pid == 0) {
        sem_wait(named);
        mapped[1500] = mapped[1] + 1;
        number = 77;
        pwrite(fd, &number, 4, 100);
        _exit(mapped[25]);
    }
    mapped[1] = 6;
    sem_post(named);
    printf("ended %d", ended(pid));
    pread(fd, &number, 4, 6000);
    printf(", %d %d %d\n", number, mapped[1500], mapped[25]);
    SHOW(munmap(mapped, 8192));
    pread(fd, &number, 4, 4);
    printf("read %d\n", number);
    SHOW(sem_close(named));
    sem_unlink("/nsgx-fork-sem");
    shm_unlink("/nsgx-fork");
    close(fd);
    /* An offset of an open file is one, a descriptor is not. */
    FILE *file = tmpfile();
    fd = fileno(file);
    write(fd, "0123456789", 10);
    lseek(fd, 2, SEEK_SET);
    pid = fork();
    if (pid == 0) {
        char c;
        read(fd, &c, 1);
        close(fd);
        chdir("/dev");
        umask(077);
        _exit(c);
    }
    printf("read %c", ended(pid));
    char folder[100];
    printf(", at %d, %d, mask %o\n", (int)lseek(fd, 0, SEEK_CUR), strcmp(getcwd(folder, 100), "/dev") != 0, umask(022));
    fclose(file);
}

static void *one_thread(void *argument) {
    volatile int *stop = argument;
    unsigned long count = 0;
    /* Once at least, however late it begins. */
    do count++;
    while (!*stop);
    return (void *)(count > 0);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *waiting_thread(void *argument) {
    (void)argument;
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void threads(void) {
    puts("-- threads");
    fflush(stdout);
    volatile int stop = 0;
    pthread_t busy, waits;
    pthread_mutex_lock(&lock);
    pthread_create(&busy, NULL, one_thread, (void *)&stop);
    pthread_create(&waits, NULL, waiting_thread, NULL);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            /* The others are not here: nobody stops this one's futexes from being its own. */
            pthread_t mine;
            pthread_mutex_unlock(&lock);
            pthread_create(&mine, NULL, waiting_thread, NULL);
            pthread_join(mine, NULL);
            _exit(20 + i);
        }
        printf("ended %d\n", ended(pid));
    }
    stop = 1;
    pthread_mutex_unlock(&lock);
    void *counted;
    pthread_join(busy, &counted);
    pthread_join(waits, NULL);
    printf("counted %d\n", (int)(long)counted);
}

static void registers(void) {
    puts("-- registers");
    fflush(stdout);
    double in = 1.25, out;
    long result, kept;
    __asm__ volatile("movsd %3, %%xmm9\n mov $77, %%r12\n mov $57, %%eax\n syscall\n movsd %%xmm9, %2\n mov %%r12, %1"
                     : "=a"(result), "=r"(kept), "=m"(out)
                     : "m"(in)
                     : "rcx", "r11", "r12", "xmm9", "memory");
    if (result == 0) _exit(out == 1.25 && kept == 77 ? 8 : 9);
    printf("ended %d, here %d\n", ended((pid_t)result), out == 1.25 && kept == 77);
    int number = 0, told = 0;
    result = syscall(SYS_clone, CLONE_CHILD_SETTID | CLONE_PARENT_SETTID | SIGCHLD, NULL, &told, &number, 0);
    if (result == 0) _exit(number == getpid() && told == 0 ? 0 : 1);
    printf("ended %d, told %d %d\n", ended((pid_t)result), told == result, number);
}

static void programs(const char *self) {
    puts("-- programs");
    fflush(stdout);
    int ends[2];
    pipe(ends);
    pid_t writer = fork();
    if (writer == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execl(self, self, "write", NULL);
        _exit(99);
    }
    pid_t reader = fork();
    if (reader == 0) {
        dup2(ends[0], 0);
        close(ends[0]);
        close(ends[1]);
        execl(self, self, "read", NULL);
        _exit(99);
    }
    close(ends[0]);
    close(ends[1]);
    int first = ended(writer);
    printf("ended %d %d\n", first, ended(reader));
    pid_t pid = fork();
    if (pid == 0) {
        execl("/nothing/here", "here", NULL);
        _exit(errno == ENOENT ? 17 : 18);
    }
    printf("ended %d\n", ended(pid));
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1 && strcmp(argv[1], "write") == 0) {
        for (int i = 0; i < 2000; i++) printf("line %d\n", i);
        return 11;
    }
    if (argc > 1 && strcmp(argv[1], "read") == 0) {
        char line[100];
        int lines = 0;
        while (fgets(line, sizeof line, stdin) != NULL) lines++;
        pid_t pid = fork();
        if (pid == 0) _exit(lines == 2000 ? 1 : 0);
        return 12 + ended(pid);
    }
    statuses();
    memory();
    later_memory();
    ping_pong();
    puts("-- nested");
    fflush(stdout);
    printf("leaves %d\n", nest(3));
    at_once();
    signals();
    orphans();
    shared();
    threads();
    registers();
    programs(argv[0]);
    return 0;
}
