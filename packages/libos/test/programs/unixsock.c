/* AF_UNIX: pairs, names, descriptors on their way, credentials, ends. */
#include "check.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/ioctl.h>
#include <sys/epoll.h>
#include <stddef.h>

static char buffer[400000];

static socklen_t name(struct sockaddr_un *to, const char *path, int abstract) {
    memset(to, 0, sizeof *to);
    to->sun_family = AF_UNIX;
    strcpy(to->sun_path + abstract, path);
    return offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path) + !abstract;
}

static void state(const char *what, int fd) {
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    poll(&p, 1, 0);
    printf("%s: %x\n", what, p.revents);
}

static void send_fds(int to, int *fds, int count, const char *text) {
    union {
        char bytes[CMSG_SPACE(4 * sizeof(int))];
        struct cmsghdr align;
    } control;
    memset(&control, 0, sizeof control);
    struct iovec v = {(void *)text, strlen(text)};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    SHOW(sendmsg(to, &m, 0));
}

static int receive_fds(int from, int *fds, int room, int flags) {
    char control[256];
    struct iovec v = {buffer, 100};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    int got = recvmsg(from, &m, flags), count = 0;
    printf("recvmsg %d flags %x control %zu: %.*s\n", got, m.msg_flags, m.msg_controllen, got > 0 ? got : 0, buffer);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c != NULL; c = CMSG_NXTHDR(&m, c)) {
        printf("  level %d type %d length %zu\n", c->cmsg_level, c->cmsg_type, c->cmsg_len);
        if (c->cmsg_type == SCM_RIGHTS) {
            count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(c), count * sizeof(int));
        } else if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            memcpy(&who, CMSG_DATA(c), sizeof who);
            printf("  from itself: %d\n", who.pid == getpid());
        }
    }
    return count;
}

