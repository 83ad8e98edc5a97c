/* Signals, and ends of threads, that come while calls wait for the host. */
#include "check.h"
#include <arpa/inet.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static volatile int handled;
static void handler(int signal) { handled += signal == SIGALRM || signal == SIGUSR1; }

static void soon(int restart) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = restart ? SA_RESTART : 0};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval time = {{0, 0}, {0, 30000}};
    setitimer(ITIMER_REAL, &time, NULL);
}

static pthread_t first;
static void *signals(void *argument) {
    usleep(30000);
    pthread_kill(first, SIGUSR1);
    return NULL;
}

static void *sends(void *argument) {
    usleep(80000);
    if (write((int)(long)argument, "data", 4) != 4) abort();
    return NULL;
}

static void *waits(void *argument) {
    char byte;
    (void)!read((int)(long)argument, &byte, 1);
    return NULL;
}

int main(void) {
    char buffer[16];
    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    first = pthread_self();
    pthread_t thread;
    bind(listener, (struct sockaddr *)&address, sizeof address);
    listen(listener, 5);
    getsockname(listener, (struct sockaddr *)&address, &length);
    soon(0);
    SHOW(accept(listener, NULL, NULL));
    SHOW(connect(client, (struct sockaddr *)&address, sizeof address));
    int server = accept(listener, NULL, NULL);
    soon(0);
    SHOW(read(server, buffer, 16));
    soon(1);
    pthread_create(&thread, NULL, sends, (void *)(long)client);
    SHOW(read(server, buffer, 16));
    pthread_join(thread, NULL);
    SHOW(handled);
    struct pollfd p = {server, POLLIN, 0};
    soon(1);
    SHOW(poll(&p, 1, -1));
    int epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.fd = server}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event));
    soon(1);
    SHOW(epoll_wait(epoll, &event, 1, -1));
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    SHOW(pthread_sigmask(SIG_BLOCK, &blocked, NULL));
    raise(SIGUSR1);
    SHOW(epoll_wait(epoll, &event, 1, 20));
    SHOW(handled);
    SHOW(epoll_pwait(epoll, &event, 1, -1, &none));
    SHOW(handled);
    pthread_create(&thread, NULL, signals, NULL);
    SHOW(ppoll(&p, 1, NULL, &none));
    pthread_join(thread, NULL);
    SHOW(handled);
    SHOW(pthread_sigmask(SIG_BLOCK, NULL, &blocked));
    SHOW(sigismember(&blocked, SIGUSR1));
    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    struct timespec brief = {0, 20000000};
    SHOW(pselect(server + 1, &set, NULL, NULL, &brief, NULL));
    /* A descriptor that another takes the place of is closed: the other side sees it. */
    int spare[2];
    SHOW(pipe(spare));
    SHOW(dup2(spare[0], client) == client);
    p.events = POLLIN | POLLRDHUP;
    SHOW(poll(&p, 1, 1000));
    printf("%x\n", p.revents);
    SHOW(read(server, buffer, 16));
    /* The program ends while a thread waits. */
    client = socket(AF_INET, SOCK_DGRAM, 0);
    pthread_create(&thread, NULL, waits, (void *)(long)client);
    usleep(20000);
    return 7;
}
