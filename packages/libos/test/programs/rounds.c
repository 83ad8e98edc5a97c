/* An event loop with many clients, in one program: every byte comes back, in order, however clients and server take turns,
 * whether they read late, shut down one direction, or go away. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { CLIENTS = 24, ROUNDS = 30, PIECE = 9000 };

static struct sockaddr_in address = {AF_INET, 0, {0}, {0}};
static int listener;
static unsigned served;

/* Echoes by what the first byte of a piece says: write, writev, send; leaves bytes for another read now and then. */
static void *server(void *unused) {
    int epoll = epoll_create1(0), left = CLIENTS;
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, events[CLIENTS + 1];
    static unsigned char pending[4096][PIECE];
    static long waiting[4096];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    while (left > 0) {
        int count = epoll_wait(epoll, events, CLIENTS + 1, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                event.events = EPOLLIN;
                if (event.data.fd >= 0) epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
                continue;
            }
            if (waiting[fd] > 0) {
                long put = write(fd, pending[fd], waiting[fd]);
                if (put > 0) memmove(pending[fd], pending[fd] + put, waiting[fd] -= put);
                if (waiting[fd] > 0) continue;
                event.data.fd = fd, event.events = EPOLLIN;
                epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
                continue;
            }
            unsigned char *buffer = pending[fd];
            long got = served % 5 == 0 ? recv(fd, buffer, 3, 0) : read(fd, buffer, PIECE), put;
            if (got <= 0) {
                if (got < 0 && errno == EAGAIN) continue;
                close(fd);
                left--;
                continue;
            }
            served++;
            struct iovec parts[2] = {{buffer, got / 2}, {buffer + got / 2, got - got / 2}};
            put = served % 3 == 0 ? writev(fd, parts, 2) : served % 3 == 1 ? send(fd, buffer, got, MSG_NOSIGNAL) : write(fd, buffer, got);
            if (put < 0) put = 0;
            if (put < got) {
                memmove(buffer, buffer + put, waiting[fd] = got - put);
                event.data.fd = fd, event.events = EPOLLOUT;
                epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
            }
        }
    }
    return NULL;
}

int main(void) {
    socklen_t length = sizeof address;
    int client[CLIENTS];
    unsigned sent[CLIENTS] = {0}, got[CLIENTS] = {0}, random = 12345;
    pthread_t thread;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 50) != 0) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    pthread_create(&thread, NULL, server, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        client[i] = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(client[i], IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        if (connect(client[i], (struct sockaddr *)&address, sizeof address) != 0) return 2;
    }
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < CLIENTS; i++) {
            unsigned char text[PIECE];
            random = random * 1664525 + 1013904223;
            unsigned n = random >> 28 == 0 ? (random >> 8) % PIECE + 1 : (random >> 16) % 100 + 1;
            for (unsigned k = 0; k < n; k++) text[k] = (unsigned char)((sent[i] + k) * 13 >> 2) + i;
            if (write(client[i], text, n) != n) return 3;
            sent[i] += n;
        }
        for (int i = 0; i < CLIENTS; i++) {
            unsigned char text[PIECE];
            /* Some read a round later. */
            while (got[i] < sent[i] && (round + i) % 4 != 0) {
                long n = read(client[i], text, sizeof text);
                if (n <= 0) return 4;
                for (long k = 0; k < n; k++)
                    if (text[k] != (unsigned char)(((got[i] + k) * 13 >> 2) + i)) return 5;
                got[i] += n;
            }
        }
    }
    unsigned long all = 0, back = 0;
    for (int i = 0; i < CLIENTS; i++) {
        char text[PIECE];
        long n;
        shutdown(client[i], SHUT_WR);
        while ((n = read(client[i], text, sizeof text)) > 0) got[i] += n;
        if (n < 0) return 6;
        all += sent[i], back += got[i];
        close(client[i]);
    }
    pthread_join(thread, NULL);
    printf("%lu of %lu\n", back, all);
    return 0;
}