int main(int argc, char **argv) {
    int pair[2], fds[4], value;
    socklen_t length;
    struct sockaddr_un address;
    if (argc != 2 || chdir(argv[1]) != 0) return 99;
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    state("pair", pair[0]);
    SHOW(write(pair[0], "hello", 5));
    SHOW(send(pair[0], " world", 6, 0));
    SHOW(ioctl(pair[1], FIONREAD, &value));
    SHOW(value);
    SHOW(recv(pair[1], buffer, 3, MSG_PEEK));
    SHOW(recv(pair[1], buffer, 100, 0));
    printf("%.11s\n", buffer);
    SHOW(recv(pair[1], buffer, 100, MSG_DONTWAIT));
    SHOW(getsockopt(pair[0], SOL_SOCKET, SO_TYPE, &value, (length = 4, &length)));
    SHOW(value);
    SHOW(getsockname(pair[0], (struct sockaddr *)&address, (length = sizeof address, &length)));
    SHOW(length);
    struct ucred who;
    SHOW(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &who, (length = sizeof who, &length)));
    SHOW(who.pid == getpid());

    int pipes[2];
    SHOW(pipe(pipes));
    send_fds(pair[0], pipes, 2, "two");
    SHOW(write(pair[0], "more", 4));
    SHOW(close(pipes[1]));
    SHOW(receive_fds(pair[1], fds, 256, 0));
    SHOW(write(fds[1], "through", 7));
    SHOW(read(pipes[0], buffer, 100));
    SHOW(close(fds[1]));
    SHOW(close(fds[0]));
    SHOW(read(pipes[0], buffer, 100));
    SHOW(receive_fds(pair[1], fds, 256, 0));
    send_fds(pair[0], pipes, 1, "cut");
    SHOW(receive_fds(pair[1], fds, 8, 0));
    value = 1;
    SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &value, 4));
    SHOW(write(pair[0], "who", 3));
    SHOW(receive_fds(pair[1], fds, 256, 0));
    int bad = 77;
    send_fds(pair[0], &bad, 1, "bad");

    SHOW(shutdown(pair[0], SHUT_WR));
    state("behind shutdown", pair[1]);
    SHOW(read(pair[1], buffer, 10));
    SHOW(send(pair[0], "x", 1, MSG_NOSIGNAL));
    SHOW(write(pair[1], "back", 4));
    SHOW(close(pair[1]));
    state("closed", pair[0]);
    SHOW(read(pair[0], buffer, 10));
    SHOW(read(pair[0], buffer, 10));
    signal(SIGPIPE, SIG_IGN);
    SHOW(write(pair[0], "x", 1));
    SHOW(close(pair[0]));

    SHOW(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair));
    long total = 0, part;
    while ((part = write(pair[0], buffer, sizeof buffer)) > 0) total += part;
    printf("%d\n", total > 65536);
    SHOW(write(pair[0], "x", 1));
    state("full", pair[0]);
    while ((part = read(pair[1], buffer, sizeof buffer)) > 0) total -= part;
    SHOW(total);
    state("empty", pair[0]);
    SHOW(write(pair[0], "unread", 6));
    close(pair[1]);
    SHOW(write(pair[0], "x", 1));
    close(pair[0]);

    int packets[2];
    SHOW(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets));
    SHOW(send(packets[0], "first", 5, 0));
    SHOW(send(packets[0], "second", 6, 0));
    SHOW(recv(packets[1], buffer, 3, MSG_TRUNC));
    SHOW(receive_fds(packets[1], fds, 256, 0));
    close(packets[0]);
    SHOW(recv(packets[1], buffer, 3, 0));
    close(packets[1]);

    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    length = name(&address, "name", 0);
    SHOW(connect(client, (struct sockaddr *)&address, length));
    SHOW(listen(listener, 2));
    SHOW(bind(listener, (struct sockaddr *)&address, length));
    SHOW(bind(listener, (struct sockaddr *)&address, length));
    SHOW(connect(client, (struct sockaddr *)&address, length));
    state("unconnected", client);
    SHOW(listen(listener, 2));
    state("listening", listener);
    SHOW(connect(client, (struct sockaddr *)&address, length));
    SHOW(connect(client, (struct sockaddr *)&address, length));
    state("called", listener);
    SHOW(write(client, "early", 5));
    struct stat status;
    SHOW(stat("name", &status));
    printf("%o\n", status.st_mode & S_IFMT);
    int server = accept(listener, (struct sockaddr *)&address, (length = sizeof address, &length));
    SHOW(length);
    SHOW(read(server, buffer, 10));
    SHOW(getsockname(server, (struct sockaddr *)&address, (length = sizeof address, &length)));
    printf("%u %s\n", length, address.sun_path);
    SHOW(getpeername(client, (struct sockaddr *)&address, (length = sizeof address, &length)));
    printf("%u %s\n", length, address.sun_path);
    SHOW(getsockopt(listener, SOL_SOCKET, SO_ACCEPTCONN, &value, (length = 4, &length)));
    SHOW(value);
    SHOW(fcntl(listener, F_SETFL, O_NONBLOCK));
    SHOW(accept(listener, NULL, NULL));
    SHOW(accept(client, NULL, NULL));
    close(server);
    state("hung up", client);
    close(client);
    close(listener);
    client = socket(AF_UNIX, SOCK_STREAM, 0);
    length = name(&address, "name", 0);
    SHOW(connect(client, (struct sockaddr *)&address, length));
    SHOW(unlink("name"));
    SHOW(connect(client, (struct sockaddr *)&address, length));
    close(client);

    int one = socket(AF_UNIX, SOCK_DGRAM, 0), other = socket(AF_UNIX, SOCK_DGRAM, 0);
    length = name(&address, "abstract", 1);
    SHOW(bind(one, (struct sockaddr *)&address, length));
    SHOW(bind(other, (struct sockaddr *)&address, length));
    SHOW(sendto(other, "datagram", 8, 0, (struct sockaddr *)&address, length));
    SHOW(sendto(other, "", 0, 0, (struct sockaddr *)&address, length));
    SHOW(recvfrom(one, buffer, 4, 0, (struct sockaddr *)&address, (length = sizeof address, &length)));
    SHOW(length);
    SHOW(recv(one, buffer, 4, 0));
    SHOW(send(other, "x", 1, 0));
    length = name(&address, "reply", 0);
    SHOW(bind(other, (struct sockaddr *)&address, length));
    length = name(&address, "abstract", 1);
    SHOW(connect(other, (struct sockaddr *)&address, length));
    SHOW(send(other, "x", 1, 0));
    SHOW(recvfrom(one, buffer, 4, 0, (struct sockaddr *)&address, (length = sizeof address, &length)));
    printf("%u %s\n", length, address.sun_path);
    SHOW(close(one));
    SHOW(send(other, "x", 1, 0));
    struct mmsghdr many[3];
    struct iovec pieces[3] = {{"one", 3}, {"two", 3}, {"three", 5}};
    memset(many, 0, sizeof many);
    for (int i = 0; i < 3; i++) many[i].msg_hdr = (struct msghdr){.msg_iov = &pieces[i], .msg_iovlen = 1};
    SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
    SHOW(sendmmsg(pair[0], many, 3, 0));
    char room[3][16];
    for (int i = 0; i < 3; i++) pieces[i] = (struct iovec){room[i], 16};
    SHOW(recvmmsg(pair[1], many, 3, MSG_DONTWAIT, NULL));
    printf("%u %u %u %.5s\n", many[0].msg_len, many[1].msg_len, many[2].msg_len, room[2]);
    SHOW(recvmmsg(pair[1], many, 3, MSG_DONTWAIT, NULL));
    struct timeval limit = {0, 20000};
    SHOW(setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(pair[1], buffer, 1, 0));
    SHOW(getsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, (length = sizeof limit, &length)));
    SHOW(limit.tv_usec);
    SHOW(socket(AF_UNIX, 77, 0));
    SHOW(socket(77, SOCK_STREAM, 0));
    SHOW(socketpair(AF_INET, SOCK_STREAM, 0, pair));
    SHOW(recv(pipes[0], buffer, 1, 0));
    SHOW(recv(99, buffer, 1, 0));

    /* As servers do for the channels to their workers. */
    int on = 1;
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SHOW(ioctl(pair[0], FIOASYNC, &on));
    SHOW(fcntl(pair[0], F_SETOWN, getpid()));
    SHOW(fcntl(pair[0], F_GETOWN) == getpid());
    SHOW(fcntl(pair[0], F_SETOWN, 4000000));
    SHOW(fcntl(pair[0], F_SETOWN, -getpgrp()));
    SHOW(fcntl(pair[0], F_GETOWN) == -getpgrp());
    struct f_owner_ex owner = {F_OWNER_TID, getpid()};
    SHOW(fcntl(pair[0], F_SETOWN_EX, &owner));
    SHOW(fcntl(pair[0], F_GETOWN) == getpid());
    owner.type = 7;
    SHOW(fcntl(pair[0], F_SETOWN_EX, &owner));
    SHOW(fcntl(pair[0], F_SETOWN_EX, (void *)8));
    SHOW((fcntl(pair[0], F_GETFL) & O_ASYNC) != 0);
    SHOW((fcntl(pair[1], F_GETFL) & O_ASYNC) != 0);
    on = 0;
    SHOW(ioctl(pair[0], FIOASYNC, &on));
    SHOW((fcntl(pair[0], F_GETFL) & O_ASYNC) != 0);
    on = 1;
    int memory = open("/proc/self/status", O_RDONLY);
    SHOW(ioctl(memory, FIOASYNC, &on));

    int epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, {.u32 = 7}};
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, pair[0], &event));
    for (int i = 0; i < 5; i++) {
        if (i == 2) SHOW(write(pair[1], "x", 1));
        if (i == 4) SHOW(close(pair[1]));
        int count = epoll_wait(epoll, &event, 1, 0);
        printf("%d: %x\n", count, count > 0 ? event.events : 0);
    }
    return 0;
}
