/* Semaphores and messages of System V, queues of POSIX, descriptors of processes, waits for several words. */
#include "check.h"
#include <linux/futex.h>
#include <mqueue.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

static struct message {
    long type;
    char text[32];
} message;

static int set, queue;
static mqd_t posix;
static volatile sig_atomic_t told;
static unsigned words[2];

static void tell(int signal, siginfo_t *info, void *context) { told = info->si_code * 1000 + info->si_value.sival_int; }

static void *other(void *arg) {
    usleep(20000);
    struct sembuf up = {1, 2, 0};
    semop(set, &up, 1);
    usleep(20000);
    message.type = 9;
    strcpy(message.text, "late");
    msgsnd(queue, &message, 5, 0);
    usleep(20000);
    mq_send(posix, "late", 5, 3);
    usleep(20000);
    words[1] = 1;
    syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1);
    return NULL;
}

static void semaphores(void) {
    SHOW((set = semget(IPC_PRIVATE, 3, 0600)) >= 0);
    SHOW(semget(IPC_PRIVATE, 0, 0600));
    SHOW(semget(0x7a7a0001, 1, 0));
    SHOW(semctl(set, 0, SETVAL, 5));
    SHOW(semctl(set, 0, GETVAL));
    SHOW(semctl(set, 3, GETVAL));
    SHOW(semctl(set, 0, SETVAL, 40000));
    struct sembuf two[] = {{0, -3, 0}, {1, -1, IPC_NOWAIT}};
    SHOW(semop(set, two, 2));
    SHOW(semctl(set, 0, GETVAL));
    two[1].sem_num = 9;
    SHOW(semop(set, two, 2));
    two[1] = (struct sembuf){2, 0, IPC_NOWAIT};
    SHOW(semop(set, two, 2));
    SHOW(semctl(set, 0, GETVAL));
    SHOW(semctl(set, 0, GETPID) == getpid());
    unsigned short all[3] = {1, 0, 3};
    SHOW(semctl(set, 0, SETALL, all));
    struct semid_ds status;
    SHOW(semctl(set, 0, IPC_STAT, &status));
    SHOW(status.sem_nsems);
    SHOW(status.sem_perm.mode);
    struct timespec soon = {0, 10000000};
    struct sembuf down = {1, -2, 0};
    SHOW(semtimedop(set, &down, 1, &soon));
    SHOW(semop(set, &down, 0));
}

