/* Timers that start threads, and timers for a thread that ends before them. */
#include "check.h"
#include <pthread.h>
#include <semaphore.h>

static sem_t done;
static void run(union sigval value) {
    static int count;
    if (++count > 3) return;
    printf("expiration %d with %d\n", count, value.sival_int);
    sem_post(&done);
}
static void *brief(void *arg) {
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
    event._sigev_un._tid = gettid();
    SHOW(timer_create(CLOCK_MONOTONIC, &event, arg));
    struct itimerspec spec = {{0, 1000000}, {0, 10000000}};
    SHOW(timer_settime(*(timer_t *)arg, 0, &spec, NULL));
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    siginfo_t info;
    SHOW(sigwaitinfo(&set, &info));
    SHOW(info.si_code == SI_TIMER);
    return NULL;
}

int main(void) {
    timer_t timer, other;
    sem_init(&done, 0, 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = run, .sigev_value.sival_int = 17};
    SHOW(timer_create(CLOCK_REALTIME, &event, &timer));
    struct itimerspec spec = {{0, 10000000}, {0, 10000000}};
    SHOW(timer_settime(timer, 0, &spec, NULL));
    for (int i = 0; i < 3; i++) sem_wait(&done);
    SHOW(timer_delete(timer));
    pthread_t thread;
    pthread_create(&thread, NULL, brief, &other);
    pthread_join(thread, NULL);
    usleep(30000);
    SHOW(sigpending(&set));
    SHOW(sigismember(&set, SIGUSR1));
    return 0;
}
