/* A server of one thread, as event loops are: tells its port, echoes, and ends with its first client. */
#include "check.h"
#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>

int main(void) {
    struct sockaddr_in address = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), epoll = epoll_create1(0);
    struct epoll_event event = {EPOLLIN, {.fd = listener}};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 5) != 0) return 1;
    getsockname(listener, (struct sockaddr *)&address, &length);
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        char buffer[4096];
        if (epoll_wait(epoll, &event, 1, -1) != 1) return 2;
        if (event.data.fd == listener) {
            event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
            continue;
        }
        long got = read(event.data.fd, buffer, sizeof buffer);
        if (got <= 0) return got == 0 ? 0 : 3;
        if (write(event.data.fd, buffer, got) != got) return 4;
    }
}
