/* TCP and UDP over the loopback, from a program to itself: what blocks has a thread on the other side. */
#include "check.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static char buffer[1 << 20];
static struct sockaddr_in server_address;

static int listener_on_loopback(int type) {
    int fd = socket(AF_INET, type, 0), one = 1;
    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
    SHOW(bind(fd, (struct sockaddr *)&address, sizeof address));
    socklen_t length = sizeof server_address;
    SHOW(getsockname(fd, (struct sockaddr *)&server_address, &length));
    printf("%u %d\n", length, server_address.sin_port != 0);
    return fd;
}

static void *echo(void *argument) {
    int fd = accept((int)(long)argument, NULL, NULL);
    static char bytes[70000];
    long got, total = 0;
    while ((got = read(fd, bytes, sizeof bytes)) > 0) {
        total += got;
        for (long done = 0; done < got;) {
            long put = write(fd, bytes + done, got - done);
            if (put < 0) return (void *)-1;
            done += put;
        }
    }
    close(fd);
    return (void *)total;
}

static void *later(void *argument) {
    usleep(30000);
    if (write((int)(long)argument, "late", 4) != 4) abort();
    return NULL;
}

static void state(const char *what, int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 100);
    printf("%s: %x\n", what, p.revents);
}

static int events(int epoll, int timeout) {
    struct epoll_event list[8];
    int count = epoll_wait(epoll, list, 8, timeout);
    printf("%d:", count);
    for (int i = 0; i < count; i++) printf(" %d/%x", list[i].data.fd, list[i].events);
    puts("");
    return count;
}