static void messages(void) {
    SHOW((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
    for (int i = 1; i <= 3; i++) {
        message.type = 4 - i;
        sprintf(message.text, "message %d", i);
        SHOW(msgsnd(queue, &message, 10, 0));
    }
    message.type = 0;
    SHOW(msgsnd(queue, &message, 1, 0));
    SHOW(msgrcv(queue, &message, 32, 2, 0));
    SHOW(message.type * 10 + message.text[8] - '0');
    SHOW(msgrcv(queue, &message, 32, -3, 0));
    SHOW(message.type * 10 + message.text[8] - '0');
    SHOW(msgrcv(queue, &message, 4, 0, 0));
    SHOW(msgrcv(queue, &message, 4, 0, MSG_NOERROR));
    SHOW(msgrcv(queue, &message, 32, 0, IPC_NOWAIT));
    struct msqid_ds status;
    SHOW(msgctl(queue, IPC_STAT, &status));
    SHOW(status.msg_qnum * 100000 + status.msg_qbytes);
}

static void queues(void) {
    struct mq_attr wanted = {.mq_maxmsg = 3, .mq_msgsize = 16}, has;
    char text[64];
    unsigned priority;
    mq_unlink("/nsgx-probe");
    SHOW(mq_open("/nsgx-probe", O_RDWR) == (mqd_t)-1);
    SHOW((posix = mq_open("/nsgx-probe", O_RDWR | O_CREAT | O_EXCL, 0600, &wanted)) >= 0);
    SHOW(mq_getattr(posix, &has));
    SHOW(has.mq_maxmsg * 1000 + has.mq_msgsize);
    struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR2, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 5};
    SHOW(mq_notify(posix, &event));
    SHOW(mq_notify(posix, &event));
    SHOW(mq_send(posix, "low", 4, 1));
    SHOW(told);
    SHOW(mq_send(posix, "high", 5, 7));
    SHOW(mq_send(posix, "low again", 10, 1));
    struct timespec past = {1, 0};
    SHOW(mq_timedsend(posix, "more", 5, 1, &past));
    SHOW(mq_send(posix, text, 17, 1));
    SHOW(mq_receive(posix, text, 8, NULL));
    for (int i = 0; i < 3; i++) {
        SHOW(mq_receive(posix, text, 64, &priority));
        printf("%s %u\n", text, priority);
    }
    wanted.mq_flags = O_NONBLOCK;
    SHOW(mq_setattr(posix, &wanted, &has));
    SHOW(mq_receive(posix, text, 64, &priority));
    struct pollfd ready = {posix, POLLIN | POLLOUT, 0};
    SHOW(poll(&ready, 1, 0));
    SHOW(ready.revents == POLLOUT);
    wanted.mq_flags = 0;
    SHOW(mq_setattr(posix, &wanted, &has));
}

static void processes(void) {
    int fd = syscall(SYS_pidfd_open, getpid(), 0);
    SHOW(fd >= 0);
    SHOW(fcntl(fd, F_GETFD));
    struct pollfd ready = {fd, POLLIN, 0};
    SHOW(poll(&ready, 1, 0));
    told = 0;
    SHOW(syscall(SYS_pidfd_send_signal, fd, SIGUSR2, NULL, 0));
    SHOW(told);
    SHOW(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, 0, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_open, 99999999, 0));
    SHOW(syscall(SYS_pidfd_open, 0, 0));
    int copy = syscall(SYS_pidfd_getfd, fd, 1, 0);
    SHOW(syscall(SYS_kcmp, getpid(), getpid(), 0, 1, copy));
    SHOW(syscall(SYS_kcmp, getpid(), getpid(), 0, 1, fd) > 0);
    char from[8] = "process", to[8] = "";
    struct iovec here[] = {{to, 3}, {to + 3, 5}}, there[] = {{from, 5}, {from + 5, 3}};
    SHOW(process_vm_readv(getpid(), here, 2, there, 2, 0));
    SHOW(strcmp(from, to));
    there[1].iov_base = (void *)8;
    SHOW(process_vm_writev(getpid(), here, 2, there, 2, 0));
    close(copy);
    close(fd);
}

int main(void) {
    pthread_t thread;
    semaphores();
    messages();
    queues();
    processes();
    pthread_create(&thread, NULL, other, NULL);
    struct sembuf down = {1, -2, 0};
    SHOW(semop(set, &down, 1));
    SHOW(msgrcv(queue, &message, 32, 9, 0));
    char text[64];
    SHOW(mq_receive(posix, text, 64, NULL));
    struct futex_waitv both[2] = {{0, (uintptr_t)&words[0], FUTEX_32 | FUTEX_PRIVATE_FLAG, 0},
                                  {0, (uintptr_t)&words[1], FUTEX_32 | FUTEX_PRIVATE_FLAG, 0}};
    SHOW(syscall(SYS_futex_waitv, both, 2, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, both, 2, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, both, 1, 1, NULL, CLOCK_MONOTONIC));
    struct timespec past = {1, 0};
    SHOW(syscall(SYS_futex_waitv, both, 1, 0, &past, CLOCK_MONOTONIC));
    pthread_join(thread, NULL);
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(semctl(set, 0, GETVAL));
    SHOW(msgctl(queue, IPC_RMID, NULL));
    SHOW(msgsnd(queue, &message, 1, 0));
    SHOW(mq_unlink("/nsgx-probe"));
    SHOW(mq_close(posix));
    return 0;
}
