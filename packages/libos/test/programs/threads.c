#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
#include <string.h>
#include <errno.h>
#include <time.h>
static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static int count;
static __thread int own;
static void *work(void *arg) {
    own = (int)(long)arg;
    for (int i = 0; i < 100000; i++) { pthread_mutex_lock(&m); count++; pthread_mutex_unlock(&m); }
    pthread_mutex_lock(&m); pthread_cond_broadcast(&c); pthread_mutex_unlock(&m);
    return (void *)(long)(own * 2);
}
static int p[2];
static void *reader(void *arg) { char b[16]; int n = read(p[0], b, 16); printf("read %d %.*s\n", n, n, b); return 0; }
int main(void) {
    pthread_t t[4]; void *r;
    for (long i = 0; i < 4; i++) pthread_create(&t[i], 0, work, (void *)i);
    for (int i = 0; i < 4; i++) { pthread_join(t[i], &r); printf("joined %ld\n", (long)r); }
    printf("count %d\n", count);
    pipe(p);
    pthread_create(&t[0], 0, reader, 0);
    usleep(50000);
    write(p[1], "hello", 5);
    pthread_join(t[0], 0);
    struct timespec ts; clock_gettime(CLOCK_REALTIME, &ts); ts.tv_nsec += 20000000; if (ts.tv_nsec > 999999999) ts.tv_sec++, ts.tv_nsec -= 1000000000;
    pthread_mutex_lock(&m);
    printf("timedwait %s\n", strerror(pthread_cond_timedwait(&c, &m, &ts)));
    return 0;
}