int main(void) {
    pthread_t thread;
    void *result;
    int value;
    socklen_t length;
    int listener = listener_on_loopback(SOCK_STREAM);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect(client, (struct sockaddr *)&server_address, sizeof server_address));
    SHOW(listen(listener, 5));
    close(client);
    pthread_create(&thread, NULL, echo, (void *)(long)listener);
    client = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(connect(client, (struct sockaddr *)&server_address, sizeof server_address));
    int one = 1;
    SHOW(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
    SHOW(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &value, (length = sizeof value, &length)));
    SHOW(value);
    for (int i = 0; i < 100; i++) {
        int n = 0;
        if (write(client, &i, sizeof i) != sizeof i || recv(client, &n, sizeof n, MSG_WAITALL) != sizeof n || n != i) printf("lost %d\n", i);
    }
    for (size_t i = 0; i < sizeof buffer; i++) buffer[i] = (char)(i * 7);
    struct iovec pieces[3] = {{buffer, 10}, {buffer + 10, 0}, {buffer + 10, 5}};
    SHOW(writev(client, pieces, 3));
    char room[16];
    SHOW(recv(client, room, 15, MSG_WAITALL));
    SHOW(memcmp(room, buffer, 15));
    /* More than any buffer: the thread on the other side reads while this one writes. */
    long sent = 0, back = 0;
    SHOW(fcntl(client, F_SETFL, O_NONBLOCK));
    while (back < (long)sizeof buffer) {
        struct pollfd p = {client, POLLIN | (sent < (long)sizeof buffer ? POLLOUT : 0), 0};
        if (poll(&p, 1, 5000) != 1) break;
        if (p.revents & POLLOUT) {
            long put = write(client, buffer + sent, sizeof buffer - sent);
            if (put > 0) sent += put;
        }
        if (p.revents & POLLIN) {
            static char in[100000];
            long got = read(client, in, sizeof in);
            if (got > 0 && memcmp(in, buffer + back, got) != 0) puts("changed");
            if (got > 0) back += got;
        }
    }
    SHOW(back == sent);
    SHOW(read(client, room, 1));
    SHOW(shutdown(client, SHUT_WR));
    SHOW(fcntl(client, F_SETFL, 0));
    SHOW(read(client, room, 1));
    pthread_join(thread, &result);
    printf("%ld\n", (long)result);
    state("ended", client);
    signal(SIGPIPE, SIG_IGN);
    SHOW(write(client, "x", 1));
    SHOW(close(client));

    /* Events of both kinds in one set. */
    int epoll = epoll_create1(0), pipes[2];
    client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    value = connect(client, (struct sockaddr *)&server_address, sizeof server_address);
    printf("%d\n", value == 0 || errno == EINPROGRESS);
    struct sockaddr_in peer;
    int server = accept4(listener, (struct sockaddr *)&peer, (length = sizeof peer, &length), SOCK_NONBLOCK);
    printf("%u %x\n", length, peer.sin_addr.s_addr);
    state("connected", client);
    SHOW(pipe(pipes));
    struct epoll_event event = {EPOLLIN, {.fd = 100}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, server, &event));
    event.data.fd = 101;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, pipes[0], &event));
    events(epoll, 0);
    events(epoll, 10);
    SHOW(write(client, "a", 1));
    events(epoll, 1000);
    SHOW(write(pipes[1], "b", 1));
    events(epoll, 0);
    SHOW(read(server, room, 10));
    events(epoll, 0);
    SHOW(read(pipes[0], room, 10));
    events(epoll, 0);
    pthread_create(&thread, NULL, later, (void *)(long)pipes[1]);
    events(epoll, -1);
    pthread_join(thread, NULL);
    SHOW(read(pipes[0], room, 10));
    pthread_create(&thread, NULL, later, (void *)(long)client);
    events(epoll, -1);
    pthread_join(thread, NULL);
    event = (struct epoll_event){EPOLLIN | EPOLLET, {.fd = 102}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, server, &event));
    events(epoll, 100);
    events(epoll, 0);
    SHOW(write(client, "c", 1));
    events(epoll, 100);
    events(epoll, 0);
    SHOW(read(server, room, 16));
    event = (struct epoll_event){EPOLLIN | EPOLLONESHOT, {.fd = 103}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, server, &event));
    SHOW(write(client, "d", 1));
    events(epoll, 100);
    events(epoll, 0);
    int outer = epoll_create1(0);
    event = (struct epoll_event){EPOLLIN, {.fd = 104}};
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, outer, &event));
    events(outer, 0);
    event = (struct epoll_event){EPOLLIN, {.fd = 105}};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, server, &event));
    events(outer, 100);
    SHOW(ioctl(server, FIONREAD, &value));
    SHOW(value);
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, server, NULL));
    events(outer, 0);
    SHOW(write(pipes[1], "x", 1));
    events(outer, 0);

    fd_set set;
    FD_ZERO(&set);
    FD_SET(server, &set);
    FD_SET(pipes[0], &set);
    SHOW(select(server > pipes[0] ? server + 1 : pipes[0] + 1, &set, NULL, NULL, NULL));
    printf("%d %d\n", FD_ISSET(server, &set) != 0, FD_ISSET(pipes[0], &set) != 0);
    SHOW(read(server, room, 16));
    struct timeval limit = {0, 20000};
    SHOW(setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(fcntl(server, F_SETFL, 0));
    SHOW(read(server, room, 16));
    int file = open("/tmp/sent-file", O_RDWR | O_CREAT | O_TRUNC, 0600);
    SHOW(write(file, "contents of a file", 18));
    off_t at = 9;
    off_t before = -1;
    SHOW(sendfile(server, file, &before, 100));
    SHOW(sendfile(server, file, &at, 100));
    SHOW(at);
    state("sent", client);
    SHOW(read(client, buffer, 100));
    printf("%.9s\n", buffer);
    unlink("/tmp/sent-file");
    struct linger abrupt = {1, 0};
    SHOW(setsockopt(client, SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt));
    close(client);
    state("reset", server);
    SHOW(getsockopt(server, SOL_SOCKET, SO_ERROR, &value, (length = sizeof value, &length)));
    SHOW(value);
    close(server);
    close(listener);

    int udp = listener_on_loopback(SOCK_DGRAM), from = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(sendto(from, "datagram", 8, 0, (struct sockaddr *)&server_address, sizeof server_address));
    state("datagram", udp);
    SHOW(recvfrom(udp, room, 4, MSG_TRUNC | MSG_PEEK, (struct sockaddr *)&peer, (length = sizeof peer, &length)));
    struct iovec v = {room, 4};
    struct msghdr m = {.msg_name = &peer, .msg_namelen = sizeof peer, .msg_iov = &v, .msg_iovlen = 1};
    SHOW(recvmsg(udp, &m, 0));
    printf("%x %u\n", m.msg_flags, m.msg_namelen);
    SHOW(sendto(udp, "back", 4, 0, (struct sockaddr *)&peer, sizeof peer));
    SHOW(connect(from, (struct sockaddr *)&server_address, sizeof server_address));
    SHOW(recv(from, room, 16, 0));
    SHOW(send(from, "", 0, 0));
    SHOW(recv(udp, room, 16, 0));
    SHOW(recv(udp, room, 16, MSG_DONTWAIT));
    SHOW(send(from, buffer, 100000, 0));
    SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    SHOW(listen(udp, 1));
    SHOW(accept(udp, NULL, NULL));
    SHOW(getpeername(udp, (struct sockaddr *)&peer, (length = sizeof peer, &length)));
    int six = socket(AF_INET6, SOCK_DGRAM, 0);
    SHOW(getsockopt(six, SOL_SOCKET, SO_DOMAIN, &value, (length = sizeof value, &length)));
    SHOW(value);
    return 0;
}
